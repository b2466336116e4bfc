//! A module imports only from modules below it. `tests/it/layers_page.rs` draws the layers.

use std::collections::{BTreeMap, BTreeSet};

use super::code;

/// The layers, from the top. A module imports modules of lower layers, and of its own layer those
/// to its right.
pub const LAYERS: &[(&str, &[&str])] = &[
    ("commands and wiring", &["cli", "app"]),
    ("listeners", &["http", "admin"]),
    ("functions of an operator", &["operate"]),
    (
        "stages",
        &[
            "verify",
            "dedup",
            "spool",
            "keys",
            "lakehouse",
            "publish",
            "quarantine",
            "doctor",
        ],
    ),
    ("outbox", &["outbox"]),
    ("store, sources", &["store", "source", "sources"]),
    ("room", &["in_flight"]),
    ("services to all", &["telemetry", "config"]),
    ("words and tools", &["domain", "runtime", "faults"]),
];

/// The layers of the signature crate, from the top, by the same rule.
const SIGNATURES: &[&str] = &[
    "testing",
    "docs",
    "sign",
    "verify",
    "compile",
    "scheme",
    "check",
    "keys",
    "language",
    "request",
    "source",
    "json_pointers",
    "identity",
    "crypto",
    "refusal",
    "secret",
    "nearest",
    "time",
];

/// Imports that run upwards still. The list may only get shorter: one that is gone has to leave it.
const UPWARDS: &[(&str, &str)] = &[];

pub fn order() -> Vec<&'static str> {
    LAYERS.iter().flat_map(|(_, row)| *row).copied().collect()
}

/// Returns the imports that run upwards.
fn upwards<'m>(
    matrix: &'m BTreeMap<String, BTreeSet<String>>,
    order: &[&str],
) -> BTreeSet<(&'m str, &'m str)> {
    let at = |module: &str| order.iter().position(|name| *name == module);
    let mut found = BTreeSet::new();
    for (from, to) in matrix {
        for to in to.iter().filter(|to| at(to) < at(from)) {
            found.insert((from.as_str(), to.as_str()));
        }
    }
    found
}

/// Returns the modules that import themselves by way of others.
pub fn in_a_loop(matrix: &BTreeMap<String, BTreeSet<String>>) -> Vec<&str> {
    let reaches_itself = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut todo: Vec<&String> = matrix[start].iter().collect();
        while let Some(next) = todo.pop() {
            if seen.insert(next) {
                todo.extend(&matrix[next]);
            }
        }
        seen.iter().any(|name| *name == start)
    };
    matrix
        .keys()
        .map(String::as_str)
        .filter(|name| reaches_itself(name))
        .collect()
}

#[test]
fn a_module_imports_only_from_the_layers_below_it() {
    let matrix = code::matrix(&code::service());
    for module in matrix.keys() {
        assert!(
            order().contains(&module.as_str()),
            "src/{module} is in no layer of tests/it/architecture/layers.rs"
        );
    }
    let (found, known) = (
        upwards(&matrix, &order()),
        UPWARDS.iter().copied().collect(),
    );
    let new: Vec<_> = found.difference(&known).collect();
    assert!(
        new.is_empty(),
        "imports that run upwards (from, to): {new:?}\nthe layers, from the top: {LAYERS:#?}"
    );
    let gone: Vec<_> = known.difference(&found).collect();
    assert!(
        gone.is_empty(),
        "take these out of UPWARDS, nothing imports so any more: {gone:?}"
    );
    if known.is_empty() {
        assert_eq!(in_a_loop(&matrix), Vec::<&str>::new(), "modules in a loop");
    }
}

#[test]
fn a_module_of_the_signature_crate_imports_only_from_those_below_it() {
    let matrix = code::matrix(&code::signatures());
    for module in matrix.keys() {
        assert!(
            SIGNATURES.contains(&module.as_str()),
            "crates/signatures/src/{module} is in no layer of tests/it/architecture/layers.rs"
        );
    }
    assert!(
        matrix["compile"].contains("refusal"),
        "names that lib.rs exports are not followed: {matrix:?}"
    );
    let found = upwards(&matrix, SIGNATURES);
    assert!(
        found.is_empty(),
        "imports that run upwards (from, to): {found:?}\nthe layers, from the top: {SIGNATURES:?}"
    );
    assert_eq!(in_a_loop(&matrix), Vec::<&str>::new(), "modules in a loop");
}
