//! Pure core of the publisher: fills batches, and decides what follows from each result.
//!
//! - A publish task has one batch under way. Batches are filled in the order of arrival, up to a
//!   count and a number of bytes.
//! - An event with an unknown result is tried again at once, and the second time alone. So a
//!   message that breaks its channel is found, and its neighbours pass. After the third failure it
//!   is postponed.
//! - An event that is refused for good when alone is tried once more, and then parked.
//! - An event that is unroutable, or refused for now, is postponed at once. So a source with a full
//!   queue does not fill the window. A postponed event leaves memory. It is due again after a delay
//!   that doubles with each attempt, and the relay finds it.
//! - Events that must go alone take turns with batches, so that neither delays the other.
//! - Of an ordered sink, one event of a key is queued or under way at a time. The later ones wait
//!   behind it until it is confirmed. If it is postponed or parked, they leave memory; the relay finds
//!   them after it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::envelope::{Message, MessageOptions};
use super::sinks::PublishResult;
use crate::domain::event_order::OrderKey;
use crate::faults::mutants::Mutant;
use crate::outbox::{ConfirmBatch, PendingEvent};
use crate::store::{InOrder, Seq};

/// Failures for an unknown reason before an event is postponed.
const MAX_TRIES: u32 = 3;
/// Refusals of an event alone before it is parked.
const MAX_REFUSALS: u32 = 2;

/// Bounds and delays of a window.
#[derive(Clone, Copy, Debug)]
pub struct WindowLimits {
    /// Number of publish tasks.
    pub tasks: usize,
    /// Most events in one batch.
    pub batch_events: usize,
    /// Most bytes of bodies in one batch. A larger event goes alone.
    pub batch_bytes: usize,
    /// Delay after the first failed attempt.
    pub retry_min: Duration,
    /// Longest delay.
    pub retry_max: Duration,
}

impl WindowLimits {
    /// Returns the delay of a row that failed now, and `attempts` times before.
    fn delay(&self, attempts: u32) -> Duration {
        self.retry_min
            .saturating_mul(2u32.saturating_pow(attempts))
            .min(self.retry_max)
    }
}

/// Events to publish, and those under way.
#[derive(Debug)]
pub struct Window {
    limits: WindowLimits,
    queue: VecDeque<Item>,
    alone: VecDeque<Item>,
    alone_had_its_turn: bool,
    under_way: Vec<Option<Vec<Item>>>,
    /// Keys of an ordered sink with an event that is queued or under way.
    keys: HashMap<OrderKey, KeyQueue>,
}

/// Events of one key that wait for the one in front of them.
#[derive(Debug)]
struct KeyQueue {
    waiting: VecDeque<PendingEvent>,
    /// The last event of the key in memory.
    last: Seq,
}

#[derive(Debug)]
struct Item {
    event: PendingEvent,
    /// Number of batches with this event that failed for an unknown reason.
    tries: u32,
    /// Number of refusals of the event alone.
    refusals: u32,
}

impl Item {
    fn new(event: PendingEvent) -> Self {
        Self {
            event,
            tries: 0,
            refusals: 0,
        }
    }

    fn key(&self) -> Option<OrderKey> {
        self.event.in_order.map(|place| place.key)
    }
}

impl Window {
    /// Returns an empty window.
    pub fn new(limits: WindowLimits) -> Self {
        let under_way = (0..limits.tasks).map(|_| None).collect();
        Self {
            limits,
            queue: VecDeque::new(),
            alone: VecDeque::new(),
            alone_had_its_turn: false,
            under_way,
            keys: HashMap::new(),
        }
    }

    /// Adds an event. An event with a key waits for those of its key that are in memory. If the one
    /// before it has left memory, the event leaves too: nothing tells here how that one ended.
    pub fn push(&mut self, event: PendingEvent) {
        if let Some(InOrder { key, after }) = event.in_order {
            let last = event.row.seq;
            match self.keys.entry(key) {
                Entry::Vacant(place) if after.is_none() => {
                    let waiting = VecDeque::new();
                    place.insert(KeyQueue { waiting, last });
                }
                Entry::Occupied(mut queue) if after == Some(queue.get().last) => {
                    let queue = queue.get_mut();
                    queue.last = last;
                    queue.waiting.push_back(event);
                    return;
                }
                _ => return,
            }
        }
        self.queue.push_back(Item::new(event));
    }

