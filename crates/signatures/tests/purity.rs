//! The crate does no I/O: by its dependencies here, and by the disallowed methods of `clippy.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Runtimes, servers, clients, databases and brokers.
const FORBIDDEN: [&str; 12] = [
    "tokio",
    "async-std",
    "mio",
    "actix",
    "actix-web",
    "actix-http",
    "hyper",
    "reqwest",
    "diesel",
    "lapin",
    "rustls",
    "socket2",
];

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// Names of the packages that the crate is built with, without those of its tests.
fn built_with() -> BTreeSet<String> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    let nodes: BTreeMap<String, Value> = list(&metadata["resolve"]["nodes"])
        .into_iter()
        .map(|node| (text(&node["id"]).to_owned(), node))
        .collect();
    let names: BTreeMap<String, String> = list(&metadata["packages"])
        .iter()
        .map(|package| {
            (
                text(&package["id"]).to_owned(),
                text(&package["name"]).to_owned(),
            )
        })
        .collect();
    let own = names
        .iter()
        .find(|(_, name)| *name == "hookweir-signatures")
        .expect("this package");
    let (mut found, mut todo) = (BTreeSet::new(), vec![own.0.clone()]);
    while let Some(id) = todo.pop() {
        if !found.insert(names[&id].clone()) {
            continue;
        }
        for dependency in list(&nodes[&id]["deps"]) {
            let is_normal = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            if is_normal {
                todo.push(text(&dependency["pkg"]).to_owned());
            }
        }
    }
    found
}

#[test]
fn the_crate_is_built_without_a_runtime_a_client_or_a_database() {
    let built_with = built_with();
    assert!(built_with.contains("ring"), "{built_with:?}");
    for name in FORBIDDEN {
        assert!(!built_with.contains(name), "built with {name}");
    }
}
