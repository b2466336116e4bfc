//! The state behind the dedup actors, pure: which keys are being stored, who waits for them, and what the next batch is.
//!
//! Generic over the ticket, so that a test can drive it without a service around it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::router::{BatchId, BatchRouter, Destination, Destinations};
use crate::domain::delivery::{BodyDigest, DedupKey, EventId, MessageId, MessageKey};
use crate::domain::outcome::{FailReason, Outcome, ShedReason};
use crate::store::{Inserted, NewEvent, StoreError};

/// How much goes into one batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Events at most; a delivery that alone has more goes in several, and is answered when all are stored.
    pub events: usize,
    /// Bytes of bodies at most; a larger event goes in a batch of its own.
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
    /// New events that wait for a writer; those of one delivery stay together, as far as they fit in one batch.
    queue: Queue,
    /// Those of which only the spool can tell whether they are new.
    for_spool: Queue,
    route: BatchRouter,
    resolved: Vec<ResolvedDelivery<T>>,
    /// Only where senders wait for the queue; otherwise nobody reads the lists.
    lists_unpublished: bool,
}

type Queue = VecDeque<Vec<Arc<NewEvent>>>;

/// A batch that is to be committed.
#[derive(Debug)]
pub struct NextBatch {
    /// Names it when it comes back.
    pub id: BatchId,
    /// Where it is to be committed. One that the store does not return may follow to the spool, under the same name.
    pub destination: Destination,
    /// Sorted by key, so that batches with overlapping keys cannot deadlock.
    pub events: Vec<Arc<NewEvent>>,
}

/// A delivery whose outcome is known.
#[derive(Debug)]
pub struct ResolvedDelivery<T> {
    /// Its ticket.
    pub ticket: T,
    /// Its outcome.
    pub outcome: Outcome,
    /// The id of its first event.
    pub event_id: EventId,
    /// Messages of its events that are stored and not known to be published yet; see [`Batcher::listing_unpublished`].
    pub unpublished: Vec<MessageKey>,
}

#[derive(Debug)]
struct Delivery<T> {
    ticket: T,
    event_id: EventId,
    /// Events whose fate is not known yet.
    waiting: usize,
    /// The first event that was new.
    accepted: Option<MessageId>,
    /// The first event that was known.
    duplicate: Option<MessageId>,
    failed: Option<FailReason>,
    unpublished: Vec<MessageKey>,
}

#[derive(Debug)]
struct Storing {
    digest: BodyDigest,
    /// The delivery that brought the event, then those that joined it.
    waiters: Vec<u64>,
    /// Events with this key and another body: each has its turn when this one is settled.
    after: Vec<(u64, Arc<NewEvent>)>,
}

/// How an event came to wait.
#[derive(Debug, PartialEq, Eq)]
enum Joined {
    /// It is to be stored.
    New,
    /// It is being stored, with this very body.
    Same,
    /// Another body is being stored under its key; its turn comes after that.
    Waits,
}

/// What became of a batch, for the caller to act on.
#[derive(Debug, Default)]
pub struct BatchResult {
    /// Positions in the batch of the events that are new: to be remembered and passed on.
    pub accepted: Vec<usize>,
    /// Positions in the batch of the events that have a known id and another body.
    pub conflicts: Vec<usize>,
}

impl<T> Batcher<T> {
    /// An empty one.
    pub fn new(limits: BatchLimits, destinations: Destinations) -> Self {
        Self {
            limits,
            deliveries: HashMap::new(),
            next_delivery: 0,
            storing: HashMap::new(),
            queue: Queue::new(),
            for_spool: Queue::new(),
            route: BatchRouter::new(destinations),
            resolved: Vec::new(),
            lists_unpublished: false,
        }
    }

    /// From here on it says of each delivery which of its events are not published yet.
    pub fn listing_unpublished(self) -> Self {
        Self {
            lists_unpublished: true,
            ..self
        }
    }

