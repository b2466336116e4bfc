use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::delivery::{SourceName, UnixMillis};
use crate::store::Seq;

const LIMITS: BatchLimits = BatchLimits { events: 4, bytes: 100 };

fn event(id: &str, body: &str) -> NewEvent {
    let source = SourceName::parse("s").unwrap();
    NewEvent {
        key: DedupKey::new(&source, "id", &[id.as_bytes()]),
        guard: None,
        digest: BodyDigest::of(body.as_bytes()),
        source,
        event_id: EventId::new(id),
        event_type: None,
        content_type: None,
        headers: Vec::new(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        received_at: UnixMillis(0),
        window: Duration::from_secs(1),
    }
}

fn message_id(id: &str) -> MessageId {
    event(id, "").message_id()
}

/// A store of the plainest kind: first come, first served.
#[derive(Default)]
struct Table(BTreeMap<DedupKey, BodyDigest>);

impl Table {
    fn insert(&mut self, batch: &[Arc<NewEvent>]) -> Result<Vec<Inserted>, StoreError> {
        let mut one = |event: &Arc<NewEvent>| match self.0.get(&event.key) {
            None => {
                self.0.insert(event.key, event.digest);
                Inserted::Accepted(Seq(1))
            }
            Some(digest) if *digest == event.digest => Inserted::Duplicate(event.key),
            Some(_) => Inserted::Conflict(event.key),
        };
        Ok(batch.iter().map(&mut one).collect())
    }
}

fn nothing_known(_: &NewEvent) -> bool {
    false
}

fn outcomes(batcher: &mut Batcher<u32>) -> Vec<(u32, &'static str)> {
    batcher.take_resolved().into_iter().map(|resolved| (resolved.ticket, resolved.outcome.label())).collect()
}

#[test]
fn redeliveries_join_the_event_that_is_being_stored_and_share_its_outcome() {
    let (mut batcher, mut table) = (Batcher::new(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    let batch = batcher.next_batch().unwrap();
    assert_eq!(batcher.offer(2, vec![event("a", "x")], nothing_known), 1, "joined while it is being written");
    assert!(batcher.next_batch().is_none(), "there is nothing more to write");
    assert!(outcomes(&mut batcher).is_empty(), "no answer before the commit");
    let settled = batcher.done(&batch, &table.insert(&batch));
    assert_eq!(settled.accepted, [0]);
    assert_eq!(outcomes(&mut batcher), [(1, "accepted"), (2, "duplicate")]);
    assert!(batcher.is_idle());
}

#[test]
fn when_the_commit_fails_all_who_joined_are_told_and_the_next_try_starts_afresh() {
    let (mut batcher, mut table) = (Batcher::new(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    batcher.offer(2, vec![event("a", "x")], nothing_known);
    let batch = batcher.next_batch().unwrap();
    batcher.done(&batch, &Err(StoreError::Ambiguous("cut".into())));
    assert_eq!(outcomes(&mut batcher), [(1, "failed"), (2, "failed")]);
    batcher.offer(3, vec![event("a", "x")], nothing_known);
    let batch = batcher.next_batch().unwrap();
    batcher.done(&batch, &table.insert(&batch));
    assert_eq!(outcomes(&mut batcher), [(3, "accepted")]);
}

#[test]
fn another_body_under_the_same_id_waits_its_turn_and_is_found_to_conflict() {
    let (mut batcher, mut table) = (Batcher::new(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    batcher.offer(2, vec![event("a", "y")], nothing_known);
    batcher.offer(3, vec![event("a", "y")], nothing_known);
    let batch = batcher.next_batch().unwrap();
    assert_eq!(batch.len(), 1, "one key is in a batch once");
    batcher.done(&batch, &table.insert(&batch));
    assert_eq!(outcomes(&mut batcher), [(1, "accepted")]);
    let batch = batcher.next_batch().unwrap();
    let settled = batcher.done(&batch, &table.insert(&batch));
    assert_eq!((settled.accepted.len(), settled.conflicts), (0, vec![0]));
    let answers = batcher.take_resolved();
    assert!(answers.iter().all(|answer| answer.outcome == Outcome::Duplicate { id: message_id("a") }), "{answers:?}");
    assert_eq!(answers.len(), 2);
}

#[test]
fn batches_are_bounded_sorted_and_keep_the_events_of_one_delivery_together() {
    let mut batcher = Batcher::new(LIMITS);
    for n in 0..3 {
        batcher.offer(n, vec![event(&format!("a{n}"), "x"), event(&format!("b{n}"), "x")], nothing_known);
    }
    batcher.offer(3, vec![event("large", &"x".repeat(101))], nothing_known);
    batcher.offer(4, (0..6).map(|n| event(&format!("c{n}"), "x")).collect(), nothing_known);
    let sizes: Vec<usize> = std::iter::from_fn(|| batcher.next_batch()).map(|batch| batch.len()).collect();
    assert_eq!(sizes, [4, 2, 1, 6]);

    let mut batcher = Batcher::new(BatchLimits { events: 100, bytes: 1000 });
    batcher.offer(0, (0..50).map(|n| event(&n.to_string(), "x")).collect(), nothing_known);
    let batch = batcher.next_batch().unwrap();
    assert!(batch.is_sorted_by_key(|event| event.key));
}

#[test]
fn a_delivery_of_several_events_is_accepted_if_any_of_them_is_new_and_failed_if_any_failed() {
    let (mut batcher, mut table) = (Batcher::new(LIMITS), Table::default());
    batcher.offer(1, vec![event("a", "x"), event("b", "x"), event("a", "x")], nothing_known);
    let batch = batcher.next_batch().unwrap();
    assert_eq!(batch.len(), 2, "folded");
    batcher.done(&batch, &table.insert(&batch));
    assert_eq!(outcomes(&mut batcher), [(1, "accepted")]);

    batcher.offer(2, vec![event("b", "x"), event("c", "x")], |event| event.event_id.as_str() == "b");
    let batch = batcher.next_batch().unwrap();
    assert_eq!(batch.len(), 1, "what is known is not written again");
    batcher.done(&batch, &table.insert(&batch));
    let resolved = batcher.take_resolved();
    assert_eq!(resolved[0].outcome, Outcome::Accepted { id: message_id("c") });

    batcher.offer(3, vec![event("d", "x"), event("e", "x")], nothing_known);
    let batch = batcher.next_batch().unwrap();
    let one_refused =
        batch.iter().map(|e| if e.event_id.as_str() == "d" { Inserted::Refused("no".into()) } else { Inserted::Accepted(Seq(2)) });
    let settled = batcher.done(&batch, &Ok(one_refused.collect()));
    assert_eq!(settled.accepted.len(), 1, "its neighbour is stored all the same");
    assert_eq!(batcher.take_resolved()[0].outcome, Outcome::Failed(FailReason::Row));
}

#[test]
fn what_nobody_waits_for_any_more_leaves_the_queue_but_not_what_somebody_joined() {
    let mut batcher = Batcher::new(LIMITS);
    batcher.offer(1, vec![event("a", "x")], nothing_known);
    batcher.offer(2, vec![event("b", "x")], nothing_known);
    batcher.offer(3, vec![event("b", "x")], nothing_known);
    batcher.offer(4, vec![event("a", "y")], nothing_known);
    batcher.drop_abandoned(|ticket| *ticket <= 2);
    assert_eq!(outcomes(&mut batcher), [(1, "shed")]);
    let batch = batcher.next_batch().unwrap();
    let ids: HashSet<_> = batch.iter().map(|event| (event.event_id.as_str().to_owned(), event.body.clone())).collect();
    assert_eq!(ids, HashSet::from([("b".to_owned(), Bytes::from("x")), ("a".to_owned(), Bytes::from("y"))]));
}

#[derive(Clone, Debug)]
enum Step {
    Offer(Vec<(u8, u8)>),
    Take,
    Commit,
    Fail,
    Abandon(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec((0..5u8, 0..3u8), 1..4).prop_map(Step::Offer),
        3 => Just(Step::Take),
        3 => Just(Step::Commit),
        1 => Just(Step::Fail),
        1 => (0..20u32).prop_map(Step::Abandon),
    ]
}

proptest! {
    /// Whatever the order of deliveries, commits and failures: each ticket has one outcome, a key is in one batch at a time, an
    /// acceptance is a row that was new, and who is told "accepted" or "duplicate" finds the key in the table.
    #[test]
    fn each_delivery_has_one_outcome_and_no_answer_runs_ahead_of_the_table(steps in prop::collection::vec(step(), 0..60)) {
        let (mut batcher, mut table) = (Batcher::new(LIMITS), Table::default());
        let mut offered: Vec<Vec<(u8, u8)>> = Vec::new();
        let mut answered = HashSet::new();
        let mut under_way: VecDeque<Vec<Arc<NewEvent>>> = VecDeque::new();
        let mut accepted_rows = 0;
        let ending = std::iter::repeat_n([Step::Take, Step::Commit], 100).flatten();
        for step in steps.into_iter().chain(ending) {
            match step {
                Step::Offer(events) => {
                    let ticket = u32::try_from(offered.len()).unwrap();
                    batcher.offer(ticket, events.iter().map(|(id, body)| event(&id.to_string(), &body.to_string())).collect(), nothing_known);
                    offered.push(events);
                }
                Step::Take => under_way.extend(batcher.next_batch()),
                Step::Commit => if let Some(batch) = under_way.pop_front() {
                    let settled = batcher.done(&batch, &table.insert(&batch));
                    accepted_rows += settled.accepted.len();
                },
                Step::Fail => if let Some(batch) = under_way.pop_front() {
                    batcher.done(&batch, &Err(StoreError::Unavailable("down".into())));
                },
                Step::Abandon(below) => batcher.drop_abandoned(|ticket| *ticket < below),
            }
            let keys: Vec<_> = under_way.iter().flatten().map(|event| event.key).collect();
            prop_assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "a key in two batches");
            for resolved in batcher.take_resolved() {
                prop_assert!(answered.insert(resolved.ticket), "a second outcome");
                if matches!(resolved.outcome, Outcome::Accepted { .. } | Outcome::Duplicate { .. }) {
                    for (id, _) in &offered[resolved.ticket as usize] {
                        prop_assert!(table.0.contains_key(&event(&id.to_string(), "").key), "answered before it was stored");
                    }
                }
            }
        }
        prop_assert_eq!(answered.len(), offered.len(), "somebody was forgotten");
        prop_assert_eq!(accepted_rows, table.0.len());
        prop_assert!(batcher.is_idle());
    }
}