    /// Ends an event of a key: the next one goes if it was confirmed, else all of them leave memory.
    fn end(&mut self, key: Option<OrderKey>, confirmed: bool) {
        let Some(key) = key else { return };
        let next = self
            .keys
            .get_mut(&key)
            .and_then(|queue| queue.waiting.pop_front());
        match next {
            Some(next) if confirmed => self.queue.push_back(Item::new(next)),
            _ => drop(self.keys.remove(&key)),
        }
    }

    /// Returns the number of tasks with a batch under way.
    pub fn busy_tasks(&self) -> usize {
        self.under_way.iter().flatten().count()
    }

    /// Returns the next batch, and the free task for it.
    pub fn next_batch(&mut self, options: &MessageOptions) -> Option<(usize, Vec<Message>)> {
        let task = self.under_way.iter().position(Option::is_none)?;
        let alone_now =
            !self.alone.is_empty() && (self.queue.is_empty() || !self.alone_had_its_turn);
        self.alone_had_its_turn = alone_now;
        let batch: Vec<Item> = if alone_now && Mutant::SharedBatch.is_on() {
            self.alone.drain(..).collect()
        } else if alone_now {
            self.alone.pop_front().into_iter().collect()
        } else {
            self.fill()
        };
        if batch.is_empty() {
            return None;
        }
        let messages = batch
            .iter()
            .map(|item| options.message(&item.event.row, item.tries + item.refusals))
            .collect();
        self.under_way[task] = Some(batch);
        Some((task, messages))
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

    /// Forgets the events that are not under way: another instance owns their rows by now, or the sink is
    /// paused.
    pub fn give_up(&mut self) {
        let queued = self.queue.drain(..).chain(self.alone.drain(..));
        for key in queued.filter_map(|item| item.key()).collect::<Vec<_>>() {
            self.keys.remove(&key);
        }
        for queue in self.keys.values_mut() {
            // The first one is under way, and nothing may be behind it any more.
            queue.waiting.clear();
            queue.last = Seq(i64::MIN);
        }
    }

    /// Forgets the batch of `task`, which was not sent.
    pub fn give_up_batch(&mut self, task: usize) {
        let batch = self.under_way.get_mut(task).and_then(Option::take);
        for item in batch.into_iter().flatten() {
            self.end(item.key(), false);
        }
    }

    /// Ends the batch of `task`. `results` has one entry for each of its messages, in order. A
    /// missing entry counts as unknown.
    pub fn finished(&mut self, task: usize, results: Vec<PublishResult>) -> ConfirmBatch {
        let mut to_record = ConfirmBatch::default();
        let Some(batch) = self.under_way.get_mut(task).and_then(Option::take) else {
            return to_record;
        };
        let alone = batch.len() == 1 || Mutant::SharedBatch.is_on();
        let mut results = results.into_iter();
        let mut again = Vec::new();
        for mut item in batch {
            let key = item.key();
            match results.next().unwrap_or_else(no_result) {
                PublishResult::Confirmed => {
                    to_record.confirmed.push(item.event);
                    self.end(key, true);
                }
                PublishResult::Unroutable(_) | PublishResult::Nacked(_) => {
                    self.postpone(&mut to_record, item);
                }
                PublishResult::Unknown(_) => {
                    item.tries += 1;
                    match item.tries {
                        MAX_TRIES.. => self.postpone(&mut to_record, item),
                        2.. => self.alone.push_back(item),
                        _ => again.push(item),
                    }
                }
                PublishResult::Refused(why) => {
                    item.refusals += u32::from(alone);
                    if item.refusals < MAX_REFUSALS {
                        self.alone.push_back(item);
                    } else {
                        to_record.parked.push((item.event, why));
                        self.end(key, false);
                    }
                }
            }
        }
        for item in again.into_iter().rev() {
            self.queue.push_front(item);
        }
        to_record
    }

    fn postpone(&mut self, to_record: &mut ConfirmBatch, item: Item) {
        let delay = self.limits.delay(item.event.row.attempts);
        self.end(item.key(), false);
        to_record.postponed.push((item.event, delay));
    }
}

fn no_result() -> PublishResult {
    PublishResult::Unknown("the publish task gave no answer".to_owned())
}

#[cfg(test)]
mod tests;
