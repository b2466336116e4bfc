//! The relay: finds outbox rows that nobody has in memory (left by a crash, an outage, an ambiguous commit, a full mailbox) and hands
//! them to the publisher. It has a budget of its own, so that neither a backlog nor a flood of new events can starve the other.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, select};

use super::Health;
use super::backoff::Backoff;
use super::in_hand::InHand;
use super::lanes::MayPublish;
use crate::domain::delivery::InstanceId;
use crate::faults::control;
use crate::in_flight::Budget;
use crate::messages::{Pending, PendingEvent};
use crate::runtime::mailbox::Mailbox;
use crate::store::{Room, Store, StoreError};
use crate::telemetry::Metrics;

/// What the thread works with.
pub(super) struct Relay {
    pub(super) store: Arc<dyn Store>,
    pub(super) instance: InstanceId,
    pub(super) in_hand: InHand,
    pub(super) health: Health,
    pub(super) may_publish: MayPublish,
    pub(super) publisher: Mailbox<Pending>,
    pub(super) budget: Arc<Budget>,
    pub(super) max: Room,
    pub(super) interval: Duration,
    pub(super) metrics: Arc<Metrics>,
    /// Something was settled, so there may be room.
    pub(super) room: Receiver<()>,
    /// Closed at the end.
    pub(super) stop: Receiver<()>,
}

/// What one look at the outbox found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// All that was due.
    Whole,
    /// As much as there was room for.
    Full,
}

impl Relay {
    /// Works until `stop` is closed.
    pub(super) fn run(self) {
        let mut backoff = Backoff::new(self.interval, self.interval.max(Duration::from_secs(5)));
        let mut failing = false;
        let mut next = Pass::Whole;
        let mut delay = Duration::ZERO;
        while self.wait(delay, next) {
            delay = self.interval;
            // Reading rows that cannot go anywhere would only load the database.
            if !self.health.is_up() || !(self.may_publish)() || !self.has_room() {
                continue;
            }
            match self.pass() {
                Ok(pass) => {
                    next = pass;
                    backoff.reset();
                    if std::mem::take(&mut failing) {
                        tracing::info!("the relay reads the outbox again");
                    }
                }
                Err(error) => {
                    next = Pass::Whole;
                    delay = backoff.delay();
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!("the relay cannot read the outbox, trying on: {error}");
                    }
                }
            }
        }
    }

    /// Waits for the next look: for `delay`, or after a full pass until there is room again. False at the end.
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

    /// Half of the budget: many rows a pass, while the other half is under way.
    fn has_room(&self) -> bool {
        let (events, bytes) = self.budget.room();
        events * 2 >= self.max.events && bytes * 2 >= self.max.bytes
    }

    fn pass(&self) -> Result<Pass, StoreError> {
        let (events, bytes) = self.budget.room();
        let sweep = self.in_hand.sweep();
        let rows = self
            .store
            .claim(self.instance, Room { events, bytes }, &|key| {
                self.in_hand.has(key) || control::makes("no_own_row_sweep")
            })?;
        let found = rows.len();
        let mut found_bytes = 0;
        let mut pending = Vec::with_capacity(found);
        for row in rows {
            let len = row.event.body.len();
            found_bytes += len;
            // A body larger than the whole budget takes all of it.
            let (Some(hold), Ok(permit)) = (
                sweep.take(row.event.message),
                self.budget.reserve(1, len.min(self.max.bytes)),
            ) else {
                continue;
            };
            pending.push(PendingEvent { row, hold, permit });
        }
        drop(sweep);
        let taken = pending.len();
        if taken > 0 && self.publisher.try_send(Pending { events: pending }).is_ok() {
            self.metrics.relayed.inc_by(taken as u64);
        }
        Ok(if found == events || found_bytes * 2 >= bytes {
            Pass::Full
        } else {
            Pass::Whole
        })
    }
}
