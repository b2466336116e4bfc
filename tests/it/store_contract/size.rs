//! Size of the store, and events that go before their time because of it.

use std::time::Duration;

use hookweir::domain::delivery::InstanceId;
use hookweir::runtime::shutdown::CriticalTask;
use hookweir::store::keeper::Keeper;
use hookweir::store::{Inserted, Store, StoreSize, Surplus, migrate};
use hookweir::telemetry::Metrics;
use hookweir::telemetry::health::Health;

use super::upkeep::{eventually, kept};
use super::{
    LONG, Place, accepted, alive, batch, claim_all, event, insert, insert_one, seqs, sink,
};

const BODY: usize = 20_000;

/// Stores events of 20 kB, the first `published` of them as confirmed in order.
fn fill(store: &dyn Store, owner: InstanceId, events: usize, published: usize) {
    for n in 0..events {
        insert_one(store, owner, event(&n.to_string(), vec![b'x'; BODY]));
    }
    let mut rows = Vec::new();
    while rows.len() < events {
        let claimed = seqs(&claim_all(store, owner));
        store
            .postpone(&sink(), &claimed, Duration::from_secs(600))
            .expect("postponed");
        rows.extend(claimed);
    }
    rows.sort();
    for row in &rows[..published] {
        store.confirmed(&sink(), &[*row]).expect("confirmed");
    }
}

fn measured(store: &dyn Store, fits: impl Fn(StoreSize) -> bool) -> StoreSize {
    // The statistics of PostgreSQL follow a commit by a second or so.
    eventually("the size is known", || fits(store.size().expect("a size")));
    store.size().expect("a size")
}

pub(crate) fn the_size_is_that_of_the_rows_and_shrinks_with_them(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    assert_eq!(store.size().expect("a size").oldest_confirm, None);
    fill(&*store, owner, 200, 100);
    let all = (200 * BODY) as u64;
    let size = measured(&*store, |size| size.in_use >= all);
    assert!(size.in_use < all + 3_000_000, "{size:?}");
    assert!(size.on_disk >= size.in_use, "{size:?}");
    assert!((20_000..21_000).contains(&size.of_event), "{size:?}");
    assert!(size.oldest_confirm.is_some());
    assert_eq!(store.delete_oldest(owner, 100), Ok(100));
    let half = measured(&*store, |now| now.in_use < size.in_use - all / 3);
    assert!(half.in_use >= all / 2, "{half:?}");
    assert_eq!(half.oldest_confirm, None);
}

