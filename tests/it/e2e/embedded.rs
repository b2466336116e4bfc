//! On the embedded default: SQLite and a file sink.

use std::time::Duration;

use super::check_outcomes;
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::deliveries;
use hookweir_testkit::load::Load;
use hookweir_testkit::oracle::Account;
use hookweir_testkit::sink::{files, files_hold};

#[tokio::test(flavor = "multi_thread")]
async fn each_event_of_five_providers_arrives_once_byte_for_byte() {
    let mut app = App::start(&patient_sources()).await;
    let ledger = Load::on(&[app.listen]).send(deliveries()).await;
    ledger.check_faultless();
    check_outcomes(&ledger, &[app.metrics().await]);
    files_hold(&app.events(), ledger.genuine().count()).await;
    app.drained().await;
    assert!(app.stop().await.success(), "a stop in order: {}", app.log());
    Account::of(&ledger, &files(&app.events())).check_once();
}

/// I8: the cache changes latency only.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_cache_the_results_are_the_same() {
    let mut app = App::start(&format!(
        "[dedup]\ncache_entries = 0\n{}",
        patient_sources()
    ))
    .await;
    let ledger = Load {
        at_once: 50,
        later: 50,
        other_body: 20,
        ..Load::on(&[app.listen])
    }
    .send(1000)
    .await;
    ledger.check_faultless();
    check_outcomes(&ledger, &[app.metrics().await]);
    files_hold(&app.events(), ledger.genuine().count()).await;
    app.stop().await;
    Account::of(&ledger, &files(&app.events())).check_once();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_twenty_times_under_load_nothing_is_lost() {
    let mut app = App::start(&patient_sources()).await;
    let load = Load {
        connections: 16,
        rate: Some(400.0),
        ..Load::on(&[app.listen])
    }
    .start();
    for _ in 0..20 {
        load.until_taken(30).await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(..50))).await;
        app.kill();
        app.start_again().await;
    }
    app.ready().await;
    let ledger = load.finish().await;
    ledger.check();
    files_hold(&app.events(), ledger.genuine().count()).await;
    app.drained().await;
    app.stop().await;
    Account::of(&ledger, &files(&app.events())).check();
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_in_order_under_load_nothing_is_lost_and_nothing_published_twice() {
    let mut app = App::start(&patient_sources()).await;
    let load = Load {
        connections: 16,
        rate: Some(400.0),
        ..Load::on(&[app.listen])
    }
    .start();
    for _ in 0..3 {
        load.until_taken(100).await;
        let status = app.stop().await;
        assert!(
            status.success(),
            "a stop under load ends with {status}:\n{}",
            app.log()
        );
        app.start_again().await;
    }
    let ledger = load.finish().await;
    ledger.check();
    files_hold(&app.events(), ledger.genuine().count()).await;
    app.stop().await;
    Account::of(&ledger, &files(&app.events())).check_once();
}
