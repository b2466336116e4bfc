//! Commands of the program, as the pages name them: each of them is one that the program takes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Pages for users: the README, the guides, the operations and the hand-written references.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = vec![root.join("README.md")];
    for folder in ["docs/guide", "docs/operations", "docs/reference"] {
        let entries = fs::read_dir(root.join(folder)).expect("a folder");
        let found = entries.map(|entry| entry.expect("an entry").path());
        // cli.md is what the program itself says.
        let is_page = |path: &PathBuf| {
            path.extension().is_some_and(|kind| kind == "md") && !path.ends_with("cli.md")
        };
        pages.extend(found.filter(is_page));
    }
    pages
}

/// Commands in blocks of shell and in code spans.
fn commands(page: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut shell = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            shell = line.trim_start() == "```sh";
        } else if shell {
            let comment = line.find("# ").unwrap_or(line.len());
            found.extend(line[..comment].split("&&").map(str::to_owned));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    let ours = |command: &String| {
        let rest = command.trim().trim_start_matches("./");
        let next = rest.strip_prefix("hookweir ")?.trim();
        (!next.contains('…')).then(|| next.to_owned())
    };
    found.iter().filter_map(ours).collect()
}

/// Words of a command, without the quotes of the shell.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (n, part) in command.split('"').enumerate() {
        if n % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    let placeholder = |word: String| match word.as_str() {
        "NUMBER" => "1".to_owned(),
        "MESSAGE_ID" => uuid::Uuid::nil().to_string(),
        _ => word,
    };
    words.into_iter().map(placeholder).collect()
}

#[test]
fn each_command_in_the_pages_is_one_that_the_program_takes() {
    let mut wrong = Vec::new();
    let mut tried = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        for command in commands(&text) {
            tried += 1;
            // Words before it are judged first, and nothing is done.
            let said = Command::new(env!("CARGO_BIN_EXE_hookweir"))
                .args(words(&command))
                .arg("--help")
                .env_clear()
                .stdin(Stdio::null())
                .output()
                .expect("the program starts");
            if !said.status.success() {
                let said = String::from_utf8_lossy(&said.stderr).into_owned();
                let first = said.lines().next().unwrap_or_default().to_owned();
                wrong.push(format!("{}: hookweir {command}: {first}", page.display()));
            }
        }
    }
    assert!(tried > 80, "{tried} commands only: are the pages read?");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
