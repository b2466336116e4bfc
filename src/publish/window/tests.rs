//! The rules of the window, driven without a sink.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::in_flight::Budget;
use crate::outbox::InFlightEvents;
use crate::outbox::testing::{event, row};
use crate::publish::testing::message_options;

const LIMITS: WindowLimits = WindowLimits {
    tasks: 2,
    batch_events: 3,
    batch_bytes: 100,
    retry_min: Duration::from_millis(500),
    retry_max: Duration::from_secs(60),
};

struct Rig {
    window: Window,
    in_flight: InFlightEvents,
    next: i64,
}

impl Rig {
    fn new(limits: WindowLimits) -> Self {
        Self {
            window: Window::new(limits),
            in_flight: InFlightEvents::default(),
            next: 0,
        }
    }

    fn push(&mut self, body: usize) {
        self.next += 1;
        let row = row(
            self.next,
            event("s", &self.next.to_string(), &vec![b'x'; body]),
        );
        let guard = self.in_flight.begin(row.event.message).expect("new");
        let permit = Budget::new(1, body).reserve(1, body).expect("room");
        self.window.push(PendingEvent {
            row,
            guard,
            permit,
            in_order: None,
            confirm: None,
        });
    }

    /// Adds an event of a key behind the one with the number `after`; returns its number.
    fn push_in_order(&mut self, key: i64, after: Option<i64>) -> i64 {
        self.next += 1;
        let row = row(self.next, event("s", &self.next.to_string(), b"x"));
        let Some(guard) = self.in_flight.begin(row.event.message) else {
            panic!("{} is in memory", self.next);
        };
        self.window.push(PendingEvent {
            row,
            guard,
            permit: Budget::new(1, 1).reserve(1, 1).expect("room"),
            in_order: Some(InOrder {
                key: OrderKey(key),
                after: after.map(Seq),
            }),
            confirm: None,
        });
        self.next
    }

    fn batch(&mut self) -> Option<(usize, Vec<String>)> {
        let (task, messages) = self.window.next_batch(&message_options("{id}"))?;
        Some((
            task,
            messages
                .into_iter()
                .map(|message| message.routing_key)
                .collect(),
        ))
    }
}

fn ids(events: &[PendingEvent]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event.row.event.event_id.as_str())
        .collect()
}

fn unknown() -> PublishResult {
    PublishResult::Unknown("lost".into())
}

fn refused() -> PublishResult {
    PublishResult::Refused("too large".into())
}

#[test]
fn batches_keep_count_bytes_and_tasks() {
    let mut rig = Rig::new(LIMITS);
    for body in [10, 10, 10, 60, 60, 500] {
        rig.push(body);
    }
    assert_eq!(
        rig.batch(),
        Some((0, vec!["1".into(), "2".into(), "3".into()])),
        "three at most"
    );
    assert_eq!(
        rig.batch(),
        Some((1, vec!["4".into()])),
        "100 bytes at most"
    );
    assert_eq!(rig.batch(), None, "no task is free");
    let done = rig.window.finished(1, vec![PublishResult::Confirmed]);
    assert_eq!(ids(&done.confirmed), ["4"]);
    assert_eq!(rig.batch(), Some((1, vec!["5".into()])));
    rig.window.finished(1, vec![PublishResult::Confirmed]);
    assert_eq!(
        rig.batch(),
        Some((1, vec!["6".into()])),
        "one larger than a batch goes alone"
    );
}

#[test]
fn an_unknown_result_is_tried_again_then_alone_then_postponed() {
    let mut rig = Rig::new(LIMITS);
    (0..2).for_each(|_| rig.push(1));
    assert_eq!(rig.batch(), Some((0, vec!["1".into(), "2".into()])));
    assert!(
        rig.window.finished(0, vec![unknown()]).is_empty(),
        "a missing result is unknown too"
    );
    assert_eq!(
        rig.batch(),
        Some((0, vec!["1".into(), "2".into()])),
        "first together, in order"
    );
    rig.window.finished(0, vec![unknown(), unknown()]);
    assert_eq!(rig.batch(), Some((0, vec!["1".into()])), "then each alone");
    assert_eq!(rig.batch(), Some((1, vec!["2".into()])));
    let done = rig.window.finished(0, vec![unknown()]);
    assert_eq!(
        (done.postponed.len(), done.postponed[0].1),
        (1, LIMITS.retry_min)
    );
    assert_eq!(
        ids(&rig
            .window
            .finished(1, vec![PublishResult::Confirmed])
            .confirmed),
        ["2"],
        "its neighbour passes"
    );
    assert_eq!(rig.batch(), None);
    drop(done);
    assert!(rig.in_flight.is_empty());
}

