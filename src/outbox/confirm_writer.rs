//! The confirm writer: a thread that records in the store the results that no insert transaction
//! has taken along ([`PendingConfirms`]).
//!
//! An event's guard is dropped only after the store has recorded the result. A row is therefore
//! never published again because the store was away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::{ConfirmBatch, PendingConfirms, PendingEvent};
use crate::domain::sink::SinkName;
use crate::domain::text::one_line;
use crate::faults::points::failpoint;
use crate::runtime::backoff::Backoff;
use crate::store::{Outbox, Seq, StoreError};
use crate::telemetry::Metrics;

/// Most rows in one statement.
const ROWS: usize = 4096;
/// Shortest and longest delay between two attempts while the store is away.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// The thread's state.
pub(crate) struct ConfirmWriter {
    pub(crate) sink: SinkName,
    pub(crate) store: Arc<dyn Outbox>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) confirms: PendingConfirms,
    /// Closed at the end of a stop. Rows that the store does not take then stay in the outbox.
    pub(crate) give_up: Receiver<()>,
    pub(crate) failing: bool,
}

impl ConfirmWriter {
    /// Records results until [`PendingConfirms::close`].
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.confirms.next() {
            self.record(batch);
            self.confirms.notify_relay();
        }
    }

    fn record(&mut self, mut batch: ConfirmBatch) {
        failpoint!("confirm_writer_before");
        let sink = self.sink.clone();
        if self.mark(&batch.confirmed, |store, rows| store.confirmed(&sink, rows)) {
            let confirmed = batch.confirmed.iter_mut();
            confirmed.for_each(PendingEvent::is_recorded);
        }
        failpoint!("confirm_writer_after");
        drop(batch.confirmed);

        let mut by_delay: BTreeMap<Duration, Vec<PendingEvent>> = BTreeMap::new();
        for (event, delay) in batch.postponed {
            by_delay.entry(delay).or_default().push(event);
        }
        for (delay, events) in by_delay {
            self.mark(&events, |store, rows| store.postpone(&sink, rows, delay));
        }
        for (event, why) in batch.parked {
            self.park(event, &one_line(&why));
        }
    }

    fn park(&mut self, event: PendingEvent, why: &str) {
        let stored = &event.row.event;
        tracing::error!(
            source = %stored.source, event_id = %stored.event_id, message_id = %stored.message_id(), sink = %self.sink,
            "event parked, the sink refuses it for good: {why}; other events go on. \
             `hookweir parked retry` publishes it again"
        );
        let sink = self.sink.clone();
        if self.mark(&[event], |store, rows| {
            rows.iter().try_for_each(|row| store.park(&sink, *row, why))
        }) {
            self.metrics.parked.inc();
        }
    }

    /// Calls the store until it has recorded all of `events`. Returns `false` if that was given up.
    fn mark(
        &mut self,
        events: &[PendingEvent],
        call: impl Fn(&dyn Outbox, &[Seq]) -> Result<(), StoreError>,
    ) -> bool {
        let rows: Vec<Seq> = events.iter().map(|event| event.row.seq).collect();
        rows.chunks(ROWS)
            .all(|rows| self.until_done(|store| call(store, rows)))
    }

    fn until_done(&mut self, call: impl Fn(&dyn Outbox) -> Result<(), StoreError>) -> bool {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        loop {
            match call(&*self.store) {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("the store records results of publishing again");
                    }
                    return true;
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(
                            "cannot record results of publishing in the store: {error}; \
                             the events stay in memory, retrying until the store is back"
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
