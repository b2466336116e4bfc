//! Results that are not yet recorded in the store: between the publisher, the confirm writer, and
//! the writers of new events.
//!
//! A writer takes up to 512 confirms into its next insert transaction, which saves a commit.
//! Confirms older than 10 ms, and all postponed or parked events, are recorded by the confirm
//! writer in a transaction of its own. If the process dies first, the events are published again
//! with the same message id. The publisher's budget bounds the number of events here.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use super::PendingEvent;
use crate::store::Seq;

/// Longest time that a confirm waits for an insert transaction. Under load, batches follow each
/// other faster.
const PIGGYBACK_WAIT: Duration = Duration::from_millis(10);
/// Most confirms in one insert transaction: senders wait for its commit.
const MAX_PIGGYBACKED: usize = 512;

/// Results of publishing, to be recorded in the store.
#[derive(Debug, Default)]
pub struct ConfirmBatch {
    /// Events to remove from the outbox.
    pub confirmed: Vec<PendingEvent>,
    /// Events to retry, each after a delay.
    pub postponed: Vec<(PendingEvent, Duration)>,
    /// Events to park, each with the reason.
    pub parked: Vec<(PendingEvent, String)>,
}

impl ConfirmBatch {
    /// Returns `true` if there is nothing to record.
    pub fn is_empty(&self) -> bool {
        self.confirmed.is_empty() && self.postponed.is_empty() && self.parked.is_empty()
    }
}

/// Results that are not yet recorded. Clones share them.
#[derive(Clone, Debug)]
pub struct PendingConfirms(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Wakes the confirm writer.
    changed: Condvar,
    /// Wakes the relay when there is room again.
    room: Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    waiting: ConfirmBatch,
    /// Time at which the oldest of the confirms arrived.
    since: Option<Instant>,
    /// An insert transaction failed to record its piggybacked confirms. They must not delay other
    /// confirms, so the confirm writer records them before any are piggybacked again.
    failed: bool,
    /// The confirm writer sleeps until it is woken.
    sleeping: bool,
    closed: bool,
}

impl State {
    /// Returns `true` if the confirm writer must not wait for an insert transaction.
    fn is_urgent(&self) -> bool {
        self.closed
            || self.failed
            || !self.waiting.postponed.is_empty()
            || !self.waiting.parked.is_empty()
    }
}

impl PendingConfirms {
    /// Returns an empty set. Each recorded batch sends a message to `room`.
    pub fn new(room: Sender<()>) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            room,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds results of the sink.
    pub(crate) fn put(&self, batch: ConfirmBatch) {
        let mut state = self.state();
        if !batch.confirmed.is_empty() {
            state.since.get_or_insert_with(Instant::now);
        }
        state.waiting.confirmed.extend(batch.confirmed);
        state.waiting.postponed.extend(batch.postponed);
        state.waiting.parked.extend(batch.parked);
        if state.sleeping || state.is_urgent() {
            self.0.changed.notify_one();
        }
    }

    /// Returns the number of confirms that are not recorded yet.
    pub fn waiting(&self) -> usize {
        self.state().waiting.confirmed.len()
    }

    /// Returns confirms to record in the insert transaction that is about to begin, oldest first.
    pub fn piggyback(&self) -> PiggybackedConfirms {
        let mut state = self.state();
        let most = if state.failed { 0 } else { MAX_PIGGYBACKED };
        let confirmed = &mut state.waiting.confirmed;
        let events = confirmed.drain(..confirmed.len().min(most)).collect();
        if confirmed.is_empty() {
            state.since = None;
        }
        drop(state);
        PiggybackedConfirms {
            events,
            origin: self.clone(),
        }
    }

    /// Waits for results that the confirm writer has to record. Returns None after [`Self::close`].
    pub(super) fn next(&self) -> Option<ConfirmBatch> {
        let mut state = self.state();
        loop {
            let left = state
                .since
                .map(|since| PIGGYBACK_WAIT.saturating_sub(since.elapsed()))
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

    /// Tells the relay that results were recorded, so that there may be room.
    pub(super) fn notify_relay(&self) {
        // If the channel is full, the relay was told already.
        let _ = self.0.room.try_send(());
    }

    /// Ends the input. The confirm writer records the rest, and ends.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.0.changed.notify_one();
    }
}

/// Confirms that are recorded in an insert transaction. If they are dropped without
/// [`Self::mark_confirmed`], the confirm writer records them.
#[derive(Debug)]
pub struct PiggybackedConfirms {
    events: Vec<PendingEvent>,
    origin: PendingConfirms,
}

impl PiggybackedConfirms {
    /// Returns their outbox rows.
    pub fn rows(&self) -> Vec<Seq> {
        self.events.iter().map(|event| event.row.seq).collect()
    }

