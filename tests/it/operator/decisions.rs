//! Parked events and conflicts, by the admin API and by commands.

use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};
use hookweir::config::Config;
use hookweir::domain::sink::SinkName;
use hookweir::store::{self, Seq};
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::load::{client, post};
use hookweir_testkit::provider::{Provider, now};
use hookweir_testkit::sink::{Message, files_so_far};
use serde_json::{Value, json as object};

use super::{SINKS, hookweir, json, raw, send, told, traced};

/// Has the sink "dead" refuse an event for good. Returns its number.
async fn parked(app: &App, id: &str) -> i64 {
    send(app, Provider::Stripe, id);
    let waits = traced(app, id, "dead", "waiting").await;
    let number = waits["trace"]["number"].as_i64().expect("a number");
    let database = app.folder().join("data/hookweir.db");
    let url = format!("[store]\nurl = \"sqlite://{}\"\n", database.display());
    let config = Config::from_toml(&url).expect("valid");
    let store = store::open(&config.store, 1).expect("opened");
    let dead = SinkName::parse("dead").expect("a name");
    store.park(&dead, Seq(number), "too large").expect("parked");
    number
}

/// Actions, counts and reasons of the record, in order.
fn record(app: &App) -> Vec<(String, i64, Option<String>)> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        action: String,
        #[diesel(sql_type = BigInt)]
        count: i64,
        #[diesel(sql_type = Nullable<Text>)]
        reason: Option<String>,
    }
    let path = app.folder().join("data/hookweir.db");
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let rows = sql_query("SELECT action, count, reason FROM audit ORDER BY at, id");
    let rows: Vec<Row> = rows.load(&mut database).expect("read");
    rows.into_iter()
        .map(|row| (row.action, row.count, row.reason))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_event_is_put_back_or_discarded_with_a_reason_and_it_is_recorded() {
    let app = App::start(&format!("{SINKS}{}", patient_sources())).await;
    let (back, gone) = (parked(&app, "evt_1").await, parked(&app, "evt_2").await);
    let by_command = parked(&app, "evt_3").await;
    let (status, page) = raw(&app, "GET", "/api/v1/parked?sink=dead&limit=2");
    assert_eq!(status, 200, "{page}");
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!(page["parked"][0]["event_id"], "evt_1", "{page}");
    assert_eq!(page["parked"][1]["reason"], "too large", "{page}");
    let next = page["next"].as_str().expect("a next page");
    let (_, page) = raw(
        &app,
        "GET",
        &format!("/api/v1/parked?sink=dead&after={next}"),
    );
    assert!(page.contains("evt_3") && !page.contains("evt_2"), "{page}");

    let choice = object!({ "sink": "dead", "numbers": [back, 1_000_000] });
    assert_eq!(
        told(&app, "/api/v1/parked/retry", &choice),
        (200, object!({ "count": 1 }))
    );
    assert_eq!(
        told(&app, "/api/v1/parked/retry", &choice),
        (200, object!({ "count": 0 }))
    );
    traced(&app, "evt_1", "dead", "waiting").await;
    let choice = object!({ "sink": "dead", "numbers": [gone] });
    let (status, why) = told(&app, "/api/v1/parked/discard", &choice);
    assert_eq!(status, 400, "{why}");
    let choice = object!({ "sink": "dead", "numbers": [gone], "reason": "a test event" });
    assert_eq!(
        told(&app, "/api/v1/parked/discard", &choice),
        (200, object!({ "count": 1 }))
    );
    let id = format!("store/dead:{by_command}");
    hookweir(&app, &["parked", "retry", &id]).good();
    let recorded = record(&app);
    let expected = [
        ("retry parked", None),
        ("discard parked", Some("a test event")),
        ("retry parked", None),
    ];
    assert_eq!(recorded.len(), expected.len(), "{recorded:?}");
    for ((action, count, reason), (word, why)) in recorded.iter().zip(expected) {
        assert_eq!((action.as_str(), *count, reason.as_deref()), (word, 1, why));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_under_a_known_id_is_listed_read_and_discarded_with_a_reason() {
    let app = App::start(&patient_sources()).await;
    let mut rng = fastrand::Rng::with_seed(7);
    let first = Provider::Stripe.event(&mut rng);
    let other = first.with_another_body(&mut rng);
    for event in [&first, &other] {
        let headers = event.signed(Provider::Stripe.secret(), now());
        let answer = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
        assert!(answer.is_taken(), "{answer:?}");
    }
    let listed = json(&app, &["conflicts"]);
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0]["event_id"], *first.id, "{listed:?}");
    let id = listed[0]["id"].as_str().expect("an id");
    let shown = hookweir(&app, &["conflicts", "show", id]).good();
    assert_eq!(shown, String::from_utf8_lossy(&other.body));
    let error = hookweir(&app, &["conflicts", "discard", id]).bad(64);
    assert!(error.contains("give a reason"), "{error}");
    let because = ["--reason", "the provider has repeated it"];
    let discard = ["conflicts", "discard", id];
    let done = hookweir(&app, &[&discard[..], &because].concat()).good();
    assert_eq!(done.trim_end(), "1 discarded");
    assert!(json(&app, &["conflicts"]).is_empty());
    hookweir(&app, &[&discard[..], &because].concat()).bad(64);
    let recorded = record(&app);
    assert_eq!(recorded[0].0, "open body", "{recorded:?}");
    let last = (
        "discard conflicts".to_owned(),
        1,
        Some(because[1].to_owned()),
    );
    assert_eq!(recorded[1..], [last]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_500_conflicts_with_the_longest_names_is_taken() {
    let app = App::start(&patient_sources()).await;
    let name = |n: i64| format!("{}-{}-{}", i64::MAX - n, "a".repeat(64), "b".repeat(64));
    let ids: Vec<String> = (0..500).map(name).collect();
    let decision = object!({ "ids": ids, "reason": "r".repeat(1000) });
    assert_eq!(
        told(&app, "/api/v1/conflicts/discard", &decision),
        (200, object!({ "count": 0 }))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn another_body_is_sent_back_as_a_message_of_its_own_with_the_mark_of_the_first() {
    let app = App::start(&patient_sources()).await;
    let mut rng = fastrand::Rng::with_seed(8);
    let first = Provider::Stripe.event(&mut rng);
    let other = first.with_another_body(&mut rng);
    for event in [&first, &other] {
        let headers = event.signed(Provider::Stripe.secret(), now());
        let answer = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
        assert!(answer.is_taken(), "{answer:?}");
    }
    let listed = json(&app, &["conflicts"]);
    let id = listed[0]["id"].as_str().expect("an id");
    let send_back = ["conflicts", "send-back", id, "--reason", "another payment"];
    let done = hookweir(&app, &send_back).good();
    assert_eq!(done.trim_end(), "1 sent back");
    assert!(json(&app, &["conflicts"]).is_empty());
    hookweir(&app, &send_back).bad(64);

    let since = Instant::now();
    let messages = loop {
        let messages = files_so_far(&app.events());
        if messages.len() == 2 {
            break messages;
        }
        assert!(since.elapsed() < Duration::from_secs(60), "{messages:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let is_other = |message: &&Message| message.body == other.body;
    let second = messages.iter().find(is_other).expect("the other body");
    let of_first = messages.iter().find(|message| message.body == first.body);
    let of_first = of_first.expect("the first body");
    assert_ne!(second.id, of_first.id);
    assert_eq!(second.event_id, of_first.event_id);
    assert_eq!(
        second.properties["x-hookweir-conflict-of"].trim_matches('"'),
        of_first.id
    );
    let recorded = record(&app);
    let words: Vec<&str> = recorded.iter().map(|row| row.0.as_str()).collect();
    assert_eq!(words, ["send back conflicts", "discard conflicts"]);
    assert_eq!(recorded[0].2.as_deref(), Some("another payment"));
}

/// Has the service accept an event and another body under its id. Returns the name of the conflict.
async fn conflict(app: &App, seed: u64) -> String {
    let mut rng = fastrand::Rng::with_seed(seed);
    let first = Provider::Stripe.event(&mut rng);
    let other = first.with_another_body(&mut rng);
    for event in [&first, &other] {
        let headers = event.signed(Provider::Stripe.secret(), now());
        let answer = post(&client(), app.listen, "stripe", headers, event.body.clone()).await;
        assert!(answer.is_taken(), "{answer:?}");
    }
    let listed = json(app, &["conflicts"]);
    let id = listed[0]["id"].as_str().expect("an id");
    id.to_owned()
}

/// Runs a statement in the service's database.
pub(super) fn in_database(app: &App, statement: &str) {
    let path = app.folder().join("data/hookweir.db");
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let wait = "PRAGMA busy_timeout = 60000";
    sql_query(wait).execute(&mut database).expect("set");
    sql_query(statement).execute(&mut database).expect("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_no_sink_would_get_stays_in_the_list_and_the_operator_learns_why() {
    let filter = "[publisher]\nevent_types = [\"never.*\"]\n";
    let app = App::start(&format!("{filter}{}", patient_sources())).await;
    let id = conflict(&app, 9).await;
    let send_back = ["conflicts", "send-back", &id];
    let told = hookweir(&app, &send_back).bad(64);
    assert!(told.contains("no sink wants"), "{told}");
    assert_eq!(json(&app, &["conflicts"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_whose_type_is_gone_stays_in_the_list_while_a_sink_chooses_by_type() {
    let filter = "[publisher]\nexcept_event_types = [\"never.*\"]\n";
    let app = App::start(&format!("{filter}{}", patient_sources())).await;
    let id = conflict(&app, 10).await;
    let since = Instant::now();
    while json(&app, &["events"])[0]["state"] != "published" {
        assert!(since.elapsed() < Duration::from_secs(60), "not published");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // As the deletion by age does.
    in_database(&app, "DELETE FROM event");
    let send_back = ["conflicts", "send-back", &id];
    let told = hookweir(&app, &send_back).bad(64);
    assert!(told.contains("type of conflict"), "{told}");
    assert_eq!(json(&app, &["conflicts"]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_comes_again_after_it_was_sent_back_is_not_called_published_twice() {
    let app = App::start(&patient_sources()).await;
    let id = conflict(&app, 11).await;
    let choice = object!({ "ids": [id] });
    let path = "/api/v1/conflicts/send-back";
    let published = object!({ "count": 1, "before": 0, "left": 0 });
    assert_eq!(told(&app, path, &choice), (200, published));
    let again = conflict(&app, 11).await;
    let choice = object!({ "ids": [again] });
    let known = object!({ "count": 0, "before": 1, "left": 0 });
    assert_eq!(told(&app, path, &choice), (200, known));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_conflicts_are_sent_back_in_as_many_answers_as_it_takes() {
    let app = App::start(&patient_sources()).await;
    in_database(
        &app,
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO conflict (key, digest, source, event_id, headers, received_at, at, body)
         SELECT randomblob(32), randomblob(32), 'stripe', 'evt_' || i, '[]', unixepoch() * 1000, unixepoch() * 1000 + i, 'x' FROM n",
    );
    let listed = json(&app, &["conflicts", "--limit", "500"]);
    let ids: Vec<&str> = listed
        .iter()
        .map(|found| found["id"].as_str().expect("an id"))
        .collect();
    assert_eq!(ids.len(), 500);
    let (by_command, by_api) = ids.split_at(50);
    let command = ["conflicts", "send-back"];
    let done = hookweir(&app, &[&command[..], by_command].concat()).good();
    assert_eq!(done.trim_end(), "50 sent back");
    let (mut sent, mut rest) = (50, by_api);
    while !rest.is_empty() {
        let choice = object!({ "ids": rest });
        let (status, answer) = told(&app, "/api/v1/conflicts/send-back", &choice);
        assert_eq!(status, 200, "{answer}");
        sent += answer["count"].as_u64().expect("a count");
        let left = answer["left"].as_u64().expect("a number") as usize;
        rest = &rest[rest.len() - left..];
    }
    assert_eq!(sent, 500);
    assert!(json(&app, &["conflicts"]).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_that_is_refused_among_others_does_not_hide_those_that_were_sent_back() {
    let filter = "[publisher]\nexcept_event_types = [\"never.*\"]\n";
    let app = App::start(&format!("{filter}{}", patient_sources())).await;
    let good = conflict(&app, 12).await;
    // Its first event is not there.
    in_database(
        &app,
        "INSERT INTO conflict (key, digest, source, event_id, headers, received_at, at, body)
         VALUES (randomblob(32), randomblob(32), 'stripe', 'evt_1', '[]', unixepoch() * 1000, unixepoch() * 1000, 'x')",
    );
    let listed = json(&app, &["conflicts"]);
    let other = listed.iter().find(|found| found["id"] != *good);
    let other = other.expect("another")["id"].as_str().expect("an id");
    let told = hookweir(&app, &["conflicts", "send-back", &good, other]).bad(64);
    assert!(told.contains("1 sent back, then"), "{told}");
    assert_eq!(json(&app, &["conflicts"]).len(), 1);
}
