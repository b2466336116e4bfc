//! The first minutes of somebody new: no configuration at all.

use std::process::{Command, Output};

use hookweir_testkit::app::App;
use hookweir_testkit::sink::{files, files_hold};

use crate::signals::logs;

fn run(app: &App, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(app.folder())
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_source_takes_a_signed_event_and_shows_it_arriving() {
    let app = App::start("").await;
    logs(&app, &format!("http://{}/ingest/demo", app.listen)).await;

    let listen = format!("server.listen={}", app.listen);
    let sent = run(
        &app,
        env!("CARGO_BIN_EXE_hookweir"),
        &["send", "--wait", "--duplicate", "--set", &listen],
    );
    let shown = String::from_utf8_lossy(&sent.stdout);
    files_hold(&app.events(), 1).await;
    let arrived = &files(&app.events())[0];
    assert!(
        shown.contains(&arrived.id),
        "the event that arrived is shown: {shown}"
    );
    run(
        &app,
        env!("CARGO_BIN_EXE_hookweir"),
        &["send", "--tamper", "--set", &listen],
    );

    // The line to paste needs curl, which a machine for builds may lack.
    logs(&app, "curl ").await;
    let log = app.log();
    let line = log
        .lines()
        .find_map(|line| line.trim().strip_prefix("curl "))
        .expect("a line to paste is printed");
    if Command::new("curl").arg("--version").output().is_ok() {
        let shown = run(&app, "bash", &["-c", &format!("curl {line}")]);
        let shown = String::from_utf8_lossy(&shown.stdout);
        assert!(
            shown.contains("accepted") && shown.contains("\"message_id\""),
            "the answer and the event are shown: {shown}"
        );
        files_hold(&app.events(), 2).await;
    }
}
