//! An ordered sink: of each key the first events come, in the order of their commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hookweir::domain::delivery::{InstanceId, MessageKey};
use hookweir::domain::event_order::EventOrder;
use hookweir::domain::sink::{SinkName, Sinks};
use hookweir::store::{FromKey, InMemory, Room, Seq, Store};

use super::{LONG, Place, ROOM, accepted, alive, batch, claim_all, event, insert, sink, sinks};

fn ordered() -> Sinks {
    let order = EventOrder::parse("{json:/k}").expect("a pointer");
    Sinks::new(&[sink()])
        .expect("a sink")
        .with_orders(vec![order])
}

/// Stores events of a key, one after the other. Returns their numbers.
fn store_of_key(store: &dyn Store, owner: InstanceId, key: &str, count: usize) -> Vec<Seq> {
    let stored = (0..count).map(|n| {
        let id = format!("{key}{n}");
        let body = format!("{{\"k\":\"{key}\",\"n\":{n}}}");
        let event = Arc::new(event(&id, body));
        let inserted = store.insert(owner, &ordered(), &[event]).expect("stored");
        accepted(&inserted[0]).expect("new")
    });
    stored.collect()
}

/// The rows that are next, each with the one before it, by key.
fn next(
    store: &dyn Store,
    owner: InstanceId,
    in_memory: &dyn Fn(&MessageKey) -> InMemory,
) -> Vec<Vec<(Seq, Option<Seq>)>> {
    let claimed = store.claim_in_order(owner, &sink(), ROOM, FromKey::START, in_memory);
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (row, place) in claimed.expect("a claim").rows {
        let of_key = keys.entry(place.key).or_default();
        of_key.push((row.seq, place.after));
    }
    let mut keys: Vec<_> = keys.into_values().collect();
    keys.sort();
    keys
}

fn none(_: &MessageKey) -> InMemory {
    InMemory::No
}

/// Rows in one line, each behind the one before it.
fn line(rows: &[Seq]) -> Vec<(Seq, Option<Seq>)> {
    let before = rows.iter().map(|seq| Some(*seq));
    let before = std::iter::once(None).chain(before);
    rows.iter().copied().zip(before).collect()
}

pub(crate) fn of_each_key_the_events_come_in_order_and_one_that_waits_holds_its_key_alone(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let (a, b) = (
        store_of_key(&*store, owner, "a", 3),
        store_of_key(&*store, owner, "b", 2),
    );
    assert_eq!(next(&*store, owner, &none), [line(&a), line(&b)]);
    store.postpone(&sink(), &a[..1], LONG).expect("postponed");
    assert_eq!(next(&*store, owner, &none), [line(&b)]);
    store
        .postpone(&sink(), &a[..1], Duration::ZERO)
        .expect("postponed");
    store.confirmed(&sink(), &b[..1]).expect("confirmed");
    assert_eq!(next(&*store, owner, &none), [line(&a), line(&b[1..])]);
    let (first, second) = (event("a0", "").message, event("a1", "").message);
    let state = |key: &MessageKey| match *key {
        key if key == first => InMemory::Published,
        key if key == second => InMemory::Waits,
        _ => InMemory::No,
    };
    assert_eq!(
        next(&*store, owner, &state),
        [vec![(a[2], Some(a[1]))], line(&b[1..])],
        "behind the one in memory"
    );
}

pub(crate) fn a_parked_event_holds_its_key_until_it_is_sent_back_or_discarded(place: &impl Place) {
    let store = place.store();
    let owner = alive(&*store);
    let (a, b) = (
        store_of_key(&*store, owner, "a", 3),
        store_of_key(&*store, owner, "b", 1),
    );
    store.park(&sink(), a[0], "too large").expect("parked");
    assert_eq!(next(&*store, owner, &none), [line(&b)]);
    assert_eq!(store.retry_parked(&sink(), &a[..1]), Ok(1));
    assert_eq!(next(&*store, owner, &none), [line(&a), line(&b)]);
    store.park(&sink(), a[0], "too large").expect("parked");
    assert_eq!(store.discard_parked(&sink(), &a[..1]), Ok(1));
    assert_eq!(next(&*store, owner, &none), [line(&a[1..]), line(&b)]);
    store.park(&sink(), a[2], "too large").expect("parked");
    assert_eq!(
        next(&*store, owner, &none),
        [line(&a[1..2]), line(&b)],
        "those before it go on"
    );
}

