//! The product as a text: openings of doc comments, words that are refused, one name for one
//! thing, and sizes. Of tests and tools, only the openings are read.
//!
//! `cargo test --test it -- --nocapture the_house_in_figures` prints the figures and every
//! offender.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::code::{self, Source};
use super::layers;

/// First words that a doc comment has no business with: it opens with a noun, or with "Returns",
/// "Stores", "Closes".
const OPENINGS: &[&str] = &[
    "what", "who", "whose", "whether", "how", "where", "when", "why", "whatever", "those",
];

/// Files of the campaign's rows, and the most doc comments there that open with such a word.
const ROWS: &str = "tools/campaign/src/rows";
const ROWS_OPENINGS: usize = 11;

/// Words in place of which the field has its own.
const REFUSED: &[&str] = &[
    "rides on",
    "ride on",
    "riders",
    "torn up",
    "tears it up",
    "tear it up",
    "in hand",
    "stands aside",
    "stand aside",
    "ails",
    "wishes",
    "takes the wish back",
    "all the same",
    "whoever",
    "for ever",
    "rids you",
    "had better",
    "is told nothing",
    "past it",
    "nobody shall",
    "shelf",
    "keeps still",
    "whatever became",
    "come of late",
];

/// Most lines of a function's body, and of a file without its tests.
const FUNCTION: usize = 50;
const FILE: usize = 400;

/// One place with something to mend: the top-level module, and the place in words.
type Found = Vec<(String, String)>;

fn openings(files: &[Source]) -> (Found, BTreeMap<String, usize>) {
    let (mut found, mut blocks) = (Found::new(), BTreeMap::new());
    for file in files {
        for (line, text) in file.docs() {
            *blocks.entry(file.top().to_owned()).or_default() += 1;
            let first = text
                .split(|c: char| !c.is_alphabetic())
                .find(|word| !word.is_empty())
                .unwrap_or_default()
                .to_lowercase();
            if OPENINGS.contains(&first.as_str()) {
                let text: String = text.chars().take(70).collect();
                let place = format!("{}:{line}: {text}", file.path.display());
                found.push((file.top().to_owned(), place));
            }
        }
    }
    (found, blocks)
}

fn refused(files: &[Source]) -> Found {
    let mut found = Found::new();
    for file in files {
        let text = file.words();
        for word in REFUSED {
            for (at, _) in text.match_indices(word) {
                let before = text[..at].chars().next_back();
                let after = text[at + word.len()..].chars().next();
                if [before, after]
                    .into_iter()
                    .flatten()
                    .any(char::is_alphanumeric)
                {
                    continue;
                }
                let around: String = text[at..].chars().take(60).collect();
                let place = format!("{}: \"{word}\": {around}", file.path.display());
                found.push((file.top().to_owned(), place));
            }
        }
    }
    found
}

/// Returns the type names that are defined more than once; `public` leaves out those with fewer
/// than two public types.
fn names_twice(files: &[Source], public: bool) -> Found {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        for (name, is_public) in file.types() {
            if is_public || !public {
                let path = file.path.display().to_string();
                places.entry(name).or_default().push(path);
            }
        }
    }
    let twice = places.into_iter().filter(|(_, places)| places.len() > 1);
    twice
        .map(|(name, places)| (name, places.join(", ")))
        .collect()
}

fn long_functions(files: &[Source]) -> Found {
    let mut found = Found::new();
    for file in files {
        for function in file.functions() {
            if function.lines > FUNCTION {
                let place = format!(
                    "{}: {} {}",
                    file.path.display(),
                    function.name,
                    function.lines
                );
                found.push((file.top().to_owned(), place));
            }
        }
    }
    found
}

fn long_files(files: &[Source]) -> Found {
    files
        .iter()
        .filter(|file| file.len() > FILE)
        .map(|file| {
            let place = format!("{}: {}", file.path.display(), file.len());
            (file.top().to_owned(), place)
        })
        .collect()
}

fn list(found: &Found) -> String {
    let mut text = String::new();
    for (module, place) in found {
        let _ = writeln!(text, "  {module:>18}  {place}");
    }
    text
}

