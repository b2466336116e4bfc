//! The relay: a thread that finds the outbox rows that are in nobody's memory, and sends them to
//! the publisher.
//!
//! A crash, an outage, an ambiguous commit or a full mailbox leaves such rows. The relay has a
//! budget of its own, so that neither a backlog nor a flood of new events can starve the other.
//!
//! All events of an ordered sink come this way. After each commit and each recorded result, the relay
//! looks which events of each key are the next ([`OrderedScan`]).

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, select};

use super::{MayPublish, Pending, PendingEvent, RelayScan, SinkHealth, SinkOutbox};
use crate::domain::delivery::InstanceId;
use crate::faults::mutants::Mutant;
use crate::in_flight::Budget;
use crate::runtime::backoff::Backoff;
use crate::store::{FromKey, InOrder, Outbox, Room, StoreError, StoredEvent};
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
    /// State of the scans of an ordered sink.
    pub(crate) ordered: Option<OrderedScan>,
}

/// Interval at which an ordered sink is scanned for rows without a key: such rows are written before
/// it is ordered, or moved to it.
const WITHOUT_ORDER: Duration = Duration::from_secs(5);

/// State of the scans of an ordered sink.
#[derive(Debug)]
pub(crate) struct OrderedScan {
    /// Place at which the next scan goes on.
    from: FromKey,
    /// Time of the last scan for rows without a key.
    without_order: Option<Instant>,
}

impl OrderedScan {
    /// Returns the state before the first scan.
    pub(crate) fn new() -> Self {
        Self {
            from: FromKey::START,
            without_order: None,
        }
    }
}

/// Rows that a scan has sent to the publisher, and those that it has read.
#[derive(Default)]
struct Found {
    pending: Vec<PendingEvent>,
    rows: usize,
    bytes: usize,
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
    pub(crate) fn run(mut self) {
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
                    Ok(()) if self.is_asked(last) && self.has_room() => return true,
                    Ok(()) => {}
                },
            }
        }
    }

    /// Returns `true` if a message about recorded results, or about new rows of an ordered sink, calls
    /// for a scan.
    fn is_asked(&self, last: Pass) -> bool {
        last == Pass::Full || self.ordered.is_some()
    }

    /// Returns `true` if half of the budget is free: a pass reads many rows while the other half is
    /// in flight.
    fn has_room(&self) -> bool {
        let (events, bytes) = self.budget.room();
        events * 2 >= self.max.events && bytes * 2 >= self.max.bytes
    }

    fn pass(&mut self) -> Result<Pass, StoreError> {
        let (events, bytes) = self.budget.room();
        let room = Room { events, bytes };
        let in_flight = self.outbox.in_flight.clone();
        let scan = in_flight.begin_scan();
        let mut found = Found::default();
        match self.ordered.take() {
            None => {
                let rows = self
                    .store
                    .claim(self.instance, &self.outbox.sink, room, &|key| {
                        in_flight.contains(key) || Mutant::NoOwnRowSweep.is_on()
                    })?;
                self.take(&scan, rows.into_iter().map(|row| (row, None)), &mut found);
            }
            Some(mut ordered) => {
                let result = self.scan_in_order(&mut ordered, &scan, room, &mut found);
                self.ordered = Some(ordered);
                result?;
            }
        }
        drop(scan);
        let claimed = found.pending.len();
        let hint = Pending {
            events: found.pending,
        };
        if claimed > 0 && self.outbox.publisher.try_send(hint).is_ok() {
            self.metrics.relayed.inc_by(claimed as u64);
        }
        Ok(if found.rows == events || found.bytes * 2 >= bytes {
            Pass::Full
        } else {
            Pass::Whole
        })
    }

    /// Reads the next events of each key; now and then, events without a key too.
    fn scan_in_order(
        &self,
        ordered: &mut OrderedScan,
        scan: &RelayScan,
        room: Room,
        found: &mut Found,
    ) -> Result<(), StoreError> {
        let in_flight = &self.outbox.in_flight;
        let rows = self.store.claim_in_order(
            self.instance,
            &self.outbox.sink,
            room,
            ordered.from,
            &|key| in_flight.state(key),
        )?;
        ordered.from = rows.next;
        let rows = rows.rows.into_iter();
        self.take(scan, rows.map(|(row, place)| (row, Some(place))), found);
        let looked = ordered.without_order.map(|at| at.elapsed());
        if looked.is_none_or(|ago| ago >= WITHOUT_ORDER) {
            ordered.without_order = Some(Instant::now());
            let (events, bytes) = self.budget.room();
            let rows = self.store.claim_without_order(
                self.instance,
                &self.outbox.sink,
                Room { events, bytes },
                &|key| in_flight.contains(key),
            )?;
            self.take(scan, rows.into_iter().map(|row| (row, None)), found);
        }
        Ok(())
    }

    /// Takes room and a guard for each row. A row that gets none stays for the next scan.
    fn take(
        &self,
        scan: &RelayScan,
        rows: impl Iterator<Item = (StoredEvent, Option<InOrder>)>,
        found: &mut Found,
    ) {
        for (row, in_order) in rows {
            let len = row.event.body.len();
            found.rows += 1;
            found.bytes += len;
            // A body larger than the whole budget takes all of it.
            let (Some(guard), Ok(permit)) = (
                scan.claim(row.event.message),
                self.budget.reserve(1, len.min(self.max.bytes)),
            ) else {
                continue;
            };
            found.pending.push(PendingEvent {
                row,
                guard,
                permit,
                in_order,
                confirm: None,
            });
        }
    }
}
