//! The host's clock was ahead, and is set right: by the shift of the failpoints, which is gone with a restart.

use std::fs;
use std::time::Duration;

use super::says;
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::{Load, client};
use hookweir_testkit::oracle::Account;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::sink::{files, files_hold};

const HOUR: i64 = 3_600_000;

async fn shift(app: &App, millis: i64) {
    let answer = client()
        .post(format!("http://{}/control/clock/{millis}", app.admin))
        .send()
        .await
        .expect("the admin port answers");
    assert!(
        answer.status().is_success(),
        "a build without the feature failpoints has no clock to set"
    );
}

/// Signatures with a time are refused by a clock that is off. These have none.
fn load(app: &App, seed: u64) -> Load {
    Load {
        providers: vec![Provider::Github, Provider::Shopify],
        seed,
        ..Load::on(&[app.listen])
    }
}

/// The service after its clock was set right, what it was sent before, and where that is to come out. The sink's folder lies in a file, so
/// that nothing can be written there until the file is away.
async fn stranded(
    ahead: i64,
    environment: &[(&'static str, String)],
) -> (App, Ledger, tempfile::TempDir) {
    let sink = tempfile::tempdir().expect("a folder");
    fs::write(sink.path().join("away"), "").expect("written");
    let url = format!("file://{}/away/events", sink.path().display());
    let config = format!(
        "[publisher]\nurl = \"{url}\"\nretry_max_ms = 1000\n{}",
        five_sources()
    );
    let mut app = App::launch_with(&config, environment).await;
    app.ready().await;
    shift(&app, ahead).await;
    let ledger = load(&app, 1).send(30).await;
    ledger.check_faultless();
    // Set right, and the process is another one.
    app.kill();
    app.start_again().await;
    app.ready().await;
    fs::remove_file(sink.path().join("away")).expect("removed");
    (app, ledger, sink)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_by_a_clock_that_was_ahead_is_published_once_it_is_right() {
    for ahead in [2 * HOUR, 400 * 24 * HOUR] {
        let (mut app, ledger, sink) = stranded(ahead, &[]).await;
        let events = sink.path().join("away/events");
        tokio::time::timeout(
            Duration::from_secs(60),
            files_hold(&events, ledger.genuine().count()),
        )
        .await
        .expect("within a minute");
        app.stop().await;
        Account::of(&ledger, &files(&events)).check();
    }
}

/// The control, and what an operator sees where rows wait for whatever reason.
#[tokio::test(flavor = "multi_thread")]
async fn rows_that_wait_while_nothing_moves_are_degraded_with_words() {
    let (app, ledger, _sink) =
        stranded(2 * HOUR, &[("HOOKWEIR_CONTROL", "clock_believed".into())]).await;
    let health = says(&app, &["degraded", "outbox", "has not left it"]).await;
    assert!(!health.contains("not ready"), "{health}");
    assert_eq!(
        app.metrics().await.get("hookweir_outbox_rows"),
        ledger.genuine().count() as f64
    );
    assert!(
        app.metrics().await.get("hookweir_outbox_oldest_seconds") >= 30.0,
        "by the clock they have not waited at all"
    );
}
