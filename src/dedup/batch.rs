//! Pure state of dedup: the keys being stored, the deliveries that wait for them, and the next
//! batch.
//!
//! It is generic over the ticket, so that a test can drive it alone.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use self::delivery::Delivery;
pub use self::delivery::ResolvedDelivery;
use super::router::{BatchId, BatchRouter, Destination, Destinations};
use crate::domain::delivery::{BodyDigest, DedupKey, MessageId};
use crate::domain::outcome::{FailReason, Outcome, ShedReason};
use crate::domain::sink::Sinks;
use crate::store::{Inserted, NewEvent, StoreError};

mod delivery;

/// Size of a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Most events. A larger delivery goes in several batches, and is answered after the last one.
    pub events: usize,
    /// Most bytes of bodies. A larger event goes in a batch of its own.
    pub bytes: usize,
}

/// Deliveries on their way into the store.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: BatchLimits,
    deliveries: HashMap<u64, Delivery<T>>,
    next_delivery: u64,
    /// Keys that are queued or in a batch under way.
    storing: HashMap<DedupKey, Storing>,
    /// Events that wait for a writer. Those of one delivery stay together if they fit into one
    /// batch.
    queue: Queue,
    /// Events with keys that may be in the spool: the spool decides about them.
    for_spool: Queue,
    router: BatchRouter,
    resolved: Vec<ResolvedDelivery<T>>,
    /// Sinks that senders wait for. None: they wait for none, and the lists are not needed.
    awaited: Option<Sinks>,
}

type Queue = VecDeque<Vec<Arc<NewEvent>>>;

/// A batch to commit.
#[derive(Debug)]
pub struct NextBatch {
    /// Name of the batch, for its result.
    pub id: BatchId,
    /// Destination of the batch. If the store does not return it, it may go to the spool too, with
    /// the same name.
    pub destination: Destination,
    /// Events, sorted by key, so that batches with overlapping keys cannot deadlock.
    pub events: Vec<Arc<NewEvent>>,
}

#[derive(Debug)]
struct Storing {
    digest: BodyDigest,
    /// The delivery that brought the event, then those that joined it.
    waiters: Vec<u64>,
    /// Events with this key and another body. They have their turns after this one.
    after: Vec<(u64, Arc<NewEvent>)>,
}

/// Way in which an event waits.
#[derive(Debug, PartialEq, Eq)]
enum Joined {
    /// The event is to be stored.
    New,
    /// The event is being stored, with the same body.
    Same,
    /// Another body is being stored under the event's key. The event has its turn after that.
    Waits,
}

/// Result of a batch, for the cache, the log and the publishers.
#[derive(Debug, Default)]
pub struct BatchResult {
    /// Positions of the new events in the batch.
    pub accepted: Vec<usize>,
    /// Positions of the events with a known id and another body.
    pub conflicts: Vec<usize>,
}

impl<T> Batcher<T> {
    /// Returns a batcher without deliveries.
    pub fn new(limits: BatchLimits, destinations: Destinations) -> Self {
        Self {
            limits,
            deliveries: HashMap::new(),
            next_delivery: 0,
            storing: HashMap::new(),
            queue: Queue::new(),
            for_spool: Queue::new(),
            router: BatchRouter::new(destinations),
            resolved: Vec::new(),
            awaited: None,
        }
    }

    /// Makes the batcher list the unpublished events of each delivery, with those of `sinks` that
    /// they go to.
    pub fn listing_unpublished(self, sinks: Sinks) -> Self {
        Self {
            awaited: Some(sinks),
            ..self
        }
    }

    /// Adds a delivery. `known` returns the message id of a stored event with the same body.
    /// Returns the number of events that joined one that is being stored.
    pub fn offer(
        &mut self,
        ticket: T,
        events: Vec<NewEvent>,
        known: impl Fn(&NewEvent) -> Option<MessageId>,
    ) -> usize {
        let Some(first) = events.first() else {
            return 0;
        };
        let id = self.next_delivery;
        self.next_delivery += 1;
        let mut delivery = Delivery::new(ticket, first.event_id.clone());
        let mut fresh = Vec::new();
        let mut joined = 0;
        for event in events {
            if let Some(first) = known(&event) {
                delivery.duplicate.get_or_insert(first);
                continue;
            }
            delivery.waiting += 1;
            let event = Arc::new(event);
            match self.store_or_join(event.clone(), vec![id]) {
                Joined::New => fresh.push(event),
                Joined::Same => joined += 1,
                Joined::Waits => {}
            }
        }
        while fresh.len() > self.limits.events.max(1) {
            let rest = fresh.split_off(self.limits.events.max(1));
            self.queue.push_back(std::mem::replace(&mut fresh, rest));
        }
        if !fresh.is_empty() {
            self.queue.push_back(fresh);
        }
        self.deliveries.insert(id, delivery);
        self.resolve_if_done(id);
        joined
    }

