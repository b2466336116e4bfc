//! Look-ups in a store of 1 million events, while it accepts, and screens of the page. They take minutes, so they run when asked for:
//! `tests/run`'s servers, then `cargo test --test it -- --ignored --nocapture a_million`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir::config::Config;
use hookweir::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, InstanceId, Marks, MessageKey, SourceName, wall_clock,
};
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::{self, Inserted, NewEvent, Seq};
use hookweir_testkit::app::{App, five_sources};
use hookweir_testkit::servers::postgres;

use super::page::Visit;
use super::{hookweir, raw};

const EVENTS: usize = 1_000_000;
const BATCH: usize = 2000;
const ROUNDS: usize = 20;

fn event(source: &SourceName, n: usize) -> Arc<NewEvent> {
    let id = format!("evt_{n}");
    let key = DedupKey::new(source, "id", &[id.as_bytes()]);
    let body = Bytes::from(format!(
        "{{\"id\":\"{id}\",\"filler\":\"{}\"}}",
        "x".repeat(200)
    ));
    Arc::new(NewEvent {
        key,
        message: MessageKey::of(&key),
        class: IdClass::Signed,
        bytes_key: None,
        drop_same_bytes: None,
        replay: None,
        marks: Marks::default(),
        digest: BodyDigest::of(&body),
        source: source.clone(),
        event_id: EventId::new(&id),
        event_type: Some("order.created".into()),
        content_type: None,
        headers: Vec::new(),
        body,
        received_at: wall_clock(),
        verified_by: None,
        window: Duration::from_secs(30 * 24 * 3600),
        sinks: None,
    })
}

/// Stores the events, confirmed by a sink that nobody has.
fn fill(config: &str) {
    let config = Config::from_toml(config).expect("valid");
    let store = store::open(&config.store, 1).expect("opened");
    store.prepare().expect("prepared");
    let nowhere = SinkName::parse("nowhere").expect("a name");
    let sinks = Sinks::new(std::slice::from_ref(&nowhere)).expect("a sink");
    let (owner, source) = (
        InstanceId::random(),
        SourceName::parse("stripe").expect("a name"),
    );
    for first in (0..EVENTS).step_by(BATCH) {
        let mut batch: Vec<_> = (first..first + BATCH).map(|n| event(&source, n)).collect();
        batch.sort_by_key(|event| event.key);
        let stored = store.insert(owner, &sinks, &batch).expect("stored");
        let rows = stored.iter().filter_map(|inserted| match inserted {
            Inserted::Accepted(seq) => Some(*seq),
            _ => None,
        });
        let rows: Vec<Seq> = rows.collect();
        store.confirmed(&nowhere, &rows).expect("confirmed");
    }
}

/// Times of a request, in milliseconds: the middle one and the longest.
fn times(app: &App, path: &str) -> (f64, f64) {
    let mut times: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            let (status, answer) = raw(app, "GET", path);
            assert_eq!(status, 200, "{path}: {answer}");
            began.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    (times[ROUNDS / 2], times[ROUNDS - 1])
}

fn look_up(app: &App, store: &str) {
    hookweir(app, &["send", "--source", "stripe", "--id", "evt_newest"]).good();
    thread::scope(|scope| {
        let load = [
            "send",
            "--source",
            "stripe",
            "--count",
            "6000",
            "--parallel",
            "8",
        ];
        let load = scope.spawn(move || hookweir(app, &load).good());
        let mut figures = String::new();
        for (what, path) in [
            ("last 20", "/api/v1/events"),
            ("an id", "/api/v1/events/evt_500000"),
            ("the oldest id", "/api/v1/events/evt_0"),
            ("trace of an id", "/api/v1/events/evt_500000/trace"),
        ] {
            let (middle, longest) = times(app, path);
            let _ = write!(figures, "{what} {middle:.1} ms (longest {longest:.1}); ");
        }
        let busy = !load.is_finished();
        load.join().expect("the load ended");
        println!("{store}, {EVENTS} events, accepting: {busy}: {figures}");
    });
}

/// Screens of the operator's page.
async fn look(app: &App, store: &str) {
    let visit = Visit::enter(app).await;
    let mut figures = String::new();
    for path in [
        "/page",
        "/page/events",
        "/page/events?source=stripe",
        "/page/events/evt_500000",
        "/page/sources/stripe",
    ] {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            visit.screen(path).await;
            times.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        let (middle, longest) = (times[ROUNDS / 2], times[ROUNDS - 1]);
        let _ = write!(figures, "{path} {middle:.1} ms (longest {longest:.1}); ");
    }
    println!("{store}, {EVENTS} events, screens: {figures}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "stores a million events: minutes"]
async fn in_a_million_events_of_sqlite_the_last_20_and_an_id_are_found() {
    let app = App::start(&five_sources()).await;
    let database = app.folder().join("data/hookweir.db");
    fill(&format!(
        "[store]\nurl = \"sqlite://{}\"\n",
        database.display()
    ));
    look_up(&app, "SQLite");
    look(&app, "SQLite").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "stores a million events: minutes"]
async fn in_a_million_events_of_postgresql_the_last_20_and_an_id_are_found() {
    let schema = format!("test_{}", uuid::Uuid::now_v7().simple());
    let store = format!("[store]\nurl = \"{}\"\nschema = \"{schema}\"\n", postgres());
    let app = App::start(&format!("{store}{}", five_sources())).await;
    fill(&store);
    look_up(&app, "PostgreSQL");
    look(&app, "PostgreSQL").await;
}
