//! Events whose fate is known and that the store has not been told of yet: between the publisher actor, the settle thread, and dedup's
//! writers.
//!
//! What the queue has confirmed waits here for a moment, so that it can ride on the next transaction that stores new events: one commit in
//! place of two. Where none comes in time the settle thread tells it alone. How much waits is bounded by the publisher's budget.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::window::Settlement;
use crate::messages::PendingEvent;
use crate::store::Seq;

/// How long a confirmed event waits for a transaction to ride on: longer than the time between two batches where there is load. A crash
/// meanwhile means that it is published once more.
const PATIENCE: Duration = Duration::from_millis(10);
/// Confirmed events on one transaction: senders wait for its commit.
const RIDERS: usize = 512;

/// What the store is to be told; clones share it.
#[derive(Clone, Debug)]
pub struct Unsettled(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the settle thread.
    changed: Condvar,
    /// Tells the relay that there is room again.
    room: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Settlement,
    /// Since when the first of the confirmed ones waits.
    since: Option<Instant>,
    /// A transaction did not tell what rode on it. Whatever ails it shall not hold up what is settled, so the settle thread tells that
    /// before anything rides again.
    failed: bool,
    /// The settle thread sleeps until it is woken.
    sleeping: bool,
    closed: bool,
}

impl State {
    /// There is something that cannot ride on a commit, or nothing will come any more.
    fn is_urgent(&self) -> bool {
        self.closed
            || self.failed
            || !self.waiting.postponed.is_empty()
            || !self.waiting.parked.is_empty()
    }
}

impl Unsettled {
    /// Nothing yet. A message to `room` says that something was settled.
    pub(super) fn new(room: Sender<()>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            room,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store is to be told.
    pub(super) fn put(&self, settlement: Settlement) {
        let mut state = self.state();
        if !settlement.confirmed.is_empty() {
            state.since.get_or_insert_with(Instant::now);
        }
        state.waiting.confirmed.extend(settlement.confirmed);
        state.waiting.postponed.extend(settlement.postponed);
        state.waiting.parked.extend(settlement.parked);
        if state.sleeping || state.is_urgent() {
            self.0.changed.notify_one();
        }
    }

    /// Confirmed events for a transaction that is about to begin, those first that wait for longest.
    pub fn riders(&self) -> Riders {
        let mut state = self.state();
        let room = if state.failed { 0 } else { RIDERS };
        let confirmed = &mut state.waiting.confirmed;
        let events = confirmed.drain(..confirmed.len().min(room)).collect();
        if confirmed.is_empty() {
            state.since = None;
        }
        drop(state);
        Riders {
            events,
            of: self.clone(),
        }
    }

    /// What the settle thread has to tell: waits for it; none at the end.
    pub(super) fn next(&self) -> Option<Settlement> {
        let mut state = self.state();
        loop {
            let left = state
                .since
                .map(|since| PATIENCE.saturating_sub(since.elapsed()))
                .filter(|left| !left.is_zero());
            state = match left {
                Some(left) if !state.is_urgent() => {
                    self.0
                        .changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                _ if !state.waiting.is_empty() => {
                    (state.since, state.failed) = (None, false);
                    return Some(std::mem::take(&mut state.waiting));
                }
                _ if state.closed => return None,
                _ => {
                    state.sleeping = true;
                    let mut state = self
                        .0
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                    state.sleeping = false;
                    state
                }
            };
        }
    }

    /// The store was told of something.
    pub(super) fn settled(&self) {
        // Full means that the relay has been told already.
        let _ = self.0.room.try_send(());
    }

    /// Nothing comes any more: the settle thread works off what is here, and ends.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.0.changed.notify_one();
    }
}

/// Confirmed events on a transaction. Dropped without being told they wait for the settle thread.
#[derive(Debug)]
pub struct Riders {
    events: Vec<PendingEvent>,
    of: Unsettled,
}

impl Riders {
    /// Their rows.
    pub fn rows(&self) -> Vec<Seq> {
        self.events.iter().map(|event| event.row.seq).collect()
    }

