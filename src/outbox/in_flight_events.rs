//! Events that this process has in memory, on their way into or out of the outbox. The relay leaves
//! them alone.
//!
//! An [`InFlightGuard`] is taken before the event's row is committed. It is dropped after the row
//! has left the outbox, or when the commit failed or the hint was dropped. If the relay reads a row
//! while its guard is being dropped, the event would be published twice without any fault. A
//! [`RelayScan`] therefore begins before the rows are read, and remembers every guard dropped since
//! then.
//!
//! With `server.respond_after = "published"`, the [`PublishWaiter`]s of the senders are kept here
//! too. They resolve when the sink has confirmed the event, and fail if its guard is dropped before
//! that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PublishWaiter;
use crate::domain::delivery::MessageKey;
use crate::store::InMemory;

/// Set of the events in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct InFlightEvents(Arc<Mutex<Tracked>>);

#[derive(Debug, Default)]
struct Tracked {
    events: HashMap<MessageKey, InFlightEvent>,
    /// Keys of the guards dropped since the current scan began. None outside of a scan.
    dropped: Option<HashSet<MessageKey>>,
}

#[derive(Debug, Default)]
struct InFlightEvent {
    /// The sink has confirmed the event.
    published: bool,
    waiters: Vec<PublishWaiter>,
}

impl Tracked {
    fn add(&mut self, key: MessageKey) -> bool {
        match self.events.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(slot) => {
                slot.insert(InFlightEvent::default());
                true
            }
        }
    }
}

impl InFlightEvents {
    fn tracked(&self) -> MutexGuard<'_, Tracked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a guard for the event with `key`, unless this process has one already.
    pub fn begin(&self, key: MessageKey) -> Option<InFlightGuard> {
        self.tracked().add(key).then(|| InFlightGuard {
            key,
            set: self.clone(),
        })
    }

    /// Adds a waiter for the event with `key`. The waiter resolves at once if the event is
    /// published, and fails at once if the event is not in flight in this process.
    pub fn add_waiter(&self, key: &MessageKey, waiter: PublishWaiter) {
        let mut tracked = self.tracked();
        match tracked.events.get_mut(key) {
            Some(event) if !event.published => event.waiters.push(waiter),
            Some(_) => {
                drop(tracked);
                waiter.resolve();
            }
            None => drop(tracked),
        }
    }

    /// Fails the waiters whose senders have gone away, so that they give back their room.
    pub fn drop_abandoned(&self) {
        let mut abandoned = Vec::new();
        for event in self.tracked().events.values_mut() {
            abandoned.extend(event.waiters.extract_if(.., |waiter| waiter.is_abandoned()));
        }
        // Outside of the lock.
        drop(abandoned);
    }

    /// Returns `true` if the event with `key` is in flight.
    pub fn contains(&self, key: &MessageKey) -> bool {
        self.tracked().events.contains_key(key)
    }

    /// Returns the state of the event with `key`.
    pub fn state(&self, key: &MessageKey) -> InMemory {
        match self.tracked().events.get(key) {
            None => InMemory::No,
            Some(event) if event.published => InMemory::Published,
            Some(_) => InMemory::Waits,
        }
    }

    /// Returns the number of events in flight.
    pub fn len(&self) -> usize {
        self.tracked().events.len()
    }

    /// Returns `true` if no event is in flight.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins a scan of the outbox. Call it before the rows are read. One scan runs at a time: the
    /// relay is one thread.
    pub fn begin_scan(&self) -> RelayScan {
        self.tracked().dropped = Some(HashSet::new());
        RelayScan(self.clone())
    }
}

/// Membership of one event in [`InFlightEvents`]. Dropping it removes the event, and fails its
/// waiters.
#[derive(Debug)]
pub struct InFlightGuard {
    key: MessageKey,
    set: InFlightEvents,
}

impl InFlightGuard {
    /// Resolves the waiters of the event: the sink has confirmed it.
    pub fn mark_published(&self) {
        let mut tracked = self.set.tracked();
        let Some(event) = tracked.events.get_mut(&self.key) else {
            return;
        };
        event.published = true;
        let waiters = std::mem::take(&mut event.waiters);
        drop(tracked);
        waiters.into_iter().for_each(PublishWaiter::resolve);
    }
}

impl Drop for InFlightGuard {
    fn drop(&mut self) {
        let mut tracked = self.set.tracked();
        let event = tracked.events.remove(&self.key);
        if let Some(dropped) = &mut tracked.dropped {
            dropped.insert(self.key);
        }
        drop(tracked);
        // Waiters that are left fail outside of the lock.
        drop(event);
    }
}

/// One pass of the relay over the outbox.
#[derive(Debug)]
pub struct RelayScan(InFlightEvents);

impl RelayScan {
    /// Returns a guard for a row that this scan has read, unless its event is in flight or was in
    /// flight since the scan began.
    pub fn claim(&self, key: MessageKey) -> Option<InFlightGuard> {
        let mut tracked = self.0.tracked();
        let was_in_flight = tracked
            .dropped
            .as_ref()
            .is_some_and(|dropped| dropped.contains(&key));
        (!was_in_flight && tracked.add(key)).then(|| InFlightGuard {
            key,
            set: self.0.clone(),
        })
    }
}

impl Drop for RelayScan {
    fn drop(&mut self) {
        self.0.tracked().dropped = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::testing::key;

    #[test]
    fn a_scan_claims_only_events_that_were_not_in_flight_since_it_began() {
        let in_flight = InFlightEvents::default();
        let held = in_flight.begin(key(1)).expect("free");
        let done = in_flight.begin(key(2)).expect("free");
        assert!(in_flight.begin(key(1)).is_none(), "one guard for an event");

        let scan = in_flight.begin_scan();
        let late = in_flight.begin(key(3)).expect("free");
        drop((done, late));
        assert!(scan.claim(key(1)).is_none(), "still in memory");
        assert!(
            scan.claim(key(2)).is_none(),
            "its row may have been read before it left the outbox"
        );
        assert!(
            scan.claim(key(3)).is_none(),
            "begun and done during the scan"
        );
        let left_over = scan.claim(key(4)).expect("not in memory");
        assert!(scan.claim(key(4)).is_none(), "claimed once");
        drop(scan);

        let scan = in_flight.begin_scan();
        assert!(
            scan.claim(key(2)).is_some(),
            "left over after all: its row is still there in the next scan"
        );
        drop((held, left_over));
    }
}