pub(crate) fn many_keys_are_claimed_part_by_part_and_a_long_one_holds_up_no_other(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let of_keys = (0..2500).map(|n| event(&format!("x{n}"), format!("{{\"k\":{n}}}")));
    store
        .insert(owner, &ordered(), &batch(of_keys))
        .expect("stored");
    let of_one = (0..200).map(|n| event(&format!("y{n}"), format!("{{\"k\":\"y\",\"n\":{n}}}")));
    store
        .insert(owner, &ordered(), &batch(of_one))
        .expect("stored");
    let room = Room {
        events: 700,
        ..ROOM
    };
    let (mut from, mut found) = (FromKey::START, BTreeMap::<_, usize>::new());
    for _ in 0..20 {
        let claimed = store
            .claim_in_order(owner, &sink(), room, from, &none)
            .expect("a claim");
        assert!(claimed.rows.len() <= 700);
        for (_, place) in &claimed.rows {
            *found.entry(place.key).or_default() += 1;
        }
        from = claimed.next;
        if from == FromKey::START {
            break;
        }
    }
    assert_eq!((from, found.len()), (FromKey::START, 2501));
    let longest = found.values().max().copied();
    assert!(longest > Some(1) && longest < Some(200), "{longest:?}");
}

pub(crate) fn rows_without_a_key_are_claimed_apart_and_an_order_that_was_ended_holds_nothing(
    place: &impl Place,
) {
    let store = place.store();
    let owner = alive(&*store);
    let a = store_of_key(&*store, owner, "a", 2);
    let old = insert(&*store, owner, &batch([event("old", "{\"k\":\"a\"}")]));
    let old = accepted(&old[0]).expect("new");
    let apart = |store: &dyn Store| {
        let rows = store.claim_without_order(owner, &sink(), ROOM, &|_| false);
        rows.expect("a claim")
            .iter()
            .map(|row| row.seq)
            .collect::<Vec<_>>()
    };
    assert_eq!(apart(&*store), [old]);
    assert_eq!(next(&*store, owner, &none), [line(&a)]);
    // As if all were stored while the clock was two hours ahead.
    place.shift("outbox", "due_at", 2 * 3_600_000);
    assert_eq!(apart(&*store), [old], "due once the clock is right");
    assert_eq!(next(&*store, owner, &none), [line(&a)]);
    assert_eq!(claim_all(&*store, owner).len(), 3);
    // What is moved keeps its key.
    let other = SinkName::parse("other").expect("a name");
    assert_eq!(store.move_waiting(&sink(), &other, 10), Ok(3));
    assert_eq!(store.move_waiting(&other, &sink(), 10), Ok(3));
    assert_eq!(next(&*store, owner, &none), [line(&a)]);
    assert_eq!(apart(&*store), [old]);
    let filtered = Sinks::new(&[other.clone(), sink()]).expect("two sinks");
    let filtered = filtered.with_orders(vec![EventOrder::None, EventOrder::Source]);
    store
        .insert(owner, &filtered, &batch([event("both", "{}")]))
        .expect("stored");
    assert_eq!(next(&*store, owner, &none).len(), 2);
    let of_other = store.claim(owner, &other, ROOM, &|_| false);
    assert_eq!(of_other.expect("a claim").len(), 1, "as if alone");
    insert(&*store, owner, &[]);
    assert!(!sinks().is_ordered());
}

/// On PostgreSQL, which several instances share.
pub(crate) fn one_instance_at_a_time_holds_an_ordered_sink(place: &impl Place) {
    let store = place.store();
    let dead = InstanceId::random();
    let a = store_of_key(&*store, dead, "a", 2);
    assert!(next(&*store, dead, &none).is_empty(), "it has no lease");
    let (one, other) = (alive(&*store), alive(&*store));
    let b = store_of_key(&*store, other, "b", 2);
    assert_eq!(
        next(&*store, one, &none),
        [line(&a), line(&b)],
        "whoever stored them"
    );
    assert!(next(&*store, other, &none).is_empty());
    assert!(
        !next(&*store, one, &none).is_empty(),
        "it holds the sink still"
    );
    store.release(one).expect("released");
    assert_eq!(next(&*store, other, &none), [line(&a), line(&b)]);
    let back = alive(&*store);
    assert!(next(&*store, back, &none).is_empty());
}
