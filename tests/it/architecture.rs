//! Holds `docs/ARCHITECTURE.md` against the code: the table of messages and bounds, and the rules of what must not be where.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by its panic")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The Rust files below `dir`, with their text up to their tests.
fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo = vec![root().join(dir)];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|ext| ext == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            let without_comments = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .collect::<Vec<_>>()
                .join("\n");
            found.push((
                path.strip_prefix(root()).unwrap().to_owned(),
                without_comments,
            ));
        }
    }
    assert!(!found.is_empty(), "no code in {dir}");
    found
}

#[test]
fn the_table_of_messages_is_true() {
    let page = read("docs/ARCHITECTURE.md");
    let config: toml::Table = read("config.toml").parse().unwrap();
    let rows: Vec<Vec<String>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().trim_matches('`').to_owned())
                .collect()
        })
        .collect();
    let messages = read("src/messages.rs");
    let in_code: Vec<&str> = messages
        .lines()
        .filter_map(|line| line.strip_prefix("pub struct ")?.split([' ', '{']).next())
        .collect();
    let in_table: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    let sent: Vec<&str> = in_code
        .into_iter()
        .filter(|name| *name != "PendingEvent")
        .collect();
    assert_eq!(
        in_table, sent,
        "the messages in docs/ARCHITECTURE.md and those in src/messages.rs, in order"
    );
    for row in rows {
        let (section, key) = row[2]
            .split_once('.')
            .unwrap_or_else(|| panic!("{} is not an option", row[2]));
        let default = config[section][key]
            .as_integer()
            .unwrap_or_else(|| panic!("{} is not a number in config.toml", row[2]));
        assert_eq!(row[3], default.to_string(), "the default of {}", row[2]);
    }
}

#[test]
fn every_file_that_the_page_names_is_there() {
    let page = read("docs/ARCHITECTURE.md");
    for name in page
        .split('`')
        .filter(|word| word.starts_with("src/") || word.starts_with("tests/"))
    {
        assert!(
            root().join(name).exists(),
            "docs/ARCHITECTURE.md names {name}, which isn't there"
        );
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let pages = [
        "README.md",
        "CHANGELOG.md",
        "docs/ARCHITECTURE.md",
        "docs/HTTP.md",
        "docs/METRICS.md",
        "docs/PERFORMANCE.md",
        "docs/SCHEMES.md",
        "docs/providers/README.md",
    ];
    for page in pages {
        let folder = Path::new(page).parent().unwrap();
        for link in read(page)
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
        {
            let is_file = !link.is_empty() && !link.contains("://");
            assert!(
                !is_file || root().join(folder).join(link).exists(),
                "{page} links to {link}, which isn't there"
            );
        }
    }
}

#[test]
fn what_must_not_be_here_is_not_here() {
    let nowhere_but = |word: &str, allowed: &[&str]| {
        for (path, code) in sources("src") {
            let may = allowed.iter().any(|prefix| path.starts_with(prefix));
            assert!(
                may || !code.contains(word),
                "{} has \"{word}\", which belongs in {allowed:?}",
                path.display()
            );
        }
    };
    nowhere_but("diesel::", &["src/store"]);
    nowhere_but("use lapin", &["src/publish"]);
    nowhere_but("actix_web::", &["src/http"]);
    nowhere_but(".do_send(", &["src/runtime/mailbox.rs"]);
    nowhere_but("actix::Addr", &["src/runtime/mailbox.rs"]);

    let never = |dir: &str, words: &[&str]| {
        for (path, code) in sources(dir) {
            for word in words {
                assert!(!code.contains(word), "{} has \"{word}\"", path.display());
            }
        }
    };
    never("src/http", &["crate::store", "crate::publish"]);
    never(
        "src/domain",
        &["crate::app", "crate::config", "crate::telemetry"],
    );
    never(
        "src/dedup/batch.rs",
        &[
            "actix",
            "tokio",
            "diesel",
            "lapin",
            "Instant::now",
            "SystemTime",
        ],
    );
    for (path, code) in sources("src/verify") {
        if !path.ends_with("actor.rs") {
            for word in [
                "actix",
                "tokio",
                "diesel",
                "lapin",
                "Instant::now",
                "SystemTime::now",
                "UnixMillis::now",
            ] {
                assert!(!code.contains(word), "{} has \"{word}\"", path.display());
            }
        }
    }
}
