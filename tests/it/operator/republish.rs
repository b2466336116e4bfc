//! Publishing stored events again, on SQLite and files.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_query;
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::provider::Provider;
use hookweir_testkit::sink::{Message, files, files_so_far};
use serde_json::{Value, json as object};

use super::decisions::in_database;
use super::{hookweir, json, raw, send, told, traced};
use crate::signals::logs;

/// Header of a message that a job has published.
const MARK: &str = "x-hookweir-republished";

/// Stores `count` events of Stripe at once, and confirms them.
async fn stored(app: &App, count: usize) {
    send(app, Provider::Stripe, "evt_0");
    traced(app, "evt_0", "default", "confirmed").await;
    let path = app.folder().join("data/hookweir.db");
    let mut database = SqliteConnection::establish(&path.to_string_lossy()).expect("opened");
    let copies = format!(
        "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {})
         INSERT INTO event (seq, key, source, event_id, event_type, content_type, headers, received_at, body)
         SELECT 1000000 + n, randomblob(32), source, 'evt_' || n, event_type, content_type, headers, received_at + n, body
         FROM event, numbers",
        count - 1
    );
    sql_query("PRAGMA busy_timeout = 10000")
        .execute(&mut database)
        .expect("set");
    sql_query(copies).execute(&mut database).expect("stored");
}

/// Messages that a job has published.
fn copies(app: &App) -> Vec<Message> {
    let all = files_so_far(&app.events()).into_iter();
    all.filter(|message| message.properties.contains_key(MARK))
        .collect()
}

