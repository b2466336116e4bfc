//! Upkeep: pruning, retention, and migrations of the schema.

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use hookweir::config::model::Migrate;
use hookweir::domain::delivery::InstanceId;
use hookweir::runtime::shutdown::CriticalTask;
use hookweir::store::keeper::{Keeper, Kept};
use hookweir::store::{
    Inserted, NewEvent, PauseBoard, PauseWatch, Reached, Retention, Store, StoreError, migrate,
    open,
};
use hookweir::telemetry::Metrics;
use hookweir::telemetry::health::Health;

use super::{
    LONG, Place, accepted, alive, batch, claim_all, event, insert, insert_one, many, seqs, sink,
    sinks,
};

const KEEP: Retention = Retention {
    events: LONG,
    conflicts: LONG,
    refused: LONG,
    keys: LONG,
};
const NOW: Retention = Retention {
    events: Duration::ZERO,
    conflicts: Duration::ZERO,
    refused: Duration::ZERO,
    keys: LONG,
};

fn expired(id: &str) -> NewEvent {
    NewEvent {
        window: Duration::ZERO,
        ..event(id, "x")
    }
}

pub(crate) fn expired_keys_go_and_may_come_again(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &batch([expired("a"), event("b", "x")]));
    store
        .confirmed(&sink(), &seqs(&claim_all(&*store, owner)))
        .expect("confirmed");
    assert!(
        matches!(
            insert_one(&*store, owner, expired("a")),
            Inserted::Duplicate(_)
        ),
        "known until it is pruned"
    );
    assert_eq!(store.prune(KEEP, 100), Ok(1));
    assert_eq!(place.count("dedup"), 1);
    assert!(accepted(&insert_one(&*store, owner, expired("a"))).is_some());
    assert!(matches!(
        insert_one(&*store, owner, event("b", "x")),
        Inserted::Duplicate(_)
    ));
}

pub(crate) fn a_key_stays_for_as_long_as_its_event_waits(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(
        &*store,
        owner,
        &batch((0..30).map(|n| expired(&n.to_string()))),
    );
    let rows = seqs(&claim_all(&*store, owner));
    store.park(&sink(), rows[0], "stuck").expect("parked");
    store.confirmed(&sink(), &rows[20..]).expect("confirmed");
    // Those that wait are not in the way of those that may go, however small the limit.
    let gone: u64 = (0..20).map(|_| store.prune(KEEP, 5).expect("pruned")).sum();
    assert_eq!((gone, place.count("dedup")), (10, 20));
    assert_eq!(
        store.prune(NOW, 100),
        Ok(10),
        "only the events that were published"
    );
    let again = insert(
        &*store,
        owner,
        &batch((0..30).map(|n| expired(&n.to_string()))),
    );
    assert_eq!(
        again.iter().filter_map(accepted).count(),
        10,
        "those that wait are known"
    );
}

pub(crate) fn published_events_go_after_their_time(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(&*store, owner, &many("a", 0..10));
    let rows = seqs(&claim_all(&*store, owner));
    store.confirmed(&sink(), &rows[..7]).expect("confirmed");
    assert_eq!(store.prune(KEEP, 100), Ok(0));
    assert_eq!(place.count("event"), 10);
    assert_eq!(store.prune(NOW, 100), Ok(7));
    assert_eq!(
        (
            place.count("event"),
            place.count("published"),
            place.count("dedup")
        ),
        (3, 0, 10)
    );
    assert_eq!(claim_all(&*store, owner).len(), 3);
}

pub(crate) fn conflicts_go_after_their_time(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert_one(&*store, owner, event("a", "first"));
    insert_one(&*store, owner, event("a", "second"));
    assert_eq!(store.prune(KEEP, 100), Ok(0));
    assert_eq!(store.prune(NOW, 100), Ok(1));
    assert_eq!(place.count("conflict"), 0);
}

pub(crate) fn pruning_is_bounded(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    insert(
        &*store,
        owner,
        &batch((0..50).map(|n| event(&n.to_string(), "x"))),
    );
    store
        .confirmed(&sink(), &seqs(&claim_all(&*store, owner)))
        .expect("confirmed");
    for n in 0..50 {
        insert_one(&*store, owner, event(&n.to_string(), "other"));
    }
    place.execute(&format!(
        "UPDATE dedup SET expires_at = {}",
        if place.is_sqlite() { "0" } else { "now()" }
    ));
    assert_eq!(store.prune(NOW, 7), Ok(21), "seven of each kind");
    assert_eq!(
        (
            place.count("dedup"),
            place.count("event"),
            place.count("conflict")
        ),
        (43, 43, 43)
    );
}

