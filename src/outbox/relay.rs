//! The relay: a thread that finds the outbox rows that are in nobody's memory, and sends them to
//! the publisher.
//!
//! A crash, an outage, an ambiguous commit or a full mailbox leaves such rows. The relay has a
//! budget of its own, so that neither a backlog nor a flood of new events can starve the other.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select};

use super::{MayPublish, Pending, PendingEvent, SinkHealth, SinkOutbox};
use crate::domain::delivery::InstanceId;
use crate::faults::mutants::Mutant;
use crate::in_flight::Budget;
use crate::runtime::backoff::Backoff;
use crate::store::{Outbox, Room, StoreError};
use crate::telemetry::Metrics;

/// The thread's state.
pub(crate) struct Relay {
    pub(crate) outbox: SinkOutbox,
    pub(crate) store: Arc<dyn Outbox>,
    pub(crate) instance: InstanceId,
    pub(crate) health: SinkHealth,
    pub(crate) may_publish: MayPublish,
    /// Room for rows that the relay has found.
    pub(crate) budget: Arc<Budget>,
    /// Size of `budget`.
    pub(crate) max: Room,
    pub(crate) interval: Duration,
    pub(crate) metrics: Arc<Metrics>,
    /// Receives a message after results were recorded: there may be room.
    pub(crate) room: Receiver<()>,
    /// Closed at the end.
    pub(crate) stop: Receiver<()>,
}

/// Result of one scan of the outbox.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// All rows that were due fitted into the budget.
    Whole,
    /// The budget was used up.
    Full,
}

impl Relay {
    /// Scans the outbox until `stop` is closed.
    pub(crate) fn run(self) {
        let mut backoff = Backoff::new(self.interval, self.interval.max(Duration::from_secs(5)));
        let mut failing = false;
        let mut last = Pass::Whole;
        let mut delay = Duration::ZERO;
        while self.wait(delay, last) {
            delay = self.interval;
            // Rows that cannot be published now would only load the database.
            if !self.health.is_up() || !(self.may_publish)() || !self.has_room() {
                continue;
            }
            match self.pass() {
                Ok(pass) => {
                    last = pass;
                    backoff.reset();
                    if std::mem::take(&mut failing) {
                        tracing::info!("the relay reads the outbox again");
                    }
                }
                Err(error) => {
                    last = Pass::Whole;
                    delay = backoff.delay();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(
                            "the relay cannot read the outbox: {error}; rows that wait there are \
                             published later, retrying until the store is back"
                        );
                    }
                }
            }
        }
    }

    /// Waits for the next scan: for `delay`, or after a full pass until there is room. Returns
    /// `false` at the end.
    fn wait(&self, delay: Duration, last: Pass) -> bool {
        let timeout = crossbeam_channel::after(delay);
        loop {
            select! {
                recv(self.stop) -> _ => return false,
                recv(timeout) -> _ => return true,
                recv(self.room) -> told => match told {
                    Err(_) => return false,
                    Ok(()) if last == Pass::Full && self.has_room() => return true,
                    Ok(()) => {}
                },
            }
        }
    }

    /// Returns `true` if half of the budget is free: a pass reads many rows while the other half is
    /// in flight.
    fn has_room(&self) -> bool {
        let (events, bytes) = self.budget.room();
        events * 2 >= self.max.events && bytes * 2 >= self.max.bytes
    }

    fn pass(&self) -> Result<Pass, StoreError> {
        let (events, bytes) = self.budget.room();
        let scan = self.outbox.in_flight.begin_scan();
        let rows = self.store.claim(
            self.instance,
            &self.outbox.sink,
            Room { events, bytes },
            &|key| self.outbox.in_flight.contains(key) || Mutant::NoOwnRowSweep.is_on(),
        )?;
        let found = rows.len();
        let mut found_bytes = 0;
        let mut pending = Vec::with_capacity(found);
        for row in rows {
            let len = row.event.body.len();
            found_bytes += len;
            // A body larger than the whole budget takes all of it.
            let (Some(guard), Ok(permit)) = (
                scan.claim(row.event.message),
                self.budget.reserve(1, len.min(self.max.bytes)),
            ) else {
                continue;
            };
            pending.push(PendingEvent { row, guard, permit });
        }
        drop(scan);
        let claimed = pending.len();
        let hint = Pending { events: pending };
        if claimed > 0 && self.outbox.publisher.try_send(hint).is_ok() {
            self.metrics.relayed.inc_by(claimed as u64);
        }
        Ok(if found == events || found_bytes * 2 >= bytes {
            Pass::Full
        } else {
            Pass::Whole
        })
    }
}
