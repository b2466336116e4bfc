//! The spool by itself, in front of a store on SQLite; and, `with_servers`, the service with PostgreSQL away.

mod with_servers;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hookweir::config::Config;
use hookweir::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, InstanceId, Marks, MessageKey, SourceName, UnixMillis,
    wall_clock,
};
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::runtime::shutdown::CriticalTask;
use hookweir::spool::{Drain, Spool};
use hookweir::store::catalog::EventQuery;
use hookweir::store::keeper::Lease;
use hookweir::store::{self, Inserted, NewEvent, Room, Store, StoredEvent};
use hookweir::telemetry::{Health, Metrics};

const WINDOW: Duration = Duration::from_secs(3600);

fn event(id: &str, body: &str) -> Arc<NewEvent> {
    let source = SourceName::parse("s").expect("a name");
    Arc::new(NewEvent {
        key: DedupKey::new(&source, "id", &[id.as_bytes()]),
        message: MessageKey::of(&DedupKey::new(&source, "id", &[id.as_bytes()])),
        class: IdClass::Signed,
        bytes_key: None,
        drop_same_bytes: None,
        replay: None,
        marks: Marks::default(),
        digest: BodyDigest::of(body.as_bytes()),
        source,
        event_id: EventId::new(id),
        event_type: Some("t".into()),
        content_type: None,
        headers: vec![("a".into(), "b".into())],
        body: Bytes::copy_from_slice(body.as_bytes()),
        received_at: wall_clock(),
        verified_by: None,
        window: WINDOW,
        sinks: None,
    })
}

/// A spool and a store in one folder.
struct Bench {
    folder: tempfile::TempDir,
    health: Health,
    metrics: Arc<Metrics>,
    config: Config,
}

impl Bench {
    fn new(options: &str) -> Self {
        let config = Config::from_toml(&format!(
            "[store]\nurl = \"postgres://localhost/none\"\n[spool]\n{options}"
        ))
        .expect("valid");
        let folder = tempfile::tempdir().expect("a folder");
        Self {
            folder,
            health: Health::default(),
            metrics: Metrics::new().expect("metrics"),
            config,
        }
    }

    fn spool(&self) -> Spool {
        let path = self.folder.path().join("spool.db");
        Spool::open(
            &path,
            &self.config.spool,
            false,
            self.metrics.clone(),
            self.health.component("spool"),
        )
    }

    fn store(&self) -> Arc<dyn Store> {
        let config = format!(
            "[store]\nurl = \"sqlite://{}\"",
            self.folder.path().join("store.db").display()
        );
        let store =
            store::open(&Config::from_toml(&config).expect("valid").store, 1).expect("opens");
        store.prepare().expect("prepared");
        store
    }

    /// Drains until nothing waits.
    fn drain(&self, spool: &Spool, store: &Arc<dyn Store>, instance: InstanceId) {
        let (lifeline, vigil) = CriticalTask::new();
        vigil.stopping();
        let room = Room {
            events: 3,
            bytes: 1000,
        };
        let drain = Drain {
            spool: spool.clone(),
            store: store.clone(),
            instance,
            sinks: Sinks::default(),
            lease: Lease::forever(),
            room,
        };
        let draining = drain.start(&lifeline).expect("starts");
        let until = Instant::now() + Duration::from_secs(60);
        while !spool.is_empty() {
            assert!(
                Instant::now() < until,
                "{} events are still in the spool after a minute",
                spool.len()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        draining.stop(until);
    }
}

fn outbox(store: &Arc<dyn Store>, instance: InstanceId) -> Vec<StoredEvent> {
    store.renew_lease(instance, WINDOW).expect("a lease");
    store
        .claim(
            instance,
            &SinkName::default(),
            Room {
                events: 1000,
                bytes: 1_000_000,
            },
            &|_| false,
        )
        .expect("claims")
}

fn insert(spool: &Spool, events: &[Arc<NewEvent>]) -> Vec<&'static str> {
    let label = |inserted| match inserted {
        Inserted::Accepted(_) => "accepted",
        Inserted::Duplicate(_) | Inserted::Unpublished(_) => "duplicate",
        Inserted::Conflict(_) => "conflict",
        Inserted::Doubtful(_) => "doubtful",
        Inserted::Refused(_) => "refused",
    };
    spool
        .insert(events)
        .expect("spooled")
        .into_iter()
        .map(label)
        .collect()
}

fn is_there(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.len() > 0)
}

