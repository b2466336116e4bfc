//! The publisher's pure core: which events go in which batch, and what follows from what became of them.
//!
//! - A lane has one batch under way. Batches are filled in the order of arrival, up to a count and a number of bytes.
//! - An event whose batch failed for an unknown reason is tried again at once, the second time alone: so one message that breaks its
//!   channel is found, and its neighbours pass. After the third failure it is postponed, and leaves memory.
//! - An event that is refused for good when alone is tried once more, and then parked.
//! - An event that no queue is bound for, or that is refused for now, is postponed at once, so that a source whose queue is full does
//!   not fill the window. Postponed is: due again after a delay that doubles with each attempt, for the relay to find.
//! - Events that must go alone take turns with batches, so that neither holds the other up.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Fate, Message};
use crate::outbox::{ConfirmBatch, PendingEvent};
use crate::publish::routing_key::RoutingKeys;

/// Failures for an unknown reason before an event is postponed.
const MAX_TRIES: u32 = 3;
/// Refusals of an event alone before it is parked.
const MAX_REFUSALS: u32 = 2;

/// Bounds and delays.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Lanes.
    pub lanes: usize,
    /// Events in one batch.
    pub batch_events: usize,
    /// Bytes of bodies in one batch; a single larger event goes alone.
    pub batch_bytes: usize,
    /// Delay after the first failed attempt.
    pub retry_min: Duration,
    /// Longest delay.
    pub retry_max: Duration,
}

impl Limits {
    /// How long a row rests after it was handed to the queue in vain `attempts` times before.
    fn delay(&self, attempts: u32) -> Duration {
        self.retry_min
            .saturating_mul(2u32.saturating_pow(attempts))
            .min(self.retry_max)
    }
}

/// Events to be published, and those under way.
#[derive(Debug)]
pub struct Window {
    limits: Limits,
    queue: VecDeque<Item>,
    alone: VecDeque<Item>,
    alone_had_its_turn: bool,
    under_way: Vec<Option<Vec<Item>>>,
}

#[derive(Debug)]
struct Item {
    event: PendingEvent,
    /// How often its batch failed for an unknown reason.
    tries: u32,
    /// How often it was refused when alone.
    refusals: u32,
}

