use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::domain::delivery::{EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis};
use crate::store::{First, Mark, Seq};

const LIMITS: BatchLimits = BatchLimits {
    events: 4,
    bytes: 100,
};
const AFTER: Duration = Duration::from_secs(1);

/// A batcher without a spool, and with more writers than it needs.
fn store_only(limits: BatchLimits) -> Batcher<u32> {
    Batcher::new(
        limits,
        Destinations {
            writers: 100,
            spool_after: None,
        },
    )
}

/// A batcher with a spool.
fn spooling(writers: usize) -> Batcher<u32> {
    Batcher::new(
        LIMITS,
        Destinations {
            writers,
            spool_after: Some(AFTER),
        },
    )
}

fn next(batcher: &mut Batcher<u32>) -> Option<NextBatch> {
    batcher.next(Instant::now(), nothing_spooled)
}

fn store(
    batcher: &mut Batcher<u32>,
    batch: &NextBatch,
    result: &Result<Vec<Inserted>, StoreError>,
) -> BatchResult {
    batcher
        .done(batch.id, Destination::Store, result, Instant::now())
        .expect("settles it")
}

fn down() -> Result<Vec<Inserted>, StoreError> {
    Err(StoreError::Unavailable("down".into()))
}

fn event(id: &str, body: &str) -> NewEvent {
    let source = SourceName::parse("s").unwrap();
    NewEvent {
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
        event_type: None,
        content_type: None,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        received_at: UnixMillis(0),
        verified_by: None,
        window: Duration::from_secs(1),
        sinks: None,
    }
}

fn message_id(id: &str) -> MessageId {
    event(id, "").message_id()
}

/// An event whose id anybody could have chosen, so that another body under it is another event.
fn unsigned(id: &str, body: &str) -> NewEvent {
    let event = event(id, body);
    NewEvent {
        class: IdClass::Unsigned,
        message: MessageKey::of(&event.key.variant(&event.source, &event.digest)),
        ..event
    }
}

fn first(event: &NewEvent) -> First {
    First {
        seq: Seq(1),
        message: event.message,
    }
}

/// A store of the plainest kind: first come, first served.
#[derive(Default)]
struct Table(BTreeMap<DedupKey, Arc<NewEvent>>);

impl Table {
    fn insert(&mut self, batch: &[Arc<NewEvent>]) -> Result<Vec<Inserted>, StoreError> {
        let mut one = |event: &Arc<NewEvent>| match self.0.get(&event.key) {
            None => {
                self.0.insert(event.key, event.clone());
                Inserted::Accepted(Seq(1))
            }
            Some(known) if known.digest == event.digest => Inserted::Duplicate(first(known)),
            Some(known) if event.class.publishes_other_bodies() => {
                Inserted::Doubtful(Mark::ConflictOf(known.message_id()))
            }
            Some(known) => Inserted::Conflict(first(known)),
        };
        Ok(batch.iter().map(&mut one).collect())
    }

    /// As the drain does: what is an event of its own goes in once more, as such.
    fn take_over(&mut self, events: &[Arc<NewEvent>]) {
        for event in events {
            if let Some(Inserted::Doubtful(mark)) =
                self.insert(std::slice::from_ref(event)).unwrap().pop()
            {
                self.insert(&[Arc::new(event.marked(mark))]).unwrap();
            }
        }
    }
}

fn nothing_known(_: &NewEvent) -> Option<MessageId> {
    None
}

fn nothing_spooled(_: &NewEvent) -> bool {
    false
}

fn outcomes(batcher: &mut Batcher<u32>) -> Vec<(u32, &'static str)> {
    batcher
        .take_resolved()
        .into_iter()
        .map(|resolved| (resolved.ticket, resolved.outcome.label()))
        .collect()
}