    /// Returns the next batch, if events wait and a writer is free. `spooled` returns true for an
    /// event with a key that may be in the spool: the spool decides about it, because the store
    /// does not know it yet.
    pub fn next(&mut self, now: Instant, spooled: impl Fn(&NewEvent) -> bool) -> Option<NextBatch> {
        let spool_takes = self.router.spool_takes();
        if spool_takes && let Some((id, events)) = self.router.falls_back(now) {
            return Some(NextBatch {
                id,
                destination: Destination::Spool,
                events,
            });
        }
        if self.router.store_takes() {
            while let Some(group) = self
                .queue
                .pop_front_if(|group| group.iter().any(|event| spooled(event)))
            {
                self.for_spool.push_back(group);
            }
            if let Some(events) = self.take(Destination::Store, |group| {
                !group.iter().any(|event| spooled(event))
            }) {
                return Some(self.begin(Destination::Store, events, now));
            }
        }
        if spool_takes {
            let lost = self.router.store_is_lost(now);
            if let Some(events) = self.take(Destination::Spool, |_| true) {
                return Some(self.begin(Destination::Spool, events, now));
            }
            if lost && let Some(events) = self.take(Destination::Store, |_| true) {
                return Some(self.begin(Destination::Spool, events, now));
            }
        }
        None
    }

    fn begin(
        &mut self,
        destination: Destination,
        events: Vec<Arc<NewEvent>>,
        now: Instant,
    ) -> NextBatch {
        NextBatch {
            id: self.router.begin(destination, events.clone(), now),
            destination,
            events,
        }
    }

    /// Takes a batch from the head of the queue for `destination`, while `fits` returns true.
    fn take(
        &mut self,
        destination: Destination,
        fits: impl Fn(&[Arc<NewEvent>]) -> bool,
    ) -> Option<Vec<Arc<NewEvent>>> {
        let queue = match destination {
            Destination::Store => &mut self.queue,
            Destination::Spool => &mut self.for_spool,
        };
        let mut batch = queue.pop_front()?;
        let mut bytes: usize = batch.iter().map(|event| event.body.len()).sum();
        while let Some(group) = queue.front() {
            bytes += group.iter().map(|event| event.body.len()).sum::<usize>();
            if batch.len() + group.len() > self.limits.events
                || bytes > self.limits.bytes
                || !fits(group)
            {
                break;
            }
            batch.extend(queue.pop_front().into_iter().flatten());
        }
        batch.sort_unstable_by_key(|event| event.key);
        Some(batch)
    }

    /// Records a sign of life of the store at `time`.
    pub fn store_was_seen(&mut self, time: Instant) {
        self.router.store_was_seen(time);
    }

    /// Records the result of a batch from `destination`, with one entry for each of its events.
    /// Returns None if the batch has no final result yet, or had it before: it may be under way at
    /// the other destination, or go there next.
    pub fn done(
        &mut self,
        id: BatchId,
        destination: Destination,
        result: &Result<Vec<Inserted>, StoreError>,
        now: Instant,
    ) -> Option<BatchResult> {
        let batch = self.router.done(id, destination, result.is_ok(), now)?;
        let mut batch_result = BatchResult::default();
        for (at, event) in batch.iter().enumerate() {
            let Some(storing) = self.storing.remove(&event.key) else {
                continue;
            };
            let inserted = result.as_ref().ok().and_then(|all| all.get(at));
            if let Some(Inserted::Doubtful(mark)) = inserted {
                // It is an event of its own after all: it is inserted again, with its mark.
                self.queue_or_join(Arc::new(event.marked(*mark)), storing.waiters);
            } else {
                match inserted {
                    Some(Inserted::Accepted(_)) => batch_result.accepted.push(at),
                    Some(Inserted::Conflict(_)) => batch_result.conflicts.push(at),
                    _ => {}
                }
                self.record(event, inserted, storing.waiters);
            }
            self.take_turns(storing.after);
        }
        Some(batch_result)
    }

