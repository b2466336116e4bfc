//! On PostgreSQL: any instance answers for the shared store.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::{Connection as _, PgConnection, RunQueryDsl as _, sql_query};
use hookweir_testkit::app::{App, patient_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::servers::{Server, postgres};
use hookweir_testkit::sink::files_so_far;

use super::quarantine_again::Database;
use super::{SINKS, hookweir, ids, json, send, traced};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_one_instance_took_is_traced_by_the_other() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let url = postgres();
    let store = format!("[store]\nurl = \"{url}\"\nschema = \"{schema}\"\n");
    let config = format!("{store}{SINKS}{}", patient_sources());
    let (one, other) = (App::start(&config).await, App::start(&config).await);
    send(&one, Provider::Stripe, "evt_1");
    send(&other, Provider::Stripe, "evt_2");
    for app in [&one, &other] {
        assert_eq!(ids(&json(app, &["events"])), ["evt_2", "evt_1"]);
        let waits = json(app, &["events", "--sink", "dead", "--state", "waiting"]);
        assert_eq!(ids(&waits), ["evt_2", "evt_1"]);
    }
    let found = traced(&other, "evt_1", "default", "confirmed").await;
    assert!(found["sink"]["since"].is_string(), "{found}");

    let body = hookweir(&one, &["show", "evt_2", "--body"]).good();
    assert!(body.contains("evt_2"), "{body}");
    let mut database = PgConnection::establish(&url).expect("connected");
    let callers =
        format!("SELECT 1 FROM {schema}.audit WHERE action = 'open body' AND caller LIKE 'user %'");
    let recorded = sql_query(callers).execute(&mut database);
    assert_eq!(recorded, Ok(1));

    // Figures of one instance say whose they are.
    let of = |app: &App| json(app, &["sources", "stripe"]).remove(0);
    let (one, other) = (of(&one), of(&other));
    assert_ne!(one["instance"], other["instance"]);
    assert_eq!(one["sources"][0]["received"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_costs_no_event_and_no_time_of_receipt_once_it_is_mended() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let store = format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", postgres());
    super::quarantine::a_wrong_secret_is_mended(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_a_while_costs_no_refused_delivery_and_no_answer() {
    let mut database = tokio::task::block_in_place(Server::postgres);
    let store = format!("[store]\nurl = \"{}\"\n", database.url);
    let app = App::start(&format!("{store}{}", patient_sources())).await;
    tokio::task::block_in_place(|| database.kill());
    // More attempts than a batch has that the store refuses.
    for _ in 0..5 {
        super::quarantine::forgeries_are_refused(&app, 40).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let log = app.log();
    assert!(
        log.contains("cannot keep refused deliveries in the quarantine"),
        "{log}"
    );
    tokio::task::block_in_place(|| database.start());
    app.until_healthy().await;
    super::quarantine::forgeries_are_refused(&app, 3).await;
    super::quarantine::kept(&app, &[], 203).await;
    let dropped = app
        .metrics()
        .await
        .sum("hookweir_quarantine_dropped_total", &[]);
    assert_eq!(dropped, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_dedup_window_is_an_event_only_if_somebody_says_so() {
    let (store, database) = store_of_its_own();
    super::quarantine_again::an_old_one_waits_for_a_word(&store, &database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_alike_deliveries_without_an_id_the_second_stays() {
    let (store, _) = store_of_its_own();
    super::quarantine_again::the_second_of_two_alike_stays(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_instance_verifies_refused_deliveries_the_other_says_so_and_stores_nothing() {
    let (store, database) = store_of_its_own();
    let Database::Postgres { url, schema } = database else {
        unreachable!("it is on PostgreSQL");
    };
    let app = App::start(&format!("{store}{}", patient_sources())).await;
    hookweir(&app, &["quarantine", "verify"]).good();
    let mut other = PgConnection::establish(&url).expect("connected");
    let lock = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtextextended('hookweir quarantine {schema}', 0))"
    );
    other.batch_execute(&lock).expect("locked");
    let said = hookweir(&app, &["quarantine", "verify"]);
    assert_ne!(said.code, Some(0), "{}", said.out);
    assert!(said.err.contains("by another command"), "{}", said.err);
    other.batch_execute("ROLLBACK").expect("released");
    hookweir(&app, &["quarantine", "verify"]).good();
}

/// Returns a configured store in a schema of its own, and the way to its rows.
fn store_of_its_own() -> (String, Database) {
    let (url, schema) = (
        postgres(),
        format!("test_{}", uuid::Uuid::now_v7().simple()),
    );
    let store = format!("[store]\nurl = \"{url}\"\nschema = \"{schema}\"\n");
    (store, Database::Postgres { url, schema })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_one_instance_was_asked_for_goes_on_at_the_other() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let pooler = Server::pooler(&postgres());
    let store = |url: &str| format!("[store]\nurl = \"{url}\"\nschema = \"{schema}\"\n");
    let config = |url: &str| format!("{}{}", store(url), patient_sources());
    let mut one = App::start(&config(&postgres())).await;
    let other = App::start(&config(&pooler.url)).await;
    for n in 0..12 {
        send(&one, Provider::Stripe, &format!("evt_{n}"));
    }
    traced(&one, "evt_11", "default", "confirmed").await;
    let start = ["republish", "--source", "stripe", "--pace", "1", "--start"];
    let job = json(&one, &start).remove(0);
    one.kill();
    let id = job["id"].as_str().expect("an id");
    hookweir(&other, &["jobs", "watch", id]).good();
    let done = json(&other, &["jobs", "show", id]).remove(0);
    assert_eq!(
        (&done["state"], &done["copies"]),
        (&"done".into(), &12.into())
    );
    let marked = |app: &App| {
        let all = files_so_far(&app.events()).into_iter();
        let copies = all.filter(|copy| copy.properties.contains_key("x-hookweir-republished"));
        copies.map(|copy| copy.event_id).collect::<BTreeSet<_>>()
    };
    let since = Instant::now();
    loop {
        let both = marked(&one).union(&marked(&other)).count();
        if both == 12 {
            return;
        }
        let patient = since.elapsed() < Duration::from_secs(60);
        assert!(patient, "{both} of 12 came\n{}", other.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_statement_of_a_question_has_a_time_limit_of_its_own() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let url = postgres();
    let store = format!("[store]\nurl = \"{url}\"\nschema = \"{schema}\"\n");
    let admin = "[admin]\ntimeout_ms = 300\n";
    let app = App::start(&format!("{store}{admin}{}", patient_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    let mut other = PgConnection::establish(&url).expect("connected");
    let lock = format!("BEGIN; LOCK TABLE {schema}.published IN ACCESS EXCLUSIVE MODE");
    other.batch_execute(&lock).expect("locked");
    let error = hookweir(&app, &["trace", "evt_1"]).bad(69);
    assert!(
        error.contains("300 ms") || error.contains("timeout"),
        "{error}"
    );
    other.batch_execute("ROLLBACK").expect("released");
    // On a slow machine a trace may take more than 300 ms itself.
    let since = Instant::now();
    while hookweir(&app, &["trace", "evt_1"]).code != Some(0) {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", app.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_to_their_sink_while_the_table_of_pauses_is_locked() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let url = postgres();
    let store = format!(
        "[store]\nurl = \"{url}\"\nschema = \"{schema}\"\nlease_secs = 3\nstatement_timeout_ms = 300_000\n"
    );
    let app = App::start(&format!("{store}{}", patient_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    traced(&app, "evt_1", "default", "confirmed").await;
    let mut other = PgConnection::establish(&url).expect("connected");
    let lock = format!("BEGIN; LOCK TABLE {schema}.pause IN ACCESS EXCLUSIVE MODE");
    other.batch_execute(&lock).expect("locked");
    // A lease that waited for the table would be lost by then.
    tokio::time::sleep(Duration::from_secs(12)).await;
    send(&app, Provider::Stripe, "evt_2");
    traced(&app, "evt_2", "default", "confirmed").await;
    other.batch_execute("ROLLBACK").expect("released");
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_transaction_pooler_the_first_question_is_answered_and_the_next_one() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let pooler = Server::pooler(&postgres());
    let store = format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", pooler.url);
    let app = App::start(&format!("{store}{}", patient_sources())).await;
    send(&app, Provider::Stripe, "evt_1");
    for _ in 0..3 {
        assert_eq!(ids(&json(&app, &["events"])), ["evt_1"]);
        hookweir(&app, &["show", "evt_1", "--body"]).good();
    }
}
