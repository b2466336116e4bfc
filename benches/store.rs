//! Speed of a store: events that it takes in a second, one by one and in batches, and events that
//! leave its outbox in a second.
//!
//! Run it with `cargo bench --bench store -- [URL] [SECONDS]`, where URL is `sqlite://FILE`
//! (default: a temporary file) or `postgres://…`. With PostgreSQL, the schema `bench` is dropped
//! first.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::connection::{Connection, SimpleConnection};
use hookweir::config::model::{Migrate, Store as StoreConfig, StoreUrl};
use hookweir::config::secret::Secret;
use hookweir::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, InstanceId, Marks, MessageKey, SourceName, wall_clock,
};
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::{NewEvent, Room, Seq, Store, open};

const BODY: usize = 1200;
const WRITERS: usize = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let folder = tempfile::tempdir()?;
    let url = match arguments.next() {
        None => StoreUrl::Sqlite(folder.path().join("bench.db")),
        Some(url) => match url.strip_prefix("sqlite://") {
            Some(path) => StoreUrl::Sqlite(PathBuf::from(path)),
            None => {
                diesel::PgConnection::establish(&url)?
                    .batch_execute("DROP SCHEMA IF EXISTS bench CASCADE")?;
                StoreUrl::Postgres(Secret::new(url.into_bytes()))
            }
        },
    };
    let seconds = arguments.next().map_or(Ok(5), |text| text.parse())?;
    let config = StoreConfig {
        url,
        migrate: Migrate::Auto,
        schema: "bench".into(),
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(30),
        allow_unsafe_durability: false,
        keep_events: Duration::ZERO,
        keep_refused: Duration::from_secs(86_400),
        keep_events_below: 0,
        keep_conflicts_below: 0,
        keep_conflicts: Duration::ZERO,
        prune_interval: Duration::from_secs(10),
        prune_rows: 5000,
        lease: Duration::from_secs(15),
        longest_retry: Duration::from_secs(60),
    };
    let store = open(&config, WRITERS + 1)?;
    store.prepare()?;
    let owner = InstanceId::random();
    store.renew_lease(owner, Duration::from_secs(3600))?;
    let mut one_by_one = 0.0;
    for batch in [1, 16, 64, 256, 512] {
        let rate = insert(&*store, owner, batch, Duration::from_secs(seconds));
        if batch == 1 {
            one_by_one = rate;
        }
        println!(
            "insert, {WRITERS} writers, batches of {batch:>3}: {rate:>8.0} events/s ({:.1} x one by one)",
            rate / one_by_one
        );
    }
    println!("waiting: {:?}", store.backlog()?);
    let begun = Instant::now();
    let mut gone = 0;
    while begun.elapsed().as_secs() < seconds {
        let rows: Vec<Seq> = store
            .claim(
                owner,
                &SinkName::default(),
                Room {
                    events: 1000,
                    bytes: 64 << 20,
                },
                &|_| false,
            )?
            .iter()
            .map(|row| row.seq)
            .collect();
        gone += rows.len();
        for window in rows.chunks(256) {
            store.confirmed(&SinkName::default(), window)?;
        }
    }
    println!(
        "claim 1000, confirm 256, one thread: {:>8.0} events/s",
        gone as f64 / begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn insert(store: &dyn Store, owner: InstanceId, batch: usize, time: Duration) -> f64 {
    let stored = AtomicU64::new(0);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..WRITERS {
            scope.spawn(|| {
                while begun.elapsed() < time {
                    let events = batch_of(batch);
                    if let Err(error) = store.insert(owner, &Sinks::default(), &events) {
                        println!("{error}");
                    }
                    stored.fetch_add(batch as u64, Ordering::Relaxed);
                }
            });
        }
    });
    stored.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

fn batch_of(events: usize) -> Vec<Arc<NewEvent>> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let source = SourceName::parse("bench").unwrap_or_else(|error| panic!("{error}"));
    let run = InstanceId::random();
    let mut batch: Vec<_> = (0..events)
        .map(|_| {
            let id = format!("evt_{run}_{}", NEXT.fetch_add(1, Ordering::Relaxed));
            Arc::new(NewEvent {
                key: DedupKey::new(&source, "id", &[id.as_bytes()]),
                message: MessageKey::of(&DedupKey::new(&source, "id", &[id.as_bytes()])),
                class: IdClass::Signed,
                bytes_key: None,
                drop_same_bytes: None,
                replay: None,
                marks: Marks::default(),
                digest: BodyDigest::of(id.as_bytes()),
                source: source.clone(),
                event_id: EventId::new(&id),
                event_type: Some("invoice.paid".into()),
                content_type: Some("application/json".into()),
                headers: vec![("user-agent".into(), "Provider/1.0".into())],
                body: vec![b'x'; BODY].into(),
                received_at: wall_clock(),
                verified_by: None,
                window: Duration::from_secs(7 * 86_400),
                sinks: None,
            })
        })
        .collect();
    batch.sort_by_key(|event| event.key);
    batch
}