#[test]
fn what_is_spooled_survives_and_arrives_in_the_store_once_with_all_it_had() {
    let bench = Bench::new("");
    let guarded = Arc::new(NewEvent {
        replay: Some(DedupKey::unique(&event("", "").source)),
        ..(*event("g", "x")).clone()
    });
    {
        let spool = bench.spool();
        assert_eq!(
            insert(&spool, &[event("a", "x"), event("b", "x"), guarded.clone()]),
            ["accepted"; 3]
        );
        assert_eq!(
            insert(&spool, &[event("a", "x"), event("a", "y")]),
            ["duplicate", "conflict"],
            "a redelivery is recognised"
        );
        assert!(is_there(&bench.folder.path().join("spool.db")));
    }
    // The process is gone without a word; the next one finds all of it.
    let spool = bench.spool();
    assert_eq!(spool.len(), 4, "with the conflict");
    assert!(
        spool.may_have(&event("a", "z"))
            && spool.may_have(&guarded)
            && !spool.may_have(&event("c", "x"))
    );
    assert!(
        bench
            .health
            .all()
            .iter()
            .any(|(_, state)| format!("{state:?}").contains("4 events")),
        "{:?}",
        bench.health.all()
    );

    let (store, instance) = (bench.store(), InstanceId::random());
    // One of them was committed in the store after all.
    store
        .insert(InstanceId::random(), &Sinks::default(), &[event("b", "x")])
        .expect("stored");
    bench.drain(&spool, &store, instance);
    let rows = outbox(&store, instance);
    let mut ids: Vec<_> = rows.iter().map(|row| row.event.event_id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "b", "g"]);
    assert!(rows.iter().all(
        |row| row.event.body == "x" && row.event.headers == [("a".to_owned(), "b".to_owned())]
    ));
    let again = Arc::new(NewEvent {
        replay: guarded.replay,
        ..(*event("h", "x")).clone()
    });
    let known = store
        .insert(instance, &Sinks::default(), &[again])
        .expect("stored");
    assert!(
        matches!(known[..], [Inserted::Duplicate(first)] if first.message == guarded.message),
        "the key of what was signed came along"
    );
    assert_eq!(
        store
            .prune(
                store::Retention {
                    events: WINDOW,
                    conflicts: Duration::ZERO,
                    refused: Duration::ZERO,
                    keys: WINDOW
                },
                10
            )
            .expect("prunes"),
        1,
        "so did the conflict"
    );
    assert_eq!(bench.metrics.drained.get(), 3);

    assert!(!spool.may_have(&event("a", "x")), "nothing stays behind");
    assert_eq!(
        (
            bench.metrics.spool_rows.get(),
            bench.metrics.spool_bytes.get()
        ),
        (0, 0)
    );
}

#[test]
fn many_drain_in_the_order_in_which_they_came() {
    let bench = Bench::new("");
    let (spool, store, instance) = (bench.spool(), bench.store(), InstanceId::random());
    for n in 0..20 {
        insert(&spool, &[event(&format!("{n:02}"), "x")]);
    }
    bench.drain(&spool, &store, instance);
    let order: Vec<usize> = outbox(&store, instance)
        .iter()
        .map(|row| row.event.event_id.as_str().parse().expect("a number"))
        .collect();
    // Within one commit the store has its own order; three go in one here.
    let batches: Vec<Vec<usize>> = order
        .chunks(3)
        .map(|batch| {
            let mut batch = batch.to_vec();
            batch.sort_unstable();
            batch
        })
        .collect();
    assert_eq!(batches.concat(), (0..20).collect::<Vec<_>>());
}

#[test]
fn a_full_spool_takes_nothing_more_until_it_is_drained() {
    let bench = Bench::new("max_bytes = 1048576");
    let (spool, large) = (bench.spool(), "x".repeat(500_000));
    insert(&spool, &[event("a", &large), event("b", &large)]);
    let error = spool
        .insert(&[event("c", &large)])
        .expect_err("no room")
        .to_string();
    assert!(error.contains("spool.max_bytes"), "{error}");
    assert_eq!(
        insert(&spool, &[event("d", "small")]),
        ["accepted"],
        "there is room for less"
    );
    bench.drain(&spool, &bench.store(), InstanceId::random());
    assert_eq!(insert(&spool, &[event("c", &large)]), ["accepted"]);
}

#[test]
fn an_event_that_came_by_the_spool_keeps_the_name_of_the_secret_that_verified_it() {
    let bench = Bench::new("");
    let (spool, store) = (bench.spool(), bench.store());
    let signed = NewEvent {
        verified_by: Some("env:SHOP".into()),
        ..(*event("a", "x")).clone()
    };
    insert(&spool, &[Arc::new(signed), event("b", "x")]);
    bench.drain(&spool, &store, InstanceId::random());
    let page = store.events(&EventQuery {
        limit: 10,
        ..EventQuery::default()
    });
    let known = page.expect("a page").events;
    let of = |id: &str| {
        let found = known.iter().find(|event| event.event_id == id);
        found.expect("stored").verified_by.as_deref()
    };
    assert_eq!((of("a"), of("b")), (Some("env:SHOP"), None));
}

#[test]
fn past_its_age_the_spool_takes_nothing_more() {
    let bench = Bench::new("max_age_secs = 1");
    let spool = bench.spool();
    let (able, _) = spool.availability();
    let old = NewEvent {
        received_at: UnixMillis(wall_clock().0 - 2000),
        ..(*event("a", "x")).clone()
    };
    insert(&spool, &[Arc::new(old)]);
    // Opened again, since then it looks at when events were received.
    drop(spool);
    let spool = bench.spool();
    let error = spool
        .insert(&[event("b", "x")])
        .expect_err("too old")
        .to_string();
    assert!(error.contains("spool.max_age_secs"), "{error}");
    assert!(
        !spool
            .availability()
            .0
            .load(std::sync::atomic::Ordering::Relaxed),
        "then nothing takes the store's place"
    );
    assert!(
        able.load(std::sync::atomic::Ordering::Relaxed),
        "as it did before"
    );
}