impl Window {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        let under_way = (0..limits.lanes).map(|_| None).collect();
        Self {
            limits,
            queue: VecDeque::new(),
            alone: VecDeque::new(),
            alone_had_its_turn: false,
            under_way,
        }
    }

    /// Takes an event in.
    pub fn push(&mut self, event: PendingEvent) {
        self.queue.push_back(Item {
            event,
            tries: 0,
            refusals: 0,
        });
    }

    /// Lanes with a batch under way.
    pub fn busy_lanes(&self) -> usize {
        self.under_way.iter().flatten().count()
    }

    /// The next batch and the lane that is free for it.
    pub fn next_batch(&mut self, keys: &RoutingKeys) -> Option<(usize, Vec<Message>)> {
        let lane = self.under_way.iter().position(Option::is_none)?;
        let alone_now =
            !self.alone.is_empty() && (self.queue.is_empty() || !self.alone_had_its_turn);
        self.alone_had_its_turn = alone_now;
        let batch: Vec<Item> = if alone_now {
            self.alone.pop_front().into_iter().collect()
        } else {
            self.fill()
        };
        if batch.is_empty() {
            return None;
        }
        let messages = batch
            .iter()
            .map(|item| Message::new(&item.event.row, item.tries + item.refusals, keys))
            .collect();
        self.under_way[lane] = Some(batch);
        Some((lane, messages))
    }

    fn fill(&mut self) -> Vec<Item> {
        let mut bytes = 0;
        let mut batch = Vec::with_capacity(self.queue.len().min(self.limits.batch_events));
        while let Some(next) = self.queue.front() {
            let len = next.event.row.event.body.len();
            if batch.len() == self.limits.batch_events
                || (!batch.is_empty() && bytes + len > self.limits.batch_bytes)
            {
                break;
            }
            bytes += len;
            batch.extend(self.queue.pop_front());
        }
        batch
    }

    /// Forgets what waits and is not under way: another instance owns the rows by now.
    pub fn give_up(&mut self) {
        self.queue.clear();
        self.alone.clear();
    }

    /// Forgets the batch of `lane`, which was not sent.
    pub fn give_up_batch(&mut self, lane: usize) {
        drop(self.under_way.get_mut(lane).and_then(Option::take));
    }

    /// The batch of `lane` is done: `fates` has one entry for each of its messages, in order; a missing one counts as unknown.
    pub fn finished(&mut self, lane: usize, fates: Vec<Fate>) -> ConfirmBatch {
        let mut results = ConfirmBatch::default();
        let Some(batch) = self.under_way.get_mut(lane).and_then(Option::take) else {
            return results;
        };
        let alone = batch.len() == 1;
        let mut fates = fates.into_iter();
        let mut again = Vec::new();
        for mut item in batch {
            match fates
                .next()
                .unwrap_or_else(|| Fate::Unknown("the lane gave no answer".to_owned()))
            {
                Fate::Confirmed => results.confirmed.push(item.event),
                Fate::Unroutable | Fate::Nacked(_) => self.postpone(&mut results, item),
                Fate::Unknown(_) => {
                    item.tries += 1;
                    match item.tries {
                        MAX_TRIES.. => self.postpone(&mut results, item),
                        2.. => self.alone.push_back(item),
                        _ => again.push(item),
                    }
                }
                Fate::Refused(why) => {
                    item.refusals += u32::from(alone);
                    if item.refusals < MAX_REFUSALS {
                        self.alone.push_back(item);
                    } else {
                        results.parked.push((item.event, why));
                    }
                }
            }
        }
        for item in again.into_iter().rev() {
            self.queue.push_front(item);
        }
        results
    }

    fn postpone(&self, results: &mut ConfirmBatch, item: Item) {
        let delay = self.limits.delay(item.event.row.attempts);
        results.postponed.push((item.event, delay));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::in_flight::Budget;
    use crate::outbox::InFlightEvents;
    use crate::outbox::testing::{event, row};
    use crate::publish::testing::keys;

    const LIMITS: Limits = Limits {
        lanes: 2,
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
        fn new(limits: Limits) -> Self {
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
            self.window.push(PendingEvent { row, guard, permit });
        }

        fn batch(&mut self) -> Option<(usize, Vec<String>)> {
            let (lane, messages) = self.window.next_batch(&keys("{id}"))?;
            Some((
                lane,
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

    fn unknown() -> Fate {
        Fate::Unknown("lost".into())
    }

    fn refused() -> Fate {
        Fate::Refused("too large".into())
    }

    #[test]
    fn batches_keep_count_bytes_and_lanes() {
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
        assert_eq!(rig.batch(), None, "no lane is free");
        let done = rig.window.finished(1, vec![Fate::Confirmed]);
        assert_eq!(ids(&done.confirmed), ["4"]);
        assert_eq!(rig.batch(), Some((1, vec!["5".into()])));
        rig.window.finished(1, vec![Fate::Confirmed]);
        assert_eq!(
            rig.batch(),
            Some((1, vec!["6".into()])),
            "one larger than a batch goes alone"
        );
    }

    #[test]
    fn an_unknown_fate_is_tried_again_then_alone_then_postponed() {
        let mut rig = Rig::new(LIMITS);
        (0..2).for_each(|_| rig.push(1));
        assert_eq!(rig.batch(), Some((0, vec!["1".into(), "2".into()])));
        assert!(
            rig.window.finished(0, vec![unknown()]).is_empty(),
            "a missing fate is unknown too"
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
            ids(&rig.window.finished(1, vec![Fate::Confirmed]).confirmed),
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
        rig.window.finished(1, vec![Fate::Confirmed]);
        for id in ["2", "3"] {
            assert_eq!(rig.batch(), Some((0, vec![id.into()])));
            rig.window.finished(0, vec![Fate::Confirmed]);
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
        let done = rig
            .window
            .finished(0, vec![Fate::Unroutable, Fate::Nacked("full".into())]);
        assert_eq!(done.postponed.len(), 2);
        assert_eq!(LIMITS.delay(1), Duration::from_secs(1));
        assert_eq!(LIMITS.delay(u32::MAX), LIMITS.retry_max);
    }

    #[test]
    fn what_is_given_up_leaves_memory_and_frees_its_lane() {
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

    proptest! {
        /// Whatever becomes of the batches, every event is settled exactly once or still in the window, and never in two lanes.
        #[test]
        fn no_event_is_lost_or_twice(steps in proptest::collection::vec((0usize..4, proptest::collection::vec(0u8..5, 8), 0usize..150), 1..80)) {
            let mut rig = Rig::new(Limits { lanes: 3, ..LIMITS });
            let mut settled = HashSet::new();
            for (lane, fates, body) in steps {
                rig.push(body);
                rig.push(body / 7);
                while rig.batch().is_some() {}
                let mut under_way = HashSet::new();
                for item in rig.window.under_way.iter().flatten().flatten() {
                    prop_assert!(under_way.insert(item.event.row.seq), "in two lanes");
                    prop_assert!(!settled.contains(&item.event.row.seq), "published after it was settled");
                }
                for batch in rig.window.under_way.iter().flatten() {
                    let bytes: usize = batch.iter().map(|item| item.event.row.event.body.len()).sum();
                    prop_assert!(batch.len() <= 3 && (bytes <= 100 || batch.len() == 1));
                }
                let fates = fates.into_iter().map(|fate| match fate {
                    0 => Fate::Confirmed,
                    1 => Fate::Unroutable,
                    2 => Fate::Nacked(String::new()),
                    3 => unknown(),
                    _ => refused(),
                });
                let done = rig.window.finished(lane, fates.collect());
                let events = done.confirmed.iter().chain(done.postponed.iter().map(|(event, _)| event));
                for event in events.chain(done.parked.iter().map(|(event, _)| event)) {
                    prop_assert!(settled.insert(event.row.seq), "settled twice");
                }
                prop_assert_eq!(rig.in_flight.len() as i64, rig.next - settled.len() as i64 + i64::try_from(done.confirmed.len() + done.postponed.len() + done.parked.len()).expect("few"));
            }
            // With a target that takes everything, the rest drains.
            for _ in 0..1000 {
                while rig.batch().is_some() {}
                for lane in 0..3 {
                    let count = rig.window.under_way[lane].as_ref().map_or(0, Vec::len);
                    for event in rig.window.finished(lane, vec![Fate::Confirmed; count]).confirmed {
                        prop_assert!(settled.insert(event.row.seq));
                    }
                }
            }
            prop_assert_eq!(settled.len() as i64, rig.next);
            prop_assert!(rig.in_flight.is_empty());
        }
    }
}