/// Waits until the sink has copies of so many events.
async fn copied(app: &App, expected: usize) -> Vec<Message> {
    let since = Instant::now();
    loop {
        let found = copies(app);
        let events: BTreeSet<&str> = found.iter().map(|copy| copy.event_id.as_str()).collect();
        if events.len() >= expected {
            return found;
        }
        let patient = since.elapsed() < Duration::from_secs(120);
        assert!(
            patient,
            "{} of {expected} came\n{}",
            events.len(),
            app.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until the job has this state.
async fn until(app: &App, job: &str, state: &str) -> Value {
    let since = Instant::now();
    loop {
        let found = json(app, &["jobs", "show", job]).remove(0);
        if found["state"] == state {
            return found;
        }
        let patient = since.elapsed() < Duration::from_secs(120);
        assert!(patient, "{found} is not {state}\n{}", app.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_published_again_under_its_old_message_id_and_marked() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_1");
    send(&app, Provider::Stripe, "evt_2");
    traced(&app, "evt_2", "default", "confirmed").await;
    let dry = hookweir(&app, &["republish", "evt_1"]);
    assert!(dry.err.contains("nothing was published"), "{}", dry.err);
    assert!(dry.good().starts_with("1 events, "));
    assert!(json(&app, &["jobs"]).is_empty());

    let job = json(&app, &["republish", "evt_1", "--start", "--reason", "lost"]).remove(0);
    let id = job["id"].as_str().expect("an id");
    assert_eq!(until(&app, id, "done").await["copies"], 1);
    copied(&app, 1).await;
    let all = files(&app.events());
    let of: Vec<&Message> = all
        .iter()
        .filter(|message| message.event_id == "evt_1")
        .collect();
    assert_eq!(of.len(), 2, "{all:?}");
    assert_eq!((&of[0].id, &of[0].body), (&of[1].id, &of[1].body));
    assert_eq!(of[1].properties[MARK], format!("\"{id}\""));
    assert_eq!(copies(&app).len(), 1);
    let trace = hookweir(&app, &["trace", "evt_1"]).good();
    let chosen = trace.lines().find(|line| line.contains("chosen"));
    let chosen = chosen.expect("the job").to_owned();
    assert!(chosen.contains(id), "{trace}");
    assert!(chosen.contains("by user"), "who: {trace}");
    let other = hookweir(&app, &["trace", "evt_2"]).good();
    assert!(!other.contains("chosen"), "{other}");
    let watched = hookweir(&app, &["jobs", "watch", id]).good();
    assert!(watched.contains("done, 1 of 1 events"), "{watched}");
    logs(&app, &format!("republish: job {id}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn yesterdays_events_of_stripe_are_counted_first_and_go_on_after_kill_9_without_a_gap() {
    let mut app = App::start(&five_sources()).await;
    stored(&app, 900).await;
    send(&app, Provider::StandardWebhooks, "msg_1");
    let filter = ["--source", "stripe", "--from", "1h", "--pace", "150"];
    let plan = json(&app, &[&["republish"][..], &filter].concat()).remove(0);
    assert_eq!(plan["events"], 900, "{plan}");
    let bytes = plan["bytes"].as_u64().expect("a number");
    assert!(
        bytes > 900 && plan["first"].as_str() < plan["last"].as_str(),
        "{plan}"
    );
    let said = hookweir(&app, &[&["republish"][..], &filter].concat()).good();
    assert!(
        said.contains("900 events") && said.contains("at 150 a second they take 6 s"),
        "{said}"
    );

    let began = Instant::now();
    let job = json(&app, &[&["republish", "--start"][..], &filter].concat()).remove(0);
    let id = job["id"].as_str().expect("an id").to_owned();
    loop {
        let events = json(&app, &["jobs", "show", &id]).remove(0)["events"].clone();
        if events.as_u64() > Some(200) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    app.kill();
    app.start_again().await;
    app.ready().await;
    let done = until(&app, &id, "done").await;
    // Faster than its pace it never is: two seconds are the first step and what it may catch up.
    assert!(
        began.elapsed() >= Duration::from_secs(900 / 150 - 2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        (&done["events"], &done["copies"]),
        (&900.into(), &900.into())
    );
    let all = copied(&app, 900).await;
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for copy in all {
        *found.entry(copy.event_id).or_default() += 1;
    }
    let missing: Vec<String> = (0..900)
        .map(|n| format!("evt_{n}"))
        .filter(|id| !found.contains_key(id))
        .collect();
    assert_eq!(missing, [] as [String; 0]);
    assert_eq!(found.len(), 900, "no event of another source");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_job_publishes_nothing_more_and_mistakes_are_named() {
    let app = App::start(&five_sources()).await;
    stored(&app, 200).await;
    let start = ["republish", "--source", "stripe", "--pace", "4", "--start"];
    let job = json(&app, &start).remove(0);
    let id = job["id"].as_str().expect("an id");
    let listed = hookweir(&app, &["jobs"]).good();
    assert!(
        listed.contains(id) && listed.contains("running"),
        "{listed}"
    );
    let cancelled = hookweir(&app, &["jobs", "cancel", id]);
    let told_so = "the job puts nothing more into the outbox";
    assert!(cancelled.err.contains(told_so), "{}", cancelled.err);
    assert!(cancelled.good().contains("cancelled"));
    let job = json(&app, &["jobs", "show", id]).remove(0);
    let put = job["copies"].as_u64().expect("a number");
    assert!(put < 200, "{job}");
    copied(&app, usize::try_from(put).expect("few")).await;
    assert_eq!(
        json(&app, &["jobs", "cancel", id]).remove(0)["state"],
        "cancelled"
    );

    let error = hookweir(&app, &["republish"]).bad(64);
    assert!(error.contains("the choice of events is empty"), "{error}");
    let error = hookweir(&app, &["republish", "evt_404"]).bad(1);
    assert!(error.contains("no event has the id"), "{error}");
    let error = hookweir(&app, &["republish", "evt_0", "--only-to", "kafka"]).bad(64);
    assert!(
        error.contains("no sink \"kafka\"; it has default"),
        "{error}"
    );
    let error = hookweir(&app, &["republish", "--type", "none", "--start"]).bad(64);
    assert!(error.contains("no event fits"), "{error}");
    let error = hookweir(&app, &["jobs", "cancel"]).bad(64);
    assert!(error.contains("hookweir jobs"), "{error}");
    let (status, told) = raw(&app, "POST", "/api/v1/republish");
    assert_eq!(status, 400, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_repeated_with_its_id_also_while_the_most_jobs_run_and_begins_no_second_job() {
    let app = App::start(&five_sources()).await;
    stored(&app, 200).await;
    let start = ["republish", "--source", "stripe", "--pace", "1", "--start"];
    let first = hookweir(&app, &start);
    assert_eq!(first.code, Some(0), "{}", first.err);
    let line = first.err.lines().next().unwrap_or_default();
    let id = line.strip_prefix("ordering job ").expect("the id");
    let order = object!({ "choice": { "source": "stripe" }, "pace": 1 });
    for _ in 1..16 {
        let (status, job) = told(&app, "/api/v1/republish", &order);
        assert_eq!(status, 200, "{job}");
    }
    let (status, why) = told(&app, "/api/v1/republish", &order);
    assert_eq!(status, 409, "{why}");
    let again = json(&app, &[&start[..], &["--id", id]].concat()).remove(0);
    assert_eq!(again["id"], id, "{again}");
    assert_eq!(json(&app, &["jobs"]).len(), 16);
    let other = ["republish", "--source", "github", "--pace", "1", "--start"];
    let error = hookweir(&app, &[&other[..], &["--id", id]].concat());
    let faster = object!({ "choice": { "source": "stripe" }, "pace": 2, "id": id });
    let (status, why) = told(&app, "/api/v1/republish", &faster);
    assert_eq!(status, 409, "{why}");
    assert!(why.to_string().contains("another choice"), "{why}");
    assert_ne!(error.code, Some(0), "{}", error.out);
    let error = hookweir(&app, &[&start[..], &["--id", "first"]].concat()).bad(64);
    assert!(error.contains("it is no UUID"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_does_without_the_jobs_that_cannot_be_read_and_says_so() {
    let app = App::start(&five_sources()).await;
    send(&app, Provider::Stripe, "evt_1");
    traced(&app, "evt_1", "default", "confirmed").await;
    in_database(&app, "ALTER TABLE republish_job RENAME TO hidden");
    let trace = hookweir(&app, &["trace", "evt_1"]);
    assert!(trace.err.contains("republish_job"), "{}", trace.err);
    assert!(trace.good().contains("sink default"));
    let trace = json(&app, &["trace", "evt_1"]).remove(0);
    assert_eq!(trace["jobs_unknown"], true, "{trace}");
}
