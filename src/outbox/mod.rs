//! The outbox in this process: committed events between the store and a sink.
//!
//! An event's row stays in the store's outbox until the sink has confirmed the event. This module
//! keeps the events of these rows that are in memory, and moves them:
//!
//! ```text
//! dedup ──Pending (hint)──▶ publisher ──▶ sink
//! relay ──Pending─────────▶     │
//!   ▲                           ▼ confirmed, postponed, parked
//!   └──── room again ── PendingConfirms ──▶ the writers' next insert transaction
//!                               └─────────▶ ConfirmWriter: the rest
//! ```
//!
//! - [`InFlightEvents`] are the events in memory. The relay leaves their rows alone.
//! - `Relay` is the thread that finds the other rows: after a crash, an outage or a full mailbox.
//! - [`PendingConfirms`] are the results that the store has not recorded yet. `ConfirmWriter` is
//!   the thread that records them if no insert transaction takes them along.
//! - [`PublishWaiter`]s are senders that are answered after the sink has confirmed their events.
//!
//! Each sink has an outbox of its own ([`SinkOutbox`]), so that none delays another. The outbox
//! knows neither dedup nor publishing: both are built on it.

use std::sync::Arc;

use crate::domain::sink::SinkName;
use crate::in_flight::{Budget, Permit};
use crate::runtime::mailbox::Mailbox;
use crate::store::{InOrder, StoredEvent};
use crate::telemetry::traces::OpenSpan;

mod confirm_writer;
mod in_flight_events;
mod pending_confirms;
mod publish_waiter;
mod relay;
mod sink_health;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use self::confirm_writer::ConfirmWriter;
pub use self::in_flight_events::{InFlightEvents, InFlightGuard, RelayScan};
pub use self::pending_confirms::{ConfirmBatch, PendingConfirms, PiggybackedConfirms};
pub use self::publish_waiter::PublishWaiter;
pub(crate) use self::relay::{OrderedScan, Relay};
pub use self::sink_health::SinkHealth;

/// Check of a condition of publishing: the lease of this instance, or the lease and that the sink is
/// not paused. Without the lease, the rows may belong to another instance by now.
pub type MayPublish = Arc<dyn Fn() -> bool + Send + Sync>;

/// Outbox of one sink in this process. Clones share it.
#[derive(Clone)]
pub struct SinkOutbox {
    /// Name of the sink.
    pub sink: SinkName,
    /// Events in memory.
    pub in_flight: InFlightEvents,
    /// Results that the store has not recorded yet.
    pub confirms: PendingConfirms,
    /// Publisher of the sink.
    pub publisher: Mailbox<Pending>,
    /// The publisher's room for hints. The relay has a budget of its own.
    pub budget: Arc<Budget>,
    /// The sink keeps an order. The store alone knows which event of a key is the next.
    pub ordered: bool,
}

impl SinkOutbox {
    /// Sends committed rows to the publisher as a hint. Returns the number of rows that it has no
    /// room for: the relay will find them. If the sink is ordered, the relay is told to look for them.
    pub fn hint(&self, rows: impl IntoIterator<Item = (StoredEvent, InFlightGuard)>) -> usize {
        if self.ordered {
            // The relay takes no row whose guard is still there.
            rows.into_iter().for_each(drop);
            self.confirms.notify_relay();
            return 0;
        }
        let (mut events, mut dropped) = (Vec::new(), 0);
        for (row, guard) in rows {
            match self.budget.reserve(1, row.event.body.len()) {
                Ok(permit) => events.push(PendingEvent {
                    row,
                    guard,
                    permit,
                    in_order: None,
                    confirm: None,
                }),
                Err(_) => dropped += 1,
            }
        }
        let count = events.len();
        if count > 0 && self.publisher.try_send(Pending { events }).is_err() {
            dropped += count;
        }
        dropped
    }
}

/// Message writer, relay → publisher: committed rows to publish. It is a hint: if the publisher has
/// no room, the hint is dropped, and the relay finds the rows in the outbox.
#[derive(Debug)]
pub struct Pending {
    /// The rows.
    pub events: Vec<PendingEvent>,
}

impl PendingEvent {
    /// Ends the span of its confirm: its row has left the outbox.
    fn is_recorded(&mut self) {
        if let Some(mut span) = self.confirm.take() {
            span.succeed();
        }
    }
}

/// A committed outbox row in the publisher's memory.
#[derive(Debug)]
pub struct PendingEvent {
    /// The row and its event.
    pub row: StoredEvent,
    /// Keeps the relay from publishing the row again.
    pub guard: InFlightGuard,
    /// The event's room in the publisher's budget.
    pub permit: Permit,
    /// Place among the rows of its key, if the sink is ordered and the row has a key.
    pub in_order: Option<InOrder>,
    /// Span of its confirm, if its trace is sampled.
    pub confirm: Option<OpenSpan>,
}