pub(crate) fn the_oldest_published_events_go_first_and_what_waits_stays(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    fill(&*store, owner, 10, 6);
    assert_eq!(store.delete_oldest(owner, 4), Ok(4));
    assert_eq!((place.count("event"), place.count("published")), (6, 2));
    let left: Vec<_> = (0..10)
        .map(|n| place.count(&format!("event WHERE event_id = '{n}'")))
        .collect();
    assert_eq!(left, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(store.delete_oldest(owner, 100), Ok(2));
    assert_eq!(store.delete_oldest(owner, 100), Ok(0));
    assert_eq!(place.count("outbox"), 4);
    let again = insert_one(&*store, owner, event("0", vec![b'x'; BODY]));
    assert!(matches!(again, Inserted::Duplicate(_)), "its key stays");
}

pub(crate) fn an_event_that_another_sink_waits_for_keeps_its_confirm(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    fill(&*store, owner, 4, 3);
    // The first event waits for a sink that is down: nothing of it is freed.
    let insert = if place.is_sqlite() {
        "0, 0"
    } else {
        "now(), now()"
    };
    place.execute(&format!(
        "INSERT INTO outbox (seq, key, owner, bytes, sink, since, due_at)
         SELECT seq, key, key, 1, 'other', {insert} FROM event WHERE event_id = '0'"
    ));
    assert_eq!(store.delete_oldest(owner, 100), Ok(2));
    assert_eq!((place.count("event"), place.count("published")), (2, 1));
    assert_eq!(place.count("event WHERE event_id = '0'"), 1);
}

/// Stores events, and another body of 20 kB under each id.
fn conflicts(store: &dyn Store, owner: InstanceId, count: usize) {
    for n in 0..count {
        insert_one(store, owner, event(&n.to_string(), "first"));
        let other = insert_one(store, owner, event(&n.to_string(), vec![b'y'; BODY]));
        assert!(matches!(other, Inserted::Conflict(_)), "{other:?}");
    }
}

pub(crate) fn the_oldest_conflicts_go_first_and_no_more_than_are_above_the_bound(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let none = store.size().expect("a size");
    assert_eq!((none.of_conflicts, none.oldest_conflict), (0, None));
    conflicts(&*store, owner, 10);
    let size = store.size().expect("a size");
    let each = size.of_conflicts / 10;
    assert!((20_512..21_000).contains(&each), "{size:?}");
    assert!(size.oldest_conflict.is_some());
    let gone = |bytes, rows| {
        let above = Surplus { rows, bytes };
        let gone = store.shrink_conflicts(owner, above).expect("deleted");
        assert_eq!(gone.bytes, gone.rows * each);
        gone.rows
    };
    // A byte more than two of them count for.
    assert_eq!(gone(2 * each + 1, 100), 3);
    assert_eq!(gone(100 * each, 2), 2, "at most so many at once");
    let left: Vec<_> = (0..10)
        .map(|n| place.count(&format!("conflict WHERE event_id = '{n}'")))
        .collect();
    assert_eq!(left, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!((place.count("event"), place.count("dedup")), (10, 10));
    assert_eq!(gone(100 * each, 100), 5);
    assert_eq!(gone(1, 100), 0);
}

pub(crate) fn conflicts_above_their_bound_shrink_below_it_by_themselves(place: &impl Place) {
    let store = place.store();
    let me = alive(&*store);
    conflicts(&*store, me, 40);
    let full = store.size().expect("a size").of_conflicts;
    let mut config = place.config();
    config.keep_conflicts = LONG;
    config.keep_conflicts_below = full / 2;
    let (health, metrics) = (Health::default(), Metrics::new().expect("metrics"));
    let (lifeline, vigil) = CriticalTask::new();
    let kept = kept(&store, me, &metrics, &health);
    let keeper = Keeper::start(kept, &config, &lifeline).expect("a keeper");
    eventually("conflicts go before their time", || {
        metrics.deleted_early.get() > 0
    });
    vigil.stopping();
    assert!(keeper.stop(true));
    assert_eq!(
        metrics.conflict_bytes.get() as u64,
        full,
        "as it was measured"
    );
    assert_eq!((place.count("conflict"), place.count("event")), (20, 40));
    assert_eq!(metrics.deleted_early.get(), 20);
}

pub(crate) fn conflicts_are_counted_whoever_stores_changes_or_deletes_them(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let counted = || store.size().expect("a size").of_conflicts as i64;
    // More of them than counts are left apart in PostgreSQL.
    conflicts(&*store, owner, 130);
    let each = counted() / 130;
    let headers = each - 512 - BODY as i64;
    assert!((2..100).contains(&headers), "{each}");
    assert_eq!(counted(), 130 * each, "the same once they are added up");
    let again = insert_one(&*store, owner, event("0", vec![b'y'; BODY]));
    assert!(matches!(again, Inserted::Conflict(_)), "{again:?}");
    assert_eq!(counted(), 130 * each, "it is there already");
    place.execute("DELETE FROM conflict WHERE event_id IN ('1', '2', '3')");
    assert_eq!(counted(), 127 * each);
    place.execute("UPDATE conflict SET headers = '[1, 2]' WHERE event_id < '2'");
    let changed = place.count("conflict WHERE headers = '[1, 2]'");
    assert!(changed > 10, "{changed}");
    assert_eq!(counted(), 127 * each + changed * (6 - headers));
    let all = Surplus {
        rows: 1000,
        bytes: u64::MAX >> 1,
    };
    let gone = store.shrink_conflicts(owner, all).expect("deleted");
    assert_eq!(gone.bytes as i64, 127 * each + changed * (6 - headers));
    assert_eq!((counted(), place.count("conflict")), (0, 0));
    assert!(place.count("conflict_size") < 100, "they were added up");
}

pub(crate) fn conflicts_that_were_there_before_the_upgrade_are_counted(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    conflicts(&*store, owner, 3);
    let before = store.size().expect("a size").of_conflicts;
    let down = match place.is_sqlite() {
        true => include_str!("../../../migrations/sqlite/2026-11-29-000017_conflict_size/down.sql"),
        false => {
            include_str!("../../../migrations/postgres/2026-11-29-000017_conflict_size/down.sql")
        }
    };
    place.execute(down);
    place.execute("DELETE FROM __diesel_schema_migrations WHERE version LIKE '%000017'");
    assert_eq!(migrate(&place.config()).expect("migrated").len(), 1);
    assert_eq!(place.store().size().expect("a size").of_conflicts, before);
    conflicts(&*store, owner, 4);
    let after = place.store().size().expect("a size").of_conflicts;
    assert_eq!(after, before / 3 * 4);
}

pub(crate) fn a_store_above_its_bound_shrinks_below_it_by_itself(place: &impl Place) {
    let store = place.store();
    let me = alive(&*store);
    fill(&*store, me, 300, 250);
    let full = measured(&*store, |size| size.in_use >= (300 * BODY) as u64);
    let mut config = place.config();
    config.keep_events = LONG;
    config.keep_events_below = full.in_use - (100 * BODY) as u64;
    let (health, metrics) = (Health::default(), Metrics::new().expect("metrics"));
    let (lifeline, vigil) = CriticalTask::new();
    let kept = kept(&store, me, &metrics, &health);
    let keeper = Keeper::start(kept, &config, &lifeline).expect("a keeper");
    eventually("events go before their time", || {
        metrics.deleted_early.get() > 0
    });
    vigil.stopping();
    assert!(keeper.stop(true));
    assert!(metrics.store_used_bytes.get() as u64 > config.keep_events_below);
    let left = place.count("event");
    assert!((190..=205).contains(&left), "no more than needed: {left}");
    assert_eq!(metrics.deleted_early.get() as i64, 300 - left);
    assert_eq!(place.count("outbox"), 50);
    let more = insert(&*store, me, &batch([event("0", vec![b'x'; BODY])]));
    assert_eq!(more.iter().filter_map(accepted).count(), 0, "its key stays");
}
