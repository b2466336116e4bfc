//! Events as they are stored.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::program;
use hookweir_testkit::provider::Provider;
use serde_json::Value;

use super::{ids, send};

/// Starts `hookweir tail` in the service's folder. Its lines go to the files `tail.out` and `tail.err`.
fn follow(app: &App, args: &[&str]) -> Child {
    let file = |name: &str| File::create(app.folder().join(name)).expect("a file");
    Command::new(program())
        .args(["tail", "--json", "--config", "config.toml"])
        .args(args)
        .current_dir(app.folder())
        .stdin(Stdio::null())
        .stdout(file("tail.out"))
        .stderr(file("tail.err"))
        .spawn()
        .expect("the program runs")
}

fn read(app: &App, name: &str) -> String {
    std::fs::read_to_string(app.folder().join(name)).expect("a file")
}

/// Waits until the command has said this so often.
async fn until_said(app: &App, words: &str, times: usize) {
    let since = Instant::now();
    while read(app, "tail.err").matches(words).count() < times {
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "no \"{words}\" in {}", read(app, "tail.err"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_events_of_a_source_are_shown_also_those_that_came_after_a_restart() {
    let mut app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_old");
    let mut tail = follow(&app, &["--source", "stripe", "--count", "2"]);
    until_said(&app, "connected", 1).await;
    send(&app, Provider::StandardWebhooks, "msg_1");
    send(&app, Provider::Stripe, "evt_1");
    app.kill();
    until_said(&app, "trying again", 1).await;
    app.start_again().await;
    app.ready().await;
    send(&app, Provider::Stripe, "evt_2");
    let since = Instant::now();
    let ended = loop {
        if let Some(ended) = tail.try_wait().expect("asked") {
            break ended;
        }
        if since.elapsed() > Duration::from_secs(60) {
            tail.kill().expect("ended");
            panic!("two events did not come: {}", read(&app, "tail.out"));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(ended.success(), "{}", read(&app, "tail.err"));
    let lines = read(&app, "tail.out");
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(ids(&events), ["evt_1", "evt_2"]);
}
