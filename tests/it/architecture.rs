//! Holds `docs/internals/architecture.md` against the code: the table of messages and bounds, and the rules of what must not be where.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by its panic")]

pub mod code;
mod language;
pub mod layers;

use std::collections::BTreeSet;
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

/// The messages between stages, each with its way: structs documented as "Message from → to: ...".
fn messages() -> Vec<String> {
    let mut found = Vec::new();
    for (path, _) in sources("src") {
        let (text, mut way) = (read(path), None);
        for line in text.lines() {
            if let Some(doc) = line.strip_prefix("/// Message ") {
                way = doc.split_once(':').map(|(way, _)| way.to_owned());
            } else if let Some(name) = line.strip_prefix("pub struct ") {
                let name = name.split([' ', '{']).next().unwrap_or_default();
                found.extend(way.take().map(|way| format!("{name} {way}")));
            }
        }
    }
    found
}

#[test]
fn the_table_of_messages_is_true() {
    let page = read("docs/internals/architecture.md");
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
    let mut in_code = messages();
    let mut in_table: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}", row[0], row[1]))
        .collect();
    in_code.sort();
    in_table.sort();
    assert_eq!(
        in_table, in_code,
        "the messages in docs/internals/architecture.md and those in the code"
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
fn every_file_that_the_pages_for_developers_name_is_there() {
    for page in pages() {
        let folder = page.parent().unwrap();
        if folder != Path::new("docs/internals") && page != Path::new("CONTRIBUTING.md") {
            continue;
        }
        let text = read(&page);
        for name in text
            .split('`')
            .filter(|word| {
                ["src/", "tests/", "crates/"]
                    .iter()
                    .any(|folder| word.starts_with(folder))
            })
            .filter_map(|word| word.split([' ', ':']).next())
        {
            assert!(
                root().join(name).exists(),
                "{} names {name}, which isn't there",
                page.display()
            );
        }
    }
}

#[test]
fn every_decision_and_experiment_is_in_its_index() {
    for folder in ["docs/internals/decisions", "docs/benchmarks/experiments"] {
        let index = read(format!("{folder}/README.md"));
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                name == "README.md" || index.contains(&format!("({name})")),
                "{folder}/README.md has no line for {name}"
            );
        }
    }
}

/// Returns every Markdown page of the project, relative to its root.
fn pages() -> Vec<PathBuf> {
    const SKIPPED: [&str; 5] = ["target", "node_modules", ".git", "corpus", "data"];
    let mut found = Vec::new();
    let mut todo = vec![root()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|ext| ext == "md") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 250, "only {} pages", found.len());
    found
}

/// Returns `text` without its fenced blocks: a link there is an example.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns the anchors of a page, as the forges make them of headings.
fn anchors(text: &str) -> Vec<String> {
    prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter_map(|char| match char {
                    ' ' => Some('-'),
                    '-' | '_' => Some(char),
                    _ => char.is_alphanumeric().then_some(char),
                })
                .collect()
        })
        .collect()
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    for page in pages() {
        let text = read(&page);
        let folder = root().join(page.parent().unwrap());
        let prose = prose(&text);
        for link in prose
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            if link.contains("://") {
                continue;
            }
            let target = if file.is_empty() {
                root().join(&page)
            } else {
                folder.join(file)
            };
            let page = page.display();
            assert!(target.exists(), "{page} links to {link}, which isn't there");
            assert!(
                anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap()).contains(&anchor.to_owned()),
                "{page} links to {link}: the page has no such heading"
            );
        }
    }
}

#[test]
fn every_page_that_the_code_names_is_there() {
    let mut files: Vec<PathBuf> = ["README.md", "config.toml", "Cargo.toml"]
        .into_iter()
        .chain(["packaging/build", "tests/campaign", "tests/fuzz"])
        .map(PathBuf::from)
        .collect();
    files.extend(pages().into_iter().filter(|page| page.starts_with("docs")));
    let mut code = vec![root().join("src")];
    while let Some(path) = code.pop() {
        if path.is_dir() {
            code.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            files.push(path);
        }
    }
    for file in files {
        for rest in read(&file).split("docs/").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|char| char.is_ascii_alphanumeric() || "-_./".contains(*char))
                .collect();
            let name = name.trim_end_matches('.');
            let ours = [
                "guide",
                "operations",
                "reference",
                "internals",
                "benchmarks",
            ]
            .iter()
            .any(|folder| name.starts_with(folder))
                || (name.ends_with(".md") && !name.contains('/'));
            assert!(
                !ours || root().join("docs").join(name).exists(),
                "{} names docs/{name}, which isn't there",
                file.display()
            );
        }
    }
}

/// The operator's functions that code calls.
fn operator_calls(code: &str) -> BTreeSet<String> {
    let calls = code.split("operator.").skip(1);
    let names = calls.filter_map(|rest| {
        let (name, _) = rest.split_once('(')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    });
    names.collect()
}

#[test]
fn the_page_calls_no_function_of_an_operator_that_the_api_lacks() {
    let page: BTreeSet<String> = sources("src/admin/page")
        .iter()
        .flat_map(|(_, code)| operator_calls(code))
        // To be woken; what came is asked by `live`.
        .filter(|name| name != "live_news" && name != "clone")
        .collect();
    let api: BTreeSet<String> = sources("src/admin")
        .iter()
        .filter(|(path, _)| {
            path.starts_with("src/admin/routes") || path.ends_with("admin/routes.rs")
        })
        .flat_map(|(_, code)| operator_calls(code))
        .collect();
    assert!(page.len() > 15, "only {page:?}");
    let only: Vec<_> = page.difference(&api).collect();
    assert!(only.is_empty(), "the page calls {only:?}, the API does not");
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
    nowhere_but("use lapin", &["src/publish/sinks/rabbitmq"]);
    nowhere_but("use rdkafka", &["src/publish/sinks/kafka"]);
    nowhere_but("actix_web::", &["src/admin"]);
    nowhere_but(".do_send(", &["src/runtime/mailbox.rs"]);
    nowhere_but("actix::Addr", &["src/runtime/mailbox.rs"]);

    let never = |dir: &str, words: &[&str]| {
        for (path, code) in sources(dir) {
            for word in words {
                assert!(!code.contains(word), "{} has \"{word}\"", path.display());
            }
        }
    };
    // The engine's own tests hold it against its dependencies, and its clippy.toml against its calls.
    never("crates/signatures/src", &["cfg(fuzzing)", "hookweir::"]);
    never(
        "crates/lakehouse/src",
        &["hookweir::", "hookweir_signatures"],
    );
    // The exactly-once rules are pure: `crates/lakehouse/tests/model.rs` tries all interleavings of them.
    never(
        "crates/lakehouse/src/protocol",
        &[
            "tokio",
            "iceberg",
            "lapin",
            "diesel",
            "async ",
            "Instant::now",
            "SystemTime",
        ],
    );
    never("src", &["cfg(fuzzing)", "#[path"]);
    never("src/http", &["crate::store", "crate::publish"]);
    // A page shows answers of the operator's functions as text, and has no other way to the service.
    never(
        "src/admin/page",
        &[
            "PreEscaped",
            "crate::store",
            "crate::publish",
            "crate::app",
            "Metrics",
            "Registry",
        ],
    );
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
}