#[test]
fn redeliveries_join_the_event_that_is_being_stored_and_share_its_outcome() {
    let (mut batcher, mut table) = (store_only(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    let batch = next(&mut batcher).unwrap();
    assert_eq!(
        batcher.offer(2, vec![event("a", "x")], nothing_known),
        1,
        "joined while it is being written"
    );
    assert!(
        next(&mut batcher).is_none(),
        "there is nothing more to write"
    );
    assert!(
        outcomes(&mut batcher).is_empty(),
        "no answer before the commit"
    );
    let settled = store(&mut batcher, &batch, &table.insert(&batch.events));
    assert_eq!(settled.accepted, [0]);
    assert_eq!(outcomes(&mut batcher), [(1, "accepted"), (2, "duplicate")]);
    assert!(batcher.is_idle());
}

#[test]
fn where_senders_wait_for_the_queue_each_is_told_which_events_it_waits_for() {
    let unpublished = |batcher: &mut Batcher<u32>| -> Vec<(u32, Vec<MessageKey>)> {
        batcher
            .take_resolved()
            .into_iter()
            .map(|resolved| {
                let messages = resolved.unpublished.iter();
                for (_, wanting) in messages.clone() {
                    assert_eq!(wanting.len(), 1, "the only sink");
                }
                (resolved.ticket, messages.map(|(key, _)| *key).collect())
            })
            .collect()
    };
    let (a, b, c) = (event("a", "x"), event("b", "x"), event("c", "x"));
    for listing in [true, false] {
        let batcher = store_only(LIMITS);
        let mut batcher = if listing {
            batcher.listing_unpublished(Sinks::default())
        } else {
            batcher
        };
        batcher.offer(1, vec![a.clone(), b.clone()], nothing_known);
        batcher.offer(2, vec![a.clone()], nothing_known);
        batcher.offer(3, vec![c.clone()], nothing_known);
        let batch = next(&mut batcher).unwrap();
        // Of the three, one is new, one is known and in the outbox, one is known and published.
        let inserted = |event: &Arc<NewEvent>| match event.event_id.as_str() {
            "a" => Inserted::Accepted(Seq(1)),
            "b" => Inserted::Unpublished(first(&b)),
            _ => Inserted::Duplicate(first(&c)),
        };
        store(
            &mut batcher,
            &batch,
            &Ok(batch.events.iter().map(inserted).collect()),
        );
        let mut told = unpublished(&mut batcher);
        told.sort_by_key(|(ticket, _)| *ticket);
        told.iter_mut().for_each(|(_, keys)| keys.sort());
        let mut both = vec![a.message, b.message];
        both.sort();
        let expected = if listing {
            [both, vec![a.message], vec![]]
        } else {
            [vec![], vec![], vec![]]
        };
        assert_eq!(
            told.into_iter().map(|(_, keys)| keys).collect::<Vec<_>>(),
            expected
        );
    }
}

#[test]
fn when_the_commit_fails_all_who_joined_are_told_and_the_next_try_starts_afresh() {
    let (mut batcher, mut table) = (store_only(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    batcher.offer(2, vec![event("a", "x")], nothing_known);
    let batch = next(&mut batcher).unwrap();
    store(
        &mut batcher,
        &batch,
        &Err(StoreError::Ambiguous("cut".into())),
    );
    assert_eq!(outcomes(&mut batcher), [(1, "failed"), (2, "failed")]);
    batcher.offer(3, vec![event("a", "x")], nothing_known);
    let batch = next(&mut batcher).unwrap();
    store(&mut batcher, &batch, &table.insert(&batch.events));
    assert_eq!(outcomes(&mut batcher), [(3, "accepted")]);
}

#[test]
fn another_body_under_the_same_id_waits_its_turn_and_is_found_to_conflict() {
    let (mut batcher, mut table) = (store_only(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    batcher.offer(2, vec![event("a", "y")], nothing_known);
    batcher.offer(3, vec![event("a", "y")], nothing_known);
    let batch = next(&mut batcher).unwrap();
    assert_eq!(batch.events.len(), 1, "one key is in a batch once");
    store(&mut batcher, &batch, &table.insert(&batch.events));
    assert_eq!(outcomes(&mut batcher), [(1, "accepted")]);
    let batch = next(&mut batcher).unwrap();
    let settled = store(&mut batcher, &batch, &table.insert(&batch.events));
    assert_eq!((settled.accepted.len(), settled.conflicts), (0, vec![0]));
    let answers = batcher.take_resolved();
    assert!(
        answers.iter().all(|answer| answer.outcome
            == Outcome::Duplicate {
                id: message_id("a")
            }),
        "{answers:?}"
    );
    assert_eq!(answers.len(), 2);
}

#[test]
fn a_delivery_in_several_batches_is_answered_when_all_are_stored_and_a_redelivery_brings_the_rest()
{
    let (mut batcher, mut table) = (store_only(LIMITS), Table::default());
    let events = || {
        (0..6)
            .map(|n| event(&n.to_string(), "x"))
            .collect::<Vec<_>>()
    };
    batcher.offer(1, events(), nothing_known);
    let (one, other) = (next(&mut batcher).unwrap(), next(&mut batcher).unwrap());
    store(&mut batcher, &one, &table.insert(&one.events));
    assert!(
        outcomes(&mut batcher).is_empty(),
        "two events are not stored yet"
    );
    store(&mut batcher, &other, &down());
    assert_eq!(outcomes(&mut batcher), [(1, "failed")]);
    batcher.offer(2, events(), nothing_known);
    while let Some(batch) = next(&mut batcher) {
        store(&mut batcher, &batch, &table.insert(&batch.events));
    }
    assert_eq!(
        (outcomes(&mut batcher), table.0.len()),
        (vec![(2, "accepted")], 6)
    );
}

#[test]
fn another_body_under_an_unsigned_id_is_an_event_of_its_own_and_a_third_delivery_of_it_a_duplicate()
{
    let (mut batcher, mut table) = (store_only(LIMITS), Table::default());
    batcher.offer(1, vec![unsigned("a", "x")], nothing_known);
    batcher.offer(2, vec![unsigned("a", "y")], nothing_known);
    batcher.offer(3, vec![unsigned("a", "y")], nothing_known);
    batcher.offer(4, vec![unsigned("a", "z")], nothing_known);
    let mut stored = Vec::new();
    while let Some(batch) = next(&mut batcher) {
        let settled = store(&mut batcher, &batch, &table.insert(&batch.events));
        stored.extend(
            settled
                .accepted
                .into_iter()
                .map(|at| batch.events[at].clone()),
        );
    }
    let bodies: Vec<_> = stored.iter().map(|event| event.body.clone()).collect();
    assert_eq!(bodies, ["x", "y", "z"]);
    let ids: Vec<_> = stored.iter().map(|event| event.message_id()).collect();
    assert_eq!(
        stored
            .iter()
            .map(|event| event.marks.conflict_of)
            .collect::<Vec<_>>(),
        [None, Some(ids[0]), Some(ids[0])]
    );
    let mut answers: Vec<_> = batcher
        .take_resolved()
        .into_iter()
        .map(|answer| (answer.ticket, answer.outcome))
        .collect();
    answers.sort_by_key(|(ticket, _)| *ticket);
    let accepted = |at: usize| Outcome::Accepted { id: ids[at] };
    assert_eq!(
        answers,
        [
            (1, accepted(0)),
            (2, accepted(1)),
            (3, Outcome::Duplicate { id: ids[1] }),
            (4, accepted(2))
        ]
    );
    assert!(batcher.is_idle());
}

#[test]
fn batches_are_bounded_sorted_and_keep_the_events_of_one_delivery_together() {
    let mut batcher = store_only(LIMITS);
    for n in 0..3 {
        batcher.offer(
            n,
            vec![event(&format!("a{n}"), "x"), event(&format!("b{n}"), "x")],
            nothing_known,
        );
    }
    batcher.offer(3, vec![event("large", &"x".repeat(101))], nothing_known);
    batcher.offer(
        4,
        (0..10).map(|n| event(&format!("c{n}"), "x")).collect(),
        nothing_known,
    );
    let sizes: Vec<usize> = std::iter::from_fn(|| next(&mut batcher))
        .map(|batch| batch.events.len())
        .collect();
    assert_eq!(
        sizes,
        [4, 2, 1, 4, 4, 2],
        "a delivery of more than fit goes in several"
    );

    let mut batcher = store_only(BatchLimits {
        events: 100,
        bytes: 1000,
    });
    batcher.offer(
        0,
        (0..50).map(|n| event(&n.to_string(), "x")).collect(),
        nothing_known,
    );
    let batch = next(&mut batcher).unwrap();
    assert!(batch.events.is_sorted_by_key(|event| event.key));
}

#[test]
fn a_delivery_of_several_events_is_accepted_if_any_of_them_is_new_and_failed_if_any_failed() {
    let (mut batcher, mut table) = (store_only(LIMITS), Table::default());
    batcher.offer(
        1,
        vec![event("a", "x"), event("b", "x"), event("a", "x")],
        nothing_known,
    );
    let batch = next(&mut batcher).unwrap();
    assert_eq!(batch.events.len(), 2, "folded");
    store(&mut batcher, &batch, &table.insert(&batch.events));
    assert_eq!(outcomes(&mut batcher), [(1, "accepted")]);

    batcher.offer(2, vec![event("b", "x"), event("c", "x")], |event| {
        (event.event_id.as_str() == "b").then(|| event.message_id())
    });
    let batch = next(&mut batcher).unwrap();
    assert_eq!(batch.events.len(), 1, "what is known is not written again");
    store(&mut batcher, &batch, &table.insert(&batch.events));
    let resolved = batcher.take_resolved();
    assert_eq!(
        resolved[0].outcome,
        Outcome::Accepted {
            id: message_id("c")
        }
    );

    batcher.offer(3, vec![event("d", "x"), event("e", "x")], nothing_known);
    let batch = next(&mut batcher).unwrap();
    let one_refused = batch.events.iter().map(|e| {
        if e.event_id.as_str() == "d" {
            Inserted::Refused("no".into())
        } else {
            Inserted::Accepted(Seq(2))
        }
    });
    let settled = store(&mut batcher, &batch, &Ok(one_refused.collect()));
    assert_eq!(
        settled.accepted.len(),
        1,
        "its neighbour is stored all the same"
    );
    assert_eq!(
        batcher.take_resolved()[0].outcome,
        Outcome::Failed(FailReason::Row)
    );
}

#[test]
fn what_nobody_waits_for_any_more_leaves_the_queue_but_not_what_somebody_joined() {
    let mut batcher = store_only(LIMITS);
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    batcher.offer(2, vec![event("b", "x")], nothing_known);
    batcher.offer(3, vec![event("b", "x")], nothing_known);
    batcher.offer(4, vec![event("a", "y")], nothing_known);
    batcher.drop_abandoned(|ticket| *ticket <= 2);
    assert_eq!(outcomes(&mut batcher), [(1, "shed")]);
    let batch = next(&mut batcher).unwrap();
    let ids: HashSet<_> = batch
        .events
        .iter()
        .map(|event| (event.event_id.as_str().to_owned(), event.body.clone()))
        .collect();
    assert_eq!(
        ids,
        HashSet::from([
            ("b".to_owned(), Bytes::from("x")),
            ("a".to_owned(), Bytes::from("y"))
        ])
    );
}

#[test]
fn what_the_store_fails_goes_to_the_spool_and_is_answered_from_there_once() {
    let (mut batcher, mut spool, now) = (spooling(1), Table::default(), Instant::now());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    let batch = batcher.next(now, nothing_spooled).unwrap();
    assert!(
        batcher
            .done(batch.id, Destination::Store, &down(), now)
            .is_none(),
        "it is not settled yet"
    );
    assert!(
        outcomes(&mut batcher).is_empty(),
        "no answer before a commit"
    );
    batcher.offer(2, vec![event("a", "x")], nothing_known);
    let again = batcher.next(now, nothing_spooled).unwrap();
    assert_eq!(
        (again.id, again.destination),
        (batch.id, Destination::Spool)
    );
    batcher.offer(3, vec![event("b", "x")], nothing_known);
    assert!(
        batcher.next(now, nothing_spooled).is_none(),
        "the store is away, and the spool's writer busy"
    );
    let settled = batcher
        .done(
            again.id,
            Destination::Spool,
            &spool.insert(&again.events),
            now,
        )
        .unwrap();
    assert_eq!(settled.accepted, [0]);
    assert_eq!(outcomes(&mut batcher), [(1, "accepted"), (2, "duplicate")]);

    let straight = batcher.next(now, nothing_spooled).unwrap();
    assert_eq!(
        straight.destination,
        Destination::Spool,
        "no waiting for a store that is known to be away"
    );
    batcher.done(
        straight.id,
        Destination::Spool,
        &spool.insert(&straight.events),
        now,
    );
    batcher.store_was_seen(now);
    batcher.offer(4, vec![event("c", "x")], nothing_known);
    assert_eq!(
        batcher.next(now, nothing_spooled).unwrap().destination,
        Destination::Spool,
        "a sign from before it failed is none"
    );
    batcher.store_was_seen(now + AFTER);
    batcher.offer(5, vec![event("d", "x")], nothing_known);
    assert_eq!(
        batcher.next(now, nothing_spooled).unwrap().destination,
        Destination::Store
    );
}

#[test]
fn a_batch_that_the_store_keeps_too_long_is_spooled_and_its_late_result_changes_nothing() {
    let (mut batcher, mut table, mut spool, now) = (
        spooling(1),
        Table::default(),
        Table::default(),
        Instant::now(),
    );
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    let stuck = batcher.next(now, nothing_spooled).unwrap();
    batcher.offer(2, vec![event("b", "x")], nothing_known);
    assert!(
        batcher.next(now + AFTER / 2, nothing_spooled).is_none(),
        "it may yet come back"
    );
    let late = now + AFTER;
    let overdue = batcher.next(late, nothing_spooled).unwrap();
    assert_eq!(
        (overdue.id, overdue.destination),
        (stuck.id, Destination::Spool)
    );
    batcher
        .done(
            overdue.id,
            Destination::Spool,
            &spool.insert(&overdue.events),
            late,
        )
        .unwrap();
    let waiting = batcher.next(late, nothing_spooled).unwrap();
    assert_eq!(
        waiting.destination,
        Destination::Spool,
        "all writers are stuck"
    );
    batcher
        .done(
            waiting.id,
            Destination::Spool,
            &spool.insert(&waiting.events),
            late,
        )
        .unwrap();
    assert_eq!(outcomes(&mut batcher), [(1, "accepted"), (2, "accepted")]);

    // The same key is on its way again, with another body, when the store at last says what became
    // of the first.
    batcher.offer(3, vec![event("a", "y")], nothing_known);
    assert!(
        batcher
            .done(
                stuck.id,
                Destination::Store,
                &table.insert(&stuck.events),
                late
            )
            .is_none()
    );
    assert!(outcomes(&mut batcher).is_empty());
    let other = batcher.next(late, |_| true).unwrap();
    assert_eq!(
        other.destination,
        Destination::Spool,
        "the store is back, but the spool may know this key"
    );
    let settled = batcher
        .done(
            other.id,
            Destination::Spool,
            &spool.insert(&other.events),
            late,
        )
        .unwrap();
    assert_eq!(settled.conflicts, [0]);
    assert_eq!(outcomes(&mut batcher), [(3, "duplicate")]);
    batcher.offer(4, vec![event("c", "x")], nothing_known);
    assert_eq!(
        batcher.next(late, nothing_spooled).unwrap().destination,
        Destination::Store,
        "its writer is free again"
    );
}

#[test]
fn with_the_spool_failing_too_the_store_decides_and_then_nobody() {
    let (mut batcher, mut table, now) = (spooling(2), Table::default(), Instant::now());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    let slow = batcher.next(now, nothing_spooled).unwrap();
    let overdue = batcher.next(now + AFTER, nothing_spooled).unwrap();
    assert!(
        batcher
            .done(overdue.id, Destination::Spool, &down(), now + AFTER)
            .is_none(),
        "the store may still commit it"
    );
    store(&mut batcher, &slow, &table.insert(&slow.events));
    batcher.offer(2, vec![event("b", "x")], nothing_known);
    let failed = batcher.next(now, nothing_spooled).unwrap();
    batcher.done(failed.id, Destination::Store, &down(), now);
    let failed = batcher.next(now, nothing_spooled).unwrap();
    batcher
        .done(failed.id, Destination::Spool, &down(), now)
        .unwrap();
    assert_eq!(outcomes(&mut batcher), [(1, "accepted"), (2, "failed")]);
    assert!(batcher.next(now, nothing_spooled).is_none() && batcher.is_idle());
}

#[test]
fn while_the_spool_hangs_what_the_store_fails_is_told_so() {
    let (mut batcher, now) = (spooling(1), Instant::now());
    for (ticket, id) in [(1, "a"), (2, "b")] {
        batcher.offer(ticket, vec![event(id, "x")], nothing_known);
        let batch = batcher
            .next(now, |event| event.event_id.as_str() == "a")
            .unwrap();
        if batch.destination == Destination::Store {
            assert!(
                batcher
                    .done(batch.id, Destination::Store, &down(), now + AFTER)
                    .is_some()
            );
        }
    }
    assert_eq!(outcomes(&mut batcher), [(2, "failed")]);
}

#[derive(Clone, Debug)]
enum Step {
    Offer(Vec<(u8, u8)>),
    Take,
    /// The oldest batch in that destination is committed, or not.
    Return(Destination, bool),
    Wait,
    StoreSeen,
    Drain,
    Abandon(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let destination = prop_oneof![Just(Destination::Store), Just(Destination::Spool)];
    prop_oneof![
        4 => prop::collection::vec((0..5u8, 0..3u8), 1..4).prop_map(Step::Offer),
        4 => Just(Step::Take),
        4 => (destination, prop::bool::weighted(0.7)).prop_map(|(destination, commits)| Step::Return(destination, commits)),
        1 => Just(Step::Wait),
        1 => Just(Step::StoreSeen),
        1 => Just(Step::Drain),
        1 => (0..20u32).prop_map(Step::Abandon),
    ]
}

/// A service of the plainest kind around a batcher: what was committed where, and what was
/// answered.
struct World {
    batcher: Batcher<u32>,
    now: Instant,
    store: Table,
    spool: Table,
    spooled: Vec<Arc<NewEvent>>,
    under_way: HashMap<Destination, VecDeque<NextBatch>>,
    offered: Vec<Vec<(u8, u8)>>,
    answered: HashSet<u32>,
    /// The body of each event that was accepted first, of those with signed ids.
    first: BTreeMap<DedupKey, BodyDigest>,
    /// The bodies that were accepted.
    accepted: HashSet<(String, BodyDigest)>,
}

impl World {
    fn new(spool_after: Option<Duration>) -> Self {
        Self {
            batcher: Batcher::new(
                LIMITS,
                Destinations {
                    writers: 2,
                    spool_after,
                },
            ),
            now: Instant::now(),
            store: Table::default(),
            spool: Table::default(),
            spooled: Vec::new(),
            under_way: HashMap::new(),
            offered: Vec::new(),
            answered: HashSet::new(),
            first: BTreeMap::new(),
            accepted: HashSet::new(),
        }
    }

    /// Every other id is signed.
    fn event(id: u8, body: u8) -> NewEvent {
        if id.is_multiple_of(2) {
            event(&id.to_string(), &body.to_string())
        } else {
            unsigned(&id.to_string(), &body.to_string())
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Offer(events) => {
                let ticket = u32::try_from(self.offered.len()).unwrap();
                let new = events
                    .iter()
                    .map(|(id, body)| Self::event(*id, *body))
                    .collect();
                self.batcher.offer(ticket, new, nothing_known);
                self.offered.push(events);
            }
            Step::Take => {
                let spool = &self.spool;
                if let Some(next) = self
                    .batcher
                    .next(self.now, |event| spool.0.contains_key(&event.key))
                {
                    self.under_way
                        .entry(next.destination)
                        .or_default()
                        .push_back(next);
                }
            }
            Step::Return(destination, commits) => {
                let Some(batch) = self
                    .under_way
                    .get_mut(&destination)
                    .and_then(VecDeque::pop_front)
                else {
                    return Ok(());
                };
                let result = match (commits, destination) {
                    (false, _) => down(),
                    (true, Destination::Store) => self.store.insert(&batch.events),
                    (true, Destination::Spool) => {
                        let inserted = self.spool.insert(&batch.events);
                        let new = batch.events.iter().zip(inserted.iter().flatten());
                        self.spooled.extend(
                            new.filter(|(_, i)| matches!(i, Inserted::Accepted(_)))
                                .map(|(event, _)| event.clone()),
                        );
                        inserted
                    }
                };
                let settled = self
                    .batcher
                    .done(batch.id, destination, &result, self.now)
                    .unwrap_or_default();
                for at in settled.accepted {
                    let event = &batch.events[at];
                    self.accepted
                        .insert((event.event_id.to_string(), event.digest));
                    if event.class == IdClass::Signed {
                        self.first.entry(event.key).or_insert(event.digest);
                    }
                }
            }
            Step::Wait => self.now += AFTER,
            Step::StoreSeen => {
                self.now += Duration::from_millis(1);
                self.batcher.store_was_seen(self.now);
            }
            Step::Drain => {
                self.store.take_over(&std::mem::take(&mut self.spooled));
                self.spool.0.clear();
            }
            Step::Abandon(below) => self.batcher.drop_abandoned(|ticket| *ticket < below),
        }
        self.check()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        for (destination, batches) in &self.under_way {
            prop_assert!(
                batches.len()
                    <= if *destination == Destination::Store {
                        2
                    } else {
                        1
                    },
                "more batches than writers"
            );
        }
        for resolved in self.batcher.take_resolved() {
            if matches!(
                resolved.outcome,
                Outcome::Accepted { .. } | Outcome::Duplicate { .. }
            ) {
                for (id, _) in &self.offered[resolved.ticket as usize] {
                    let key = event(&id.to_string(), "").key;
                    prop_assert!(
                        self.store.0.contains_key(&key) || self.spool.0.contains_key(&key),
                        "answered before it was stored"
                    );
                }
            }
            prop_assert!(self.answered.insert(resolved.ticket), "a second outcome");
        }
        Ok(())
    }
}

proptest! {
    /// Rules for any order of deliveries, commits and failures in both destinations. Each ticket
    /// has one outcome, and a writer has one batch. The answers "accepted" and "duplicate" come
    /// only after the key is committed. In the end the key is in the store, with the body that was
    /// accepted first.
    #[test]
    fn each_delivery_has_one_outcome_and_no_answer_runs_ahead_of_the_table(
        steps in prop::collection::vec(step(), 0..80),
        with_spool in any::<bool>(),
    ) {
        let mut world = World::new(with_spool.then_some(AFTER));
        let ending = [Step::Take, Step::Return(Destination::Store, true), Step::Take, Step::Return(Destination::Spool, true), Step::StoreSeen];
        for step in steps.into_iter().chain(std::iter::repeat_n(ending, 100).flatten()).chain([Step::Drain]) {
            world.step(step)?;
        }
        prop_assert_eq!(world.answered.len(), world.offered.len(), "somebody was forgotten");
        prop_assert!(world.batcher.is_idle());
        for (key, digest) in &world.first {
            let stored = world.store.0.get(key).map(|event| &event.digest);
            prop_assert_eq!(stored, Some(digest), "another body than the one that was accepted first");
        }
        let stored = |(id, digest): &(String, BodyDigest)| {
            world.store.0.values().any(|event| event.event_id.as_str() == id && event.digest == *digest)
        };
        prop_assert!(world.accepted.iter().all(|one| one.0.parse::<u8>().unwrap().is_multiple_of(2) || stored(one)), "a body was dropped");
    }
}
