//! The examples of the documentation run, and show what they promise.

use std::process::Command;

/// Output of an example. `cargo test` has built it beside this test, unless only some tests were asked for.
fn run(example: &str) -> String {
    let built = std::env::current_exe().ok().and_then(|test| {
        let example = test.parent()?.parent()?.join("examples").join(example);
        example.exists().then_some(example)
    });
    let mut command = match built {
        Some(built) => Command::new(built),
        None => {
            let mut cargo = Command::new(option_env!("CARGO").unwrap_or("cargo"));
            cargo.args([
                "run",
                "--quiet",
                "--locked",
                "--offline",
                "--example",
                example,
            ]);
            cargo
        }
    };
    let output = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the example runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_example_verifies_a_delivery_of_stripe_and_refuses_a_forged_one() {
    let shown = run("verify_stripe");
    assert!(
        shown.contains("accepted: evt_1 (charge.refunded)"),
        "{shown}"
    );
    assert!(shown.contains("refused: SignatureMismatch"), "{shown}");
}

#[test]
fn the_example_signs_a_delivery_as_github_does() {
    let shown = run("sign_github");
    assert!(shown.contains("x-hub-signature-256: sha256="), "{shown}");
    assert!(shown.contains("verified: Some(\"72d3162e"), "{shown}");
}
