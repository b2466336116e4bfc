//! Which events this instance has in memory, on their way into or out of the outbox, so that the relay takes only rows that nobody
//! works on.
//!
//! A hold is taken *before* the event's row is committed, and dropped after its row has left the outbox (or the hint was dropped, or
//! the commit failed). A row that the relay reads while its hold is being dropped would be published twice with no fault; therefore a
//! [`Sweep`] also remembers every hold dropped since it began, and must begin before the rows are read.
//!
//! Where senders wait for the queue (`server.respond_after = "published"`), their [receipts](Receipt) wait here as well: they are signed
//! when the queue has confirmed the event, and torn up when its hold is dropped before that.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::receipt::Receipt;
use crate::domain::delivery::MessageKey;

/// The set of events in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct InHand(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    now: HashMap<MessageKey, InMemory>,
    /// Dropped since the sweep under way began.
    dropped: Option<HashSet<MessageKey>>,
}

#[derive(Debug, Default)]
struct InMemory {
    /// The queue has confirmed it.
    published: bool,
    receipts: Vec<Receipt>,
}

impl Held {
    fn hold(&mut self, key: MessageKey) -> bool {
        match self.now.entry(key) {
            Entry::Occupied(_) => false,
            Entry::Vacant(slot) => {
                slot.insert(InMemory::default());
                true
            }
        }
    }
}

impl InHand {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the event with `key`, unless somebody in this process holds it already.
    pub fn hold(&self, key: MessageKey) -> Option<Hold> {
        self.held().hold(key).then(|| Hold {
            key,
            of: self.clone(),
        })
    }

    /// `receipt` is signed once the queue has confirmed the event with `key`, and torn up if nobody in this process has that in hand.
    pub fn expect(&self, key: &MessageKey, receipt: Receipt) {
        let mut held = self.held();
        match held.now.get_mut(key) {
            Some(event) if !event.published => event.receipts.push(receipt),
            Some(_) => {
                drop(held);
                receipt.sign();
            }
            None => drop(held),
        }
    }

    /// Tears up the receipts that nobody waits for any more, so that they give back their room.
    pub fn drop_abandoned(&self) {
        let mut abandoned = Vec::new();
        for event in self.held().now.values_mut() {
            abandoned.extend(
                event
                    .receipts
                    .extract_if(.., |receipt| receipt.is_abandoned()),
            );
        }
        // Torn up by their drop, outside of the lock.
        drop(abandoned);
    }

    /// Somebody in this process holds the event with `key`.
    pub fn has(&self, key: &MessageKey) -> bool {
        self.held().now.contains_key(key)
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.held().now.len()
    }

    /// None is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Begins a sweep; call this before the outbox is read. One at a time: the relay is one thread.
    pub fn sweep(&self) -> Sweep {
        self.held().dropped = Some(HashSet::new());
        Sweep(self.clone())
    }
}

/// One event in memory.
#[derive(Debug)]
pub struct Hold {
    key: MessageKey,
    of: InHand,
}

impl Hold {
    /// The queue has confirmed the event.
    pub fn published(&self) {
        let mut held = self.of.held();
        let Some(event) = held.now.get_mut(&self.key) else {
            return;
        };
        event.published = true;
        let receipts = std::mem::take(&mut event.receipts);
        drop(held);
        receipts.into_iter().for_each(Receipt::sign);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.of.held();
        let event = held.now.remove(&self.key);
        if let Some(dropped) = &mut held.dropped {
            dropped.insert(self.key);
        }
        drop(held);
        // Its receipts, if any are left, are torn up outside of the lock.
        drop(event);
    }
}

/// One pass of the relay over the outbox.
#[derive(Debug)]
pub struct Sweep(InHand);

impl Sweep {
    /// The row with `key` was read by this sweep: a hold on it if nobody has, or had since the sweep began, the event in memory.
    pub fn take(&self, key: MessageKey) -> Option<Hold> {
        let mut held = self.0.held();
        let was_in_hand = held
            .dropped
            .as_ref()
            .is_some_and(|dropped| dropped.contains(&key));
        (!was_in_hand && held.hold(key)).then(|| Hold {
            key,
            of: self.0.clone(),
        })
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.0.held().dropped = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{DedupKey, SourceName};

    fn key(n: u8) -> MessageKey {
        MessageKey::of(&DedupKey::new(
            &SourceName::parse("s").expect("a name"),
            "id",
            &[&[n]],
        ))
    }

    #[test]
    fn a_sweep_takes_only_what_nobody_had_since_it_began() {
        let in_hand = InHand::default();
        let held = in_hand.hold(key(1)).expect("free");
        let done = in_hand.hold(key(2)).expect("free");
        assert!(in_hand.hold(key(1)).is_none(), "held once");

        let sweep = in_hand.sweep();
        let late = in_hand.hold(key(3)).expect("free");
        drop((done, late));
        assert!(sweep.take(key(1)).is_none(), "still in memory");
        assert!(
            sweep.take(key(2)).is_none(),
            "its row may have been read before it left the outbox"
        );
        assert!(
            sweep.take(key(3)).is_none(),
            "taken and done during the sweep"
        );
        let left_over = sweep.take(key(4)).expect("nobody has it");
        assert!(sweep.take(key(4)).is_none(), "taken once");
        drop(sweep);

        let sweep = in_hand.sweep();
        assert!(
            sweep.take(key(2)).is_some(),
            "left over after all: its row is still there in the next sweep"
        );
        drop((held, left_over));
    }
}