    /// The transaction has committed, and their rows have left the outbox.
    pub fn told(mut self) {
        if !self.events.is_empty() {
            // With them go their holds, and their room in the publisher's budget.
            self.events.clear();
            self.of.settled();
        }
    }
}

impl Drop for Riders {
    fn drop(&mut self) {
        if !self.events.is_empty() {
            self.of.state().failed = true;
            self.of.put(Settlement {
                confirmed: std::mem::take(&mut self.events),
                ..Settlement::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_flight::Budget;
    use crate::publish::in_hand::InHand;
    use crate::publish::testing::{event, row};

    struct Rig {
        unsettled: Unsettled,
        in_hand: InHand,
        room: crossbeam_channel::Receiver<()>,
    }

    impl Rig {
        fn new() -> Self {
            let (sender, room) = crossbeam_channel::bounded(1);
            Self {
                unsettled: Unsettled::new(sender),
                in_hand: InHand::default(),
                room,
            }
        }

        fn confirm(&self, seqs: std::ops::Range<i64>) {
            let confirmed = seqs.map(|seq| self.event(seq)).collect();
            self.unsettled.put(Settlement {
                confirmed,
                ..Settlement::default()
            });
        }

        fn event(&self, seq: i64) -> PendingEvent {
            let row = row(seq, event("s", &seq.to_string(), b"x"));
            let hold = self.in_hand.hold(row.event.message).expect("new");
            PendingEvent {
                row,
                hold,
                permit: Budget::new(1, 1).reserve(1, 1).expect("room"),
            }
        }
    }

    #[test]
    fn what_is_confirmed_rides_on_a_commit_and_is_held_until_then() {
        let rig = Rig::new();
        rig.confirm(0..3);
        let riders = rig.unsettled.riders();
        assert_eq!(riders.rows(), [Seq(0), Seq(1), Seq(2)]);
        assert!(
            rig.unsettled.riders().rows().is_empty(),
            "nobody else tells the store of them meanwhile"
        );
        assert_eq!(rig.in_hand.len(), 3);
        riders.told();
        assert!(rig.in_hand.is_empty());
        assert!(rig.room.try_recv().is_ok(), "the relay hears of it");
    }

    #[test]
    fn what_a_failed_commit_did_not_tell_is_told_by_the_settle_thread() {
        let rig = Rig::new();
        rig.confirm(0..RIDERS as i64 + 1);
        drop(rig.unsettled.riders());
        assert_eq!(rig.in_hand.len(), RIDERS + 1, "none is forgotten");
        assert!(
            rig.unsettled.riders().rows().is_empty(),
            "they do not ride on one commit after the other that fails"
        );
        assert_eq!(
            rig.unsettled.next().expect("not closed").confirmed.len(),
            RIDERS + 1
        );
        rig.confirm(RIDERS as i64 + 1..RIDERS as i64 + 2);
        assert_eq!(rig.unsettled.riders().rows().len(), 1, "later ones may");
    }

    #[test]
    fn what_cannot_ride_is_told_at_once_and_the_end_leaves_nothing_behind() {
        let rig = Rig::new();
        rig.confirm(0..1);
        rig.unsettled.put(Settlement {
            postponed: vec![(rig.event(1), Duration::ZERO)],
            ..Settlement::default()
        });
        let told = rig.unsettled.next().expect("not closed");
        assert_eq!((told.confirmed.len(), told.postponed.len()), (1, 1));

        let unsettled = rig.unsettled.clone();
        let thread = std::thread::spawn(move || {
            std::iter::from_fn(|| unsettled.next())
                .map(|told| told.confirmed.len())
                .sum::<usize>()
        });
        rig.confirm(2..5);
        rig.unsettled.close();
        assert_eq!(thread.join().expect("no panic"), 3);
    }
}