    /// Forgets the events after the transaction has removed their rows from the outbox.
    pub fn mark_confirmed(mut self) {
        if !self.events.is_empty() {
            self.events.iter_mut().for_each(PendingEvent::is_recorded);
            // With the events go their guards, and their room in the publisher's budget.
            self.events.clear();
            self.origin.notify_relay();
        }
    }
}

impl Drop for PiggybackedConfirms {
    fn drop(&mut self) {
        if !self.events.is_empty() {
            self.origin.state().failed = true;
            self.origin.put(ConfirmBatch {
                confirmed: std::mem::take(&mut self.events),
                ..ConfirmBatch::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::in_flight::Budget;
    use crate::outbox::InFlightEvents;
    use crate::outbox::testing::{event, row};

    struct Rig {
        confirms: PendingConfirms,
        in_flight: InFlightEvents,
        room: crossbeam_channel::Receiver<()>,
    }

    impl Rig {
        fn new() -> Self {
            let (sender, room) = crossbeam_channel::bounded(1);
            Self {
                confirms: PendingConfirms::new(sender),
                in_flight: InFlightEvents::default(),
                room,
            }
        }

        fn confirm(&self, seqs: std::ops::Range<i64>) {
            let confirmed = seqs.map(|seq| self.event(seq)).collect();
            self.confirms.put(ConfirmBatch {
                confirmed,
                ..ConfirmBatch::default()
            });
        }

        fn event(&self, seq: i64) -> PendingEvent {
            let row = row(seq, event("s", &seq.to_string(), b"x"));
            let guard = self.in_flight.begin(row.event.message).expect("new");
            PendingEvent {
                row,
                guard,
                permit: Budget::new(1, 1).reserve(1, 1).expect("room"),
                in_order: None,
                confirm: None,
            }
        }
    }

    #[test]
    fn piggybacked_confirms_stay_in_flight_until_the_commit() {
        let rig = Rig::new();
        rig.confirm(0..3);
        let confirms = rig.confirms.piggyback();
        assert_eq!(confirms.rows(), [Seq(0), Seq(1), Seq(2)]);
        assert!(
            rig.confirms.piggyback().rows().is_empty(),
            "they are in one transaction only"
        );
        assert_eq!(rig.in_flight.len(), 3);
        confirms.mark_confirmed();
        assert!(rig.in_flight.is_empty());
        assert!(rig.room.try_recv().is_ok(), "the relay hears of it");
    }

    #[test]
    fn confirms_of_a_failed_commit_are_recorded_by_the_confirm_writer() {
        let rig = Rig::new();
        rig.confirm(0..MAX_PIGGYBACKED as i64 + 1);
        drop(rig.confirms.piggyback());
        assert_eq!(
            rig.in_flight.len(),
            MAX_PIGGYBACKED + 1,
            "none is forgotten"
        );
        assert!(
            rig.confirms.piggyback().rows().is_empty(),
            "they are not in one failing commit after the other"
        );
        assert_eq!(
            rig.confirms.next().expect("not closed").confirmed.len(),
            MAX_PIGGYBACKED + 1
        );
        rig.confirm(MAX_PIGGYBACKED as i64 + 1..MAX_PIGGYBACKED as i64 + 2);
        assert_eq!(rig.confirms.piggyback().rows().len(), 1, "later ones may");
    }

    #[test]
    fn postponed_events_are_recorded_at_once_and_the_end_leaves_nothing_behind() {
        let rig = Rig::new();
        rig.confirm(0..1);
        rig.confirms.put(ConfirmBatch {
            postponed: vec![(rig.event(1), Duration::ZERO)],
            ..ConfirmBatch::default()
        });
        let batch = rig.confirms.next().expect("not closed");
        assert_eq!((batch.confirmed.len(), batch.postponed.len()), (1, 1));

        let confirms = rig.confirms.clone();
        let thread = std::thread::spawn(move || {
            std::iter::from_fn(|| confirms.next())
                .map(|batch| batch.confirmed.len())
                .sum::<usize>()
        });
        rig.confirm(2..5);
        rig.confirms.close();
        assert_eq!(thread.join().expect("no panic"), 3);
    }
}