#[test]
fn the_one_that_is_refused_alone_twice_is_parked_and_its_neighbours_pass() {
    let mut rig = Rig::new(LIMITS);
    (0..4).for_each(|_| rig.push(1));
    rig.batch().expect("a batch");
    rig.window
        .finished(0, vec![refused(), refused(), refused()]);
    assert_eq!(rig.batch(), Some((0, vec!["1".into()])));
    assert_eq!(
        rig.batch(),
        Some((1, vec!["4".into()])),
        "new events take turns with those alone"
    );
    assert!(
        rig.window.finished(0, vec![refused()]).is_empty(),
        "once may have been a neighbour's fault"
    );
    rig.window.finished(1, vec![PublishResult::Confirmed]);
    for id in ["2", "3"] {
        assert_eq!(rig.batch(), Some((0, vec![id.into()])));
        rig.window.finished(0, vec![PublishResult::Confirmed]);
    }
    assert_eq!(rig.batch(), Some((0, vec!["1".into()])));
    let done = rig.window.finished(0, vec![refused()]);
    assert_eq!(done.parked[0].1, "too large");
    assert_eq!(done.parked[0].0.row.event.event_id.as_str(), "1");
}

#[test]
fn unroutable_and_nacked_leave_memory_with_a_delay_that_doubles_up_to_its_maximum() {
    let mut rig = Rig::new(LIMITS);
    (0..2).for_each(|_| rig.push(1));
    rig.batch().expect("a batch");
    let done = rig.window.finished(
        0,
        vec![
            PublishResult::Unroutable("no queue".to_owned()),
            PublishResult::Nacked("full".into()),
        ],
    );
    assert_eq!(done.postponed.len(), 2);
    assert_eq!(LIMITS.delay(1), Duration::from_secs(1));
    assert_eq!(LIMITS.delay(u32::MAX), LIMITS.retry_max);
}

#[test]
fn what_is_given_up_leaves_memory_and_frees_its_task() {
    let mut rig = Rig::new(LIMITS);
    (0..8).for_each(|_| rig.push(1));
    rig.batch().expect("a batch");
    rig.window.give_up();
    assert_eq!(rig.in_flight.len(), 3, "the batch under way is not touched");
    assert_eq!(rig.batch(), None);
    rig.window.give_up_batch(0);
    assert!(rig.in_flight.is_empty());
    rig.push(1);
    assert_eq!(rig.batch(), Some((0, vec!["9".into()])));
}

#[test]
fn of_a_key_one_event_leaves_after_the_other_and_of_several_keys_side_by_side() {
    let mut rig = Rig::new(LIMITS);
    let first = rig.push_in_order(7, None);
    let second = rig.push_in_order(7, Some(first));
    rig.push_in_order(8, None);
    rig.push_in_order(7, Some(second));
    assert_eq!(rig.batch(), Some((0, vec!["1".into(), "3".into()])));
    assert_eq!(rig.batch(), None, "the others wait for the first");
    let confirmed = || vec![PublishResult::Confirmed, PublishResult::Confirmed];
    rig.window.finished(0, confirmed());
    assert_eq!(rig.batch(), Some((0, vec!["2".into()])));
    assert!(rig.window.finished(0, vec![unknown()]).is_empty());
    assert_eq!(rig.batch(), Some((0, vec!["2".into()])), "not overtaken");
    rig.window.finished(0, confirmed());
    assert_eq!(rig.batch(), Some((0, vec!["4".into()])));
    rig.window.finished(0, confirmed());
    assert!(rig.window.keys.is_empty() && rig.in_flight.is_empty());
}

#[test]
fn a_failed_event_takes_the_later_ones_of_its_key_out_of_memory_and_no_others() {
    for failure in [
        vec![PublishResult::Nacked("no".into())],
        vec![PublishResult::Unroutable("no".into())],
        vec![refused(), refused()],
        vec![unknown(), unknown(), unknown()],
    ] {
        let mut rig = Rig::new(LIMITS);
        let first = rig.push_in_order(7, None);
        let second = rig.push_in_order(7, Some(first));
        rig.push_in_order(7, Some(second));
        let mut last = ConfirmBatch::default();
        for result in failure {
            assert_eq!(rig.batch(), Some((0, vec!["1".into()])));
            last = rig.window.finished(0, vec![result]);
        }
        assert_eq!(last.postponed.len() + last.parked.len(), 1);
        assert_eq!(rig.in_flight.len(), 1, "it alone is to be recorded");
        rig.push_in_order(7, Some(3));
        assert_eq!(rig.batch(), None, "one that was behind them does not pass");
        rig.push_in_order(8, None);
        assert_eq!(rig.batch(), Some((0, vec!["5".into()])));
        drop(last);
        rig.push_in_order(7, None);
        assert_eq!(rig.batch(), Some((1, vec!["6".into()])));
    }
}