    /// Takes a delivery. `known` gives the message id of an event that is known to be stored, with this very body. Returns how many of its
    /// events joined one that is being stored.
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
        let event_id = first.event_id.clone();
        let mut delivery = Delivery {
            ticket,
            event_id,
            waiting: 0,
            accepted: None,
            duplicate: None,
            failed: None,
            unpublished: Vec::new(),
        };
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
        self.resolve_if_settled(id);
        joined
    }

    /// The next batch that can go somewhere now; none while nothing waits, or nobody is free. `spooled` tells the events whose keys may
    /// be in the spool: the spool decides about them, since the store does not know them yet.
    pub fn next(&mut self, now: Instant, spooled: impl Fn(&NewEvent) -> bool) -> Option<NextBatch> {
        let spool_takes = self.route.spool_takes();
        if spool_takes && let Some((id, events)) = self.route.falls_back(now) {
            return Some(NextBatch {
                id,
                destination: Destination::Spool,
                events,
            });
        }
        if self.route.store_takes() {
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
            let lost = self.route.store_is_lost(now);
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
            id: self.route.begin(destination, events.clone(), now),
            destination,
            events,
        }
    }

    /// A batch's worth from the head of the queue for `destination`, as far as it fits.
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

    /// The store did something at `time`: if it was away, it is back.
    pub fn store_was_seen(&mut self, time: Instant) {
        self.route.store_was_seen(time);
    }

    /// A batch came back. `result` has one entry for each of its events. None if that does not settle it: it is under way elsewhere too,
    /// will go there, or was settled before.
    pub fn done(
        &mut self,
        id: BatchId,
        destination: Destination,
        result: &Result<Vec<Inserted>, StoreError>,
        now: Instant,
    ) -> Option<BatchResult> {
        let batch = self.route.done(id, destination, result.is_ok(), now)?;
        let mut settled = BatchResult::default();
        for (at, event) in batch.iter().enumerate() {
            let Some(storing) = self.storing.remove(&event.key) else {
                continue;
            };
            let inserted = result.as_ref().ok().and_then(|all| all.get(at));
            if let Some(Inserted::Doubtful(mark)) = inserted {
                // One of its own after all: it goes in once more, as such.
                self.queue_or_join(Arc::new(event.marked(*mark)), storing.waiters);
            } else {
                match inserted {
                    Some(Inserted::Accepted(_)) => settled.accepted.push(at),
                    Some(Inserted::Conflict(_)) => settled.conflicts.push(at),
                    _ => {}
                }
                self.settle(event, inserted, storing.waiters);
            }
            self.take_turns(storing.after);
        }
        Some(settled)
    }

    /// Tells those who wait for `event` what became of it.
    fn settle(&mut self, event: &NewEvent, inserted: Option<&Inserted>, waiters: Vec<u64>) {
        for (position, id) in waiters.into_iter().enumerate() {
            let Some(delivery) = self.deliveries.get_mut(&id) else {
                continue;
            };
            delivery.waiting -= 1;
            let waits = match inserted {
                Some(Inserted::Accepted(_)) => Some(event.message),
                Some(Inserted::Unpublished(first)) => Some(first.message),
                _ => None,
            };
            delivery
                .unpublished
                .extend(waits.filter(|_| self.lists_unpublished));
            match inserted {
                Some(Inserted::Accepted(_)) if position == 0 => {
                    _ = delivery.accepted.get_or_insert(event.message_id())
                }
                Some(Inserted::Accepted(_)) => {
                    _ = delivery.duplicate.get_or_insert(event.message_id())
                }
                Some(
                    Inserted::Duplicate(first)
                    | Inserted::Unpublished(first)
                    | Inserted::Conflict(first),
                ) => _ = delivery.duplicate.get_or_insert(first.message_id()),
                Some(Inserted::Refused(_)) => _ = delivery.failed.get_or_insert(FailReason::Row),
                Some(Inserted::Doubtful(_)) | None => {
                    _ = delivery.failed.get_or_insert(FailReason::Store)
                }
            }
            self.resolve_if_settled(id);
        }
    }

    /// Has `waiters` wait for `event`, which goes into the queue unless it is being stored.
    fn queue_or_join(&mut self, event: Arc<NewEvent>, waiters: Vec<u64>) {
        if self.store_or_join(event.clone(), waiters) == Joined::New {
            self.queue.push_back(vec![event]);
        }
    }

    /// As [`Self::queue_or_join`], for a caller that queues it.
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

    /// Events with the same key and other bodies: the first of them is stored next, those with its body join it, the rest wait again.
    fn take_turns(&mut self, after: Vec<(u64, Arc<NewEvent>)>) {
        for (id, event) in after {
            self.queue_or_join(event, vec![id]);
        }
    }

    /// Drops from the queues what nobody waits for any more: it was answered 503, and storing it would only take room from those that
    /// are still waiting.
    pub fn drop_abandoned(&mut self, abandoned: impl Fn(&T) -> bool) {
        // What `forget` queues anew comes last.
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
                let outcome = Outcome::Shed(ShedReason::DeadlineInQueue);
                let Delivery {
                    ticket, event_id, ..
                } = delivery;
                self.resolved.push(ResolvedDelivery {
                    ticket,
                    outcome,
                    event_id,
                    unpublished: Vec::new(),
                });
            }
        }
        self.take_turns(storing.after);
    }

    fn resolve_if_settled(&mut self, id: u64) {
        let Entry::Occupied(slot) = self.deliveries.entry(id) else {
            return;
        };
        if slot.get().waiting > 0 {
            return;
        }
        let delivery = slot.remove();
        let outcome = match (delivery.failed, delivery.accepted, delivery.duplicate) {
            (None, Some(id), _) => Outcome::Accepted { id },
            (None, None, Some(id)) => Outcome::Duplicate { id },
            (failed, _, _) => Outcome::Failed(failed.unwrap_or(FailReason::Dropped)),
        };
        let Delivery {
            ticket,
            event_id,
            unpublished,
            ..
        } = delivery;
        self.resolved.push(ResolvedDelivery {
            ticket,
            outcome,
            event_id,
            unpublished,
        });
    }

    /// The deliveries whose outcome became known since the last call.
    pub fn take_resolved(&mut self) -> Vec<ResolvedDelivery<T>> {
        std::mem::take(&mut self.resolved)
    }

    /// Nothing is queued or under way.
    pub fn is_idle(&self) -> bool {
        self.deliveries.is_empty()
    }
}

#[cfg(test)]
mod tests;