fn by_module(found: &Found) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (module, _) in found {
        *counts.entry(module.as_str()).or_default() += 1;
    }
    counts
}

fn none(found: &Found, what: &str, remedy: &str) {
    assert!(
        found.is_empty(),
        "{} {what}. {remedy}\n{}",
        found.len(),
        list(found)
    );
}

#[test]
fn a_doc_comment_opens_with_a_noun_or_says_what_is_returned() {
    let (found, blocks) = openings(&code::product());
    let total: usize = blocks.values().sum();
    none(
        &found,
        &format!("of {total} doc comments open with one of {OPENINGS:?}"),
        "Open with a noun, or with Returns, Stores, Closes…",
    );
}

#[test]
fn a_doc_comment_of_tests_and_tools_opens_like_one_of_the_product() {
    let (rows, others): (Vec<_>, Vec<_>) = code::repository()
        .into_iter()
        .partition(|file| file.path.to_string_lossy().starts_with(ROWS));
    let (found, blocks) = openings(&others);
    for folder in ["crates/testkit/src", "tests/it", "tools/bench/src"] {
        assert!(blocks[folder] > 50, "{folder} was not read: {blocks:?}");
    }
    let total: usize = blocks.values().sum();
    none(
        &found,
        &format!("of {total} doc comments open with one of {OPENINGS:?}"),
        "Open with a noun, or with Returns, Stores, Closes…",
    );
    let (found, _) = openings(&rows);
    assert!(
        found.len() <= ROWS_OPENINGS,
        "more than {ROWS_OPENINGS} of the rows' doc comments open with one of {OPENINGS:?}\n{}",
        list(&found)
    );
}

#[test]
fn the_text_has_no_word_in_place_of_the_fields_own() {
    none(
        &refused(&code::product()),
        "refused words",
        "docs/internals/style.md has the words of the field.",
    );
}

#[test]
fn no_public_type_name_is_defined_twice() {
    none(
        &names_twice(&code::product(), true),
        "public type names are defined twice",
        "One name, one thing.",
    );
}

#[test]
fn functions_and_files_are_short() {
    let files = code::product();
    none(
        &long_functions(&files),
        &format!("functions have more than {FUNCTION} lines"),
        "Carve a step out.",
    );
    none(
        &long_files(&files),
        &format!("files have more than {FILE} lines, tests apart"),
        "Split the file.",
    );
}

#[test]
fn the_house_in_figures() {
    let (service, files) = (code::service(), code::product());
    let matrix = code::matrix(&service);
    let arrows: usize = matrix.values().map(|to| to.len()).sum();
    let (found, blocks) = openings(&files);
    let total: usize = blocks.values().sum();
    let counted = by_module(&found);
    println!(
        "{} files, {} lines without tests; {} modules, {arrows} imports among them, in a loop: {:?}",
        files.len(),
        files.iter().map(Source::len).sum::<usize>(),
        matrix.len(),
        layers::in_a_loop(&matrix),
    );
    for (module, to) in &matrix {
        println!(
            "  {module:>18} -> {}",
            to.iter().cloned().collect::<Vec<_>>().join(" ")
        );
    }
    println!(
        "doc comments that open with {OPENINGS:?}: {} of {total}, {:.1} %",
        found.len(),
        100.0 * found.len() as f64 / total as f64
    );
    for (module, blocks) in &blocks {
        println!(
            "  {module:>18} {:>4} of {blocks}",
            counted.get(module.as_str()).unwrap_or(&0)
        );
    }
    println!("{}", list(&found));
    for (what, found) in [
        ("refused words", refused(&files)),
        ("public type names defined twice", names_twice(&files, true)),
        ("type names defined twice", names_twice(&files, false)),
        ("functions over 50 lines", long_functions(&files)),
        ("files over 400 lines", long_files(&files)),
    ] {
        println!(
            "{what}: {} {:?}\n{}",
            found.len(),
            by_module(&found),
            list(&found)
        );
    }
    assert!(total > 0 && arrows > 0, "nothing was read");
}