#[test]
fn a_key_whose_event_is_given_up_begins_anew() {
    let mut rig = Rig::new(LIMITS);
    let first = rig.push_in_order(7, None);
    rig.push_in_order(7, Some(first));
    let other = rig.push_in_order(8, None);
    rig.batch().expect("both keys");
    rig.push_in_order(8, Some(other));
    rig.push_in_order(9, None);
    rig.window.give_up();
    assert_eq!(rig.in_flight.len(), 2, "those under way");
    rig.push_in_order(9, None);
    rig.push_in_order(8, Some(4));
    assert_eq!(rig.batch(), Some((1, vec!["6".into()])));
    rig.window.give_up_batch(0);
    rig.push_in_order(7, None);
    assert_eq!(rig.batch(), Some((0, vec!["8".into()])));
}

proptest! {
    /// With any results, the first confirms of a key come in its order, and nobody else is held.
    #[test]
    fn no_event_of_a_key_overtakes_another(results in proptest::collection::vec((0usize..2, proptest::collection::vec(0u8..5, 3)), 1..60)) {
        let mut rig = Rig::new(LIMITS);
        // What the store has: of each key the numbers that wait, in order.
        let mut store: HashMap<i64, VecDeque<i64>> = HashMap::new();
        let mut confirmed: HashMap<i64, i64> = HashMap::new();
        for (task, results) in results {
            for key in 0..3 {
                // The relay: what follows the last one in memory.
                let behind = store.get(&key).and_then(|rows| rows.back().copied());
                if !rig.window.keys.contains_key(&OrderKey(key)) {
                    store.remove(&key);
                    let seq = rig.push_in_order(key, None);
                    store.entry(key).or_default().push_back(seq);
                } else {
                    let seq = rig.push_in_order(key, behind);
                    store.entry(key).or_default().push_back(seq);
                }
            }
            while rig.batch().is_some() {}
            for batch in rig.window.under_way.iter().flatten() {
                let keys: HashSet<_> = batch.iter().map(Item::key).collect();
                prop_assert_eq!(keys.len(), batch.len(), "two of a key in a batch");
            }
            let keys: Vec<_> = rig.window.under_way.iter().flatten().flatten().map(Item::key).collect();
            prop_assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len(), "two of a key under way");
            let results = results.into_iter().map(|result| match result {
                0 | 1 => PublishResult::Confirmed,
                2 => PublishResult::Nacked(String::new()),
                3 => unknown(),
                _ => refused(),
            });
            for event in rig.window.finished(task, results.collect()).confirmed {
                let Some(place) = event.in_order else { panic!("no key") };
                let before = confirmed.insert(place.key.0, event.row.seq.0);
                prop_assert!(before < Some(event.row.seq.0), "out of order");
            }
        }
    }
}

proptest! {
    /// With any results of the batches, every event has exactly one result or is still in the
    /// window, and never in two tasks.
    #[test]
    fn no_event_is_lost_or_twice(steps in proptest::collection::vec((0usize..4, proptest::collection::vec(0u8..5, 8), 0usize..150), 1..80)) {
        let mut rig = Rig::new(WindowLimits { tasks: 3, ..LIMITS });
        let mut settled = HashSet::new();
        for (task, results, body) in steps {
            rig.push(body);
            rig.push(body / 7);
            while rig.batch().is_some() {}
            let mut under_way = HashSet::new();
            for item in rig.window.under_way.iter().flatten().flatten() {
                prop_assert!(under_way.insert(item.event.row.seq), "in two tasks");
                prop_assert!(!settled.contains(&item.event.row.seq), "published after it was settled");
            }
            for batch in rig.window.under_way.iter().flatten() {
                let bytes: usize = batch.iter().map(|item| item.event.row.event.body.len()).sum();
                prop_assert!(batch.len() <= 3 && (bytes <= 100 || batch.len() == 1));
            }
            let results = results.into_iter().map(|result| match result {
                0 => PublishResult::Confirmed,
                1 => PublishResult::Unroutable("no queue".to_owned()),
                2 => PublishResult::Nacked(String::new()),
                3 => unknown(),
                _ => refused(),
            });
            let done = rig.window.finished(task, results.collect());
            let events = done.confirmed.iter().chain(done.postponed.iter().map(|(event, _)| event));
            for event in events.chain(done.parked.iter().map(|(event, _)| event)) {
                prop_assert!(settled.insert(event.row.seq), "settled twice");
            }
            prop_assert_eq!(rig.in_flight.len() as i64, rig.next - settled.len() as i64 + i64::try_from(done.confirmed.len() + done.postponed.len() + done.parked.len()).expect("few"));
        }
        // With a target that takes everything, the rest drains.
        for _ in 0..1000 {
            while rig.batch().is_some() {}
            for task in 0..3 {
                let count = rig.window.under_way[task].as_ref().map_or(0, Vec::len);
                for event in rig.window.finished(task, vec![PublishResult::Confirmed; count]).confirmed {
                    prop_assert!(settled.insert(event.row.seq));
                }
            }
        }
        prop_assert_eq!(settled.len() as i64, rig.next);
        prop_assert!(rig.in_flight.is_empty());
    }
}
