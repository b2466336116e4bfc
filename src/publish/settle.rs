//! The thread that tells the store what became of the rows, but for those whose confirm has gone along with a commit of new events
//! ([`Unsettled`]). A hold is dropped only after the store has taken it in, so that a row is never published again because the *store* was
//! away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::backoff::Backoff;
use super::unsettled::Unsettled;
use super::window::{Settlement, tidy};
use crate::faults::failpoint::failpoint;
use crate::messages::PendingEvent;
use crate::store::{Seq, Store, StoreError};
use crate::telemetry::Metrics;

/// Rows told in one call.
const ROWS: usize = 4096;
/// Delay between two calls while the store is away, from the first to the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// What the thread works with.
pub(super) struct Settler {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) unsettled: Unsettled,
    /// Closed when what the store does not take now is to be left in the outbox.
    pub(super) give_up: Receiver<()>,
    pub(super) failing: bool,
}

impl Settler {
    /// Works until nothing comes any more.
    pub(super) fn run(mut self) {
        while let Some(settlement) = self.unsettled.next() {
            self.settle(settlement);
            self.unsettled.settled();
        }
    }

    fn settle(&mut self, settlement: Settlement) {
        failpoint!("settle_before");
        self.tell(&settlement.confirmed, |store, rows| store.confirmed(rows));
        failpoint!("settle_after");
        drop(settlement.confirmed);

        let mut by_delay: BTreeMap<Duration, Vec<PendingEvent>> = BTreeMap::new();
        for (event, delay) in settlement.postponed {
            by_delay.entry(delay).or_default().push(event);
        }
        for (delay, events) in by_delay {
            self.tell(&events, |store, rows| store.postpone(rows, delay));
        }

        for (event, why) in settlement.parked {
            let why = tidy(&why);
            let row = &event.row;
            tracing::error!(
                source = %row.event.source, event_id = %row.event.event_id, message_id = %row.event.message_id(),
                "an event can never be published and is kept in \"parked\": {why}"
            );
            if self.tell(&[event], |store, rows| {
                rows.iter().try_for_each(|row| store.park(*row, &why))
            }) {
                self.metrics.parked.inc();
            }
        }
    }

    /// Calls until the store has taken it in; false if that was given up.
    fn tell(
        &mut self,
        events: &[PendingEvent],
        call: impl Fn(&dyn Store, &[Seq]) -> Result<(), StoreError>,
    ) -> bool {
        let rows: Vec<Seq> = events.iter().map(|event| event.row.seq).collect();
        rows.chunks(ROWS)
            .all(|rows| self.until_done(|store| call(store, rows)))
    }

    fn until_done(&mut self, call: impl Fn(&dyn Store) -> Result<(), StoreError>) -> bool {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            match call(&*self.store) {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the store takes in what became of published events again");
                    }
                    return true;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(
                            "cannot tell the store what became of published events, trying on: {error}"
                        );
                    }
                }
            }
            if self.give_up.recv_timeout(backoff.delay()) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
        }
    }
}