pub(crate) fn migrations_are_applied_once(place: &impl Place) {
    let applied = migrate(&place.config()).expect("migrated");
    assert!(!applied.is_empty());
    assert_eq!(migrate(&place.config()), Ok(vec![]));
    place.store();
}

pub(crate) fn migrations_of_many_at_once_are_applied_once(place: &impl Place) {
    let barrier = Barrier::new(4);
    let applied: usize = thread::scope(|scope| {
        let all: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    migrate(&place.config()).expect("migrated").len()
                })
            })
            .collect();
        all.into_iter()
            .map(|one| one.join().expect("a thread"))
            .sum()
    });
    assert_eq!(applied as i64, place.count("__diesel_schema_migrations"));
}

pub(crate) fn a_schema_that_is_not_up_to_date_is_refused_when_only_checking(place: &impl Place) {
    let mut config = place.config();
    config.migrate = Migrate::Check;
    let store = open(&config, 1).expect("a store");
    let error = store.prepare().expect_err("there is no schema");
    assert!(
        matches!(&error, StoreError::Unfit(text) if text.contains("hookweir migrate")),
        "{error:?}"
    );
    migrate(&config).expect("migrated");
    store.prepare().expect("now it is there");
}

pub(crate) fn a_schema_that_a_later_release_has_taken_from_is_refused(place: &impl Place) {
    place.store();
    place.execute("INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231235959drop')");
    for check in [Migrate::Auto, Migrate::Check] {
        let mut config = place.config();
        config.migrate = check;
        let error = open(&config, 1)
            .expect("a store")
            .prepare()
            .expect_err("too new");
        assert!(
            matches!(&error, StoreError::Unfit(text) if text.contains("newer")),
            "{error:?}"
        );
    }
}

pub(crate) fn migrations_can_be_undone(place: &impl Place) {
    let store = place.store();
    place.execute(place.down());
    place.execute("DELETE FROM __diesel_schema_migrations");
    assert!(store.backlog().is_err());
    assert!(!migrate(&place.config()).expect("migrated").is_empty());
    insert(&*place.store(), InstanceId::random(), &many("a", 0..3));
}

pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert!(Instant::now() < until, "not within 120 s: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the dependencies of a keeper with one sink and no pause.
pub(super) fn kept(
    store: &Arc<dyn Store>,
    instance: InstanceId,
    metrics: &Arc<Metrics>,
    health: &Health,
) -> Kept {
    Kept {
        store: store.clone(),
        instance,
        known: Reached::beside(None, ""),
        longest_window: LONG,
        metrics: metrics.clone(),
        health: health.component("store"),
        outbox: health.component("outbox"),
        sinks: sinks(),
        pauses: PauseWatch::new(
            store.clone(),
            PauseBoard::new(metrics.clone(), health.aside("paused")),
        ),
    }
}

pub(crate) fn the_keeper_prepares_renews_prunes_and_releases(place: &impl Place) {
    let store = open(&place.config(), 4).expect("a store");
    let metrics = Metrics::new().expect("metrics");
    let (me, other) = (InstanceId::random(), InstanceId::random());
    let mut config = place.config();
    config.keep_events = Duration::ZERO;
    let (health, (lifeline, vigil)) = (Health::default(), CriticalTask::new());
    let kept = kept(&store, me, &metrics, &health);
    let keeper = Keeper::start(kept, &config, &lifeline).expect("a keeper");
    let lease = keeper.lease();
    eventually("it is prepared", || lease.is_held());
    eventually("it says so", || health.ready().is_ok());
    insert(&*store, me, &many("a", 0..5));
    store
        .confirmed(&sink(), &seqs(&claim_all(&*store, me))[..2])
        .expect("confirmed");
    eventually("the gauge shows what waits", || {
        metrics.outbox_rows.get() == 3
    });
    eventually("published events are pruned", || place.count("event") == 3);
    store.renew_lease(other, LONG).expect("a lease");
    assert!(claim_all(&*store, other).is_empty(), "it is alive");
    vigil.stopping();
    assert!(keeper.stop(true));
    assert!(!lease.is_held());
    assert_eq!(claim_all(&*store, other).len(), 3);
}
