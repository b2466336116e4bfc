//! Reading all events in one order, as a consumer without a queue does, on SQLite and files.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::sink::files_so_far;
use serde_json::Value;

use super::decisions::in_database;
use super::{hookweir, ids, json, raw, send};

/// Asks for the events after a position.
fn after(app: &App, position: &str, more: &str) -> Value {
    let path = format!("/api/v1/events?after={position}{more}");
    let (status, answer) = raw(app, "GET", &path);
    assert_eq!(status, 200, "{path}: {answer}");
    serde_json::from_str(&answer).expect("JSON")
}

fn ids_of(answer: &Value) -> Vec<&str> {
    ids(answer["events"].as_array().expect("events"))
}

/// Positions of the messages of the file sink, by the provider's id, once there are `count`.
async fn positions(app: &App, count: usize) -> BTreeMap<String, String> {
    let since = Instant::now();
    loop {
        let messages = files_so_far(&app.events()).into_iter();
        let found: BTreeMap<String, String> = messages
            .map(|message| {
                let position = message.properties.get("x-hookweir-position");
                (message.event_id, position.expect("a position").to_string())
            })
            .collect();
        if found.len() == count {
            return found;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_steps_back_to_the_header_of_an_older_message_and_goes_on_there() {
    let app = App::start(&five_sources()).await;
    for id in ["evt_1", "evt_2", "evt_3"] {
        send(&app, Provider::Stripe, id);
    }
    let positions = positions(&app, 3).await;
    let position = positions["evt_1"].trim_matches('"');
    let rest = after(&app, position, "");
    assert_eq!(ids_of(&rest), ["evt_2", "evt_3"]);
    assert_eq!(rest["events"][1]["position"], rest["next"]);
    let one = after(&app, "0", "&limit=1");
    assert_eq!(one["next"], position);
    let filtered = after(&app, "0", "&event_id=evt_2");
    assert_eq!(ids_of(&filtered), ["evt_2"]);
    assert_eq!(filtered["next"], rest["next"], "all were looked at");

    let listed = json(&app, &["events", "--after", position]);
    assert_eq!(ids(&listed), ["evt_2", "evt_3"]);
    let last = rest["next"].as_str().expect("a position");
    let none = hookweir(&app, &["events", "--after", last]);
    assert!(
        none.err.contains(&format!("--after {last}")),
        "{}",
        none.err
    );
    assert_eq!(none.good(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_waits_gets_the_next_event_as_it_comes() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_1");
    let first = after(&app, "0", "");
    let next = first["next"].as_str().expect("a position");
    assert_eq!(ids_of(&after(&app, next, "")), [""; 0], "nobody waits");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| after(&app, next, "&wait_ms=30000"));
        send(&app, Provider::Stripe, "evt_2");
        let answer = waiting.join().expect("answered");
        assert_eq!(ids_of(&answer), ["evt_2"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_of_a_rare_event_waits_though_others_come_and_goes_on_behind_them() {
    let app = App::start(&five_sources()).await;
    let wait = Duration::from_millis(1500);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let since = Instant::now();
            let answer = after(&app, "0", "&event_id=rare&wait_ms=1500");
            (answer, since.elapsed())
        });
        for id in ["evt_1", "evt_2"] {
            send(&app, Provider::Stripe, id);
        }
        let (answer, waited) = waiting.join().expect("answered");
        assert_eq!(ids_of(&answer), [""; 0]);
        assert!(waited >= wait, "answered at once: {waited:?}");
        assert_eq!(answer["more"], false, "all were read: {answer}");
    });
    let all = after(&app, "0", "");
    let last = &all["next"];
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| after(&app, "0", "&event_id=rare&wait_ms=30000"));
        send(&app, Provider::Stripe, "rare");
        let answer = waiting.join().expect("answered");
        assert_eq!(ids_of(&answer), ["rare"]);
        assert_ne!(&answer["next"], last);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_was_away_too_long_learns_it_though_its_last_event_is_still_there() {
    let app = App::start(&five_sources()).await;
    for id in ["evt_1", "evt_2"] {
        send(&app, Provider::Stripe, id);
    }
    let first = after(&app, "0", "&limit=1");
    let position = first["next"].as_str().expect("a position");
    assert_eq!(after(&app, position, "")["after_deleted"], false);
    // Four days ago; events are kept for three.
    in_database(
        &app,
        "UPDATE event SET received_at = received_at - 345600000 WHERE event_id = 'evt_1'",
    );
    let rest = after(&app, position, "");
    assert_eq!(ids_of(&rest), ["evt_2"]);
    assert_eq!(rest["after_deleted"], true, "{rest}");
    let next = rest["next"].as_str().expect("a position");
    assert_eq!(after(&app, next, "")["after_deleted"], false);
    let told = hookweir(&app, &["events", "--after", position]);
    assert!(told.err.contains("may have been deleted"), "{}", told.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_the_store_does_not_know_is_refused_with_the_next_step() {
    let app = App::start(&five_sources()).await;
    let told = hookweir(&app, &["events", "--after", "12-00000000"]).bad(64);
    for part in ["12-00000000", "restored", "after=0"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let told = hookweir(&app, &["events", "--after", "yesterday"]).bad(64);
    assert!(told.contains("no position"), "{told}");
}