    /// Records the result of `event` in the deliveries that wait for it. The first one brought the
    /// event.
    fn record(&mut self, event: &NewEvent, inserted: Option<&Inserted>, waiters: Vec<u64>) {
        for (position, id) in waiters.into_iter().enumerate() {
            let Some(delivery) = self.deliveries.get_mut(&id) else {
                continue;
            };
            delivery.record(event, inserted, position == 0);
            if let Some(sinks) = &self.awaited {
                let wanting = event.wanted_by(sinks);
                delivery.add_unpublished(event, inserted, wanting);
            }
            self.resolve_if_done(id);
        }
    }

    /// Makes `waiters` wait for `event`, and queues it unless it is being stored.
    fn queue_or_join(&mut self, event: Arc<NewEvent>, waiters: Vec<u64>) {
        if self.store_or_join(event.clone(), waiters) == Joined::New {
            self.queue.push_back(vec![event]);
        }
    }

    /// Makes `waiters` wait for `event`. The caller queues it if it is new.
    fn store_or_join(&mut self, event: Arc<NewEvent>, waiters: Vec<u64>) -> Joined {
        match self.storing.entry(event.key) {
            Entry::Vacant(slot) => {
                slot.insert(Storing {
                    digest: event.digest,
                    waiters,
                    after: Vec::new(),
                });
                Joined::New
            }
            Entry::Occupied(mut slot) if slot.get().digest == event.digest => {
                slot.get_mut().waiters.extend(waiters);
                Joined::Same
            }
            Entry::Occupied(mut slot) => {
                slot.get_mut()
                    .after
                    .extend(waiters.into_iter().map(|id| (id, event.clone())));
                Joined::Waits
            }
        }
    }

    /// Gives events with the same key and other bodies their turns: the first is stored next,
    /// events with its body join it, and the rest wait again.
    fn take_turns(&mut self, after: Vec<(u64, Arc<NewEvent>)>) {
        for (id, event) in after {
            self.queue_or_join(event, vec![id]);
        }
    }

    /// Drops queued events of deliveries that were answered 503. To store them would take room from
    /// deliveries that still wait.
    pub fn drop_abandoned(&mut self, abandoned: impl Fn(&T) -> bool) {
        // Events that `forget` queues again come last.
        let mut queue = std::mem::take(&mut self.queue);
        let mut for_spool = std::mem::take(&mut self.for_spool);
        for queue in [&mut queue, &mut for_spool] {
            queue.retain(|group| {
                let wanted = group
                    .iter()
                    .any(|event| self.is_wanted(&event.key, &abandoned));
                if !wanted {
                    group.iter().for_each(|event| self.forget(&event.key));
                }
                wanted
            });
        }
        queue.append(&mut self.queue);
        (self.queue, self.for_spool) = (queue, for_spool);
    }

    fn is_wanted(&self, key: &DedupKey, abandoned: impl Fn(&T) -> bool) -> bool {
        self.storing.get(key).is_some_and(|storing| {
            storing.waiters.iter().any(|id| {
                self.deliveries
                    .get(id)
                    .is_some_and(|waiter| !abandoned(&waiter.ticket))
            })
        })
    }

    fn forget(&mut self, key: &DedupKey) {
        let Some(storing) = self.storing.remove(key) else {
            return;
        };
        for id in storing.waiters {
            let Some(delivery) = self.deliveries.get_mut(&id) else {
                continue;
            };
            delivery.waiting -= 1;
            delivery.failed.get_or_insert(FailReason::Store);
            if delivery.waiting == 0
                && let Some(delivery) = self.deliveries.remove(&id)
            {
                self.resolved.push(ResolvedDelivery {
                    ticket: delivery.ticket,
                    outcome: Outcome::Shed(ShedReason::DeadlineInQueue),
                    event_id: delivery.event_id,
                    unpublished: Vec::new(),
                });
            }
        }
        self.take_turns(storing.after);
    }

    fn resolve_if_done(&mut self, id: u64) {
        if let Entry::Occupied(slot) = self.deliveries.entry(id)
            && slot.get().waiting == 0
        {
            self.resolved.push(slot.remove().resolve());
        }
    }

    /// Returns the deliveries that got their outcomes since the last call.
    pub fn take_resolved(&mut self) -> Vec<ResolvedDelivery<T>> {
        std::mem::take(&mut self.resolved)
    }

    /// Returns `true` if no delivery waits.
    pub fn is_idle(&self) -> bool {
        self.deliveries.is_empty()
    }
}

#[cfg(test)]
mod tests;
