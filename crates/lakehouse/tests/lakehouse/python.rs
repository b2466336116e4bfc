//! The readers in Python.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs `readers.py`, and returns its lines.
pub(crate) fn read(arguments: &[&str]) -> Vec<Value> {
    let python = std::env::var("HOOKWEIR_LAKE_READERS")
        .expect("HOOKWEIR_LAKE_READERS is not set: run tests/lakehouse");
    // Beside the tests of this crate, or of the program.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["tests/readers.py", "crates/lakehouse/tests/readers.py"];
    let script = places.map(|place| here.join(place));
    let script = script.into_iter().find(|script| script.exists());
    let output = Command::new(python)
        .arg(script.expect("readers.py"))
        .args(arguments)
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8(output.stdout).expect("text");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect()
}
