//! Which events this instance has in memory, on their way into or out of the outbox, so that the relay takes only rows that nobody
//! works on.
//!
//! A hold is taken *before* the event's row is committed, and dropped after its row has left the outbox (or the hint was dropped, or
//! the commit failed). A row that the relay reads while its hold is being dropped would be published twice with no fault; therefore a
//! [`Sweep`] also remembers every hold dropped since it began, and must begin before the rows are read.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::delivery::DedupKey;

/// The set of events in memory; clones share it.
#[derive(Clone, Debug, Default)]
pub struct InHand(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    now: HashSet<DedupKey>,
    /// Dropped since the sweep under way began.
    dropped: Option<HashSet<DedupKey>>,
}

impl InHand {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds the event with `key`, unless somebody in this process holds it already.
    pub fn hold(&self, key: DedupKey) -> Option<Hold> {
        self.held().now.insert(key).then(|| Hold { key, of: self.clone() })
    }

    /// Somebody in this process holds the event with `key`.
    pub fn has(&self, key: &DedupKey) -> bool {
        self.held().now.contains(key)
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
    key: DedupKey,
    of: InHand,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.of.held();
        held.now.remove(&self.key);
        if let Some(dropped) = &mut held.dropped {
            dropped.insert(self.key);
        }
    }
}

/// One pass of the relay over the outbox.
#[derive(Debug)]
pub struct Sweep(InHand);

impl Sweep {
    /// The row with `key` was read by this sweep: a hold on it if nobody has, or had since the sweep began, the event in memory.
    pub fn take(&self, key: DedupKey) -> Option<Hold> {
        let mut held = self.0.held();
        let was_in_hand = held.dropped.as_ref().is_some_and(|dropped| dropped.contains(&key));
        (!was_in_hand && held.now.insert(key)).then(|| Hold { key, of: self.0.clone() })
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
    use crate::delivery::SourceName;

    fn key(n: u8) -> DedupKey {
        DedupKey::new(&SourceName::parse("s").expect("a name"), "id", &[&[n]])
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
        assert!(sweep.take(key(2)).is_none(), "its row may have been read before it left the outbox");
        assert!(sweep.take(key(3)).is_none(), "taken and done during the sweep");
        let left_over = sweep.take(key(4)).expect("nobody has it");
        assert!(sweep.take(key(4)).is_none(), "taken once");
        drop(sweep);

        let sweep = in_hand.sweep();
        assert!(sweep.take(key(2)).is_some(), "left over after all: its row is still there in the next sweep");
        drop((held, left_over));
    }
}
