//! Deliveries that wait for the store, and their outcomes.

use crate::domain::delivery::{EventId, MessageId, MessageKey};
use crate::domain::outcome::{FailReason, Outcome};
use crate::domain::sink::SinkSet;
use crate::store::{Inserted, NewEvent};

/// A delivery with a known outcome.
#[derive(Debug)]
pub struct ResolvedDelivery<T> {
    /// Ticket of the delivery.
    pub ticket: T,
    /// Outcome of the delivery.
    pub outcome: Outcome,
    /// Id of the first event.
    pub event_id: EventId,
    /// Messages of its events that are stored and may be unpublished, with the sinks that they go
    /// to. See [`Batcher::listing_unpublished`](super::Batcher::listing_unpublished).
    pub unpublished: Vec<(MessageKey, SinkSet)>,
}

/// A delivery with events that are not stored yet.
#[derive(Debug)]
pub(super) struct Delivery<T> {
    pub(super) ticket: T,
    pub(super) event_id: EventId,
    /// Number of events without a result.
    pub(super) waiting: usize,
    /// The first event that was new.
    accepted: Option<MessageId>,
    /// The first event that was known.
    pub(super) duplicate: Option<MessageId>,
    pub(super) failed: Option<FailReason>,
    unpublished: Vec<(MessageKey, SinkSet)>,
}

impl<T> Delivery<T> {
    pub(super) fn new(ticket: T, event_id: EventId) -> Self {
        Self {
            ticket,
            event_id,
            waiting: 0,
            accepted: None,
            duplicate: None,
            failed: None,
            unpublished: Vec::new(),
        }
    }

    /// Records the result of one event. `brought` is true for the delivery that brought the event,
    /// and false for those that joined it. None means that the transaction failed.
    pub(super) fn record(&mut self, event: &NewEvent, inserted: Option<&Inserted>, brought: bool) {
        self.waiting -= 1;
        match inserted {
            Some(Inserted::Accepted(_)) if brought => {
                self.accepted.get_or_insert(event.message_id());
            }
            Some(Inserted::Accepted(_)) => {
                self.duplicate.get_or_insert(event.message_id());
            }
            Some(
                Inserted::Duplicate(first)
                | Inserted::Unpublished(first)
                | Inserted::Conflict(first),
            ) => {
                self.duplicate.get_or_insert(first.message_id());
            }
            Some(Inserted::Refused(_)) => {
                self.failed.get_or_insert(FailReason::Row);
            }
            Some(Inserted::Doubtful(_)) | None => {
                self.failed.get_or_insert(FailReason::Store);
            }
        }
    }

    /// Adds the message of an event that waits in the outbox for the sinks `wanting` it.
    pub(super) fn add_unpublished(
        &mut self,
        event: &NewEvent,
        inserted: Option<&Inserted>,
        wanting: SinkSet,
    ) {
        let message = match inserted {
            Some(Inserted::Accepted(_)) => Some(event.message),
            Some(Inserted::Unpublished(first)) => Some(first.message),
            _ => None,
        };
        self.unpublished.extend(message.map(|key| (key, wanting)));
    }

    /// Returns the delivery with its outcome, after the result of its last event.
    pub(super) fn resolve(self) -> ResolvedDelivery<T> {
        let outcome = match (self.failed, self.accepted, self.duplicate) {
            (None, Some(id), _) => Outcome::Accepted { id },
            (None, None, Some(id)) => Outcome::Duplicate { id },
            (failed, _, _) => Outcome::Failed(failed.unwrap_or(FailReason::Dropped)),
        };
        ResolvedDelivery {
            ticket: self.ticket,
            outcome,
            event_id: self.event_id,
            unpublished: self.unpublished,
        }
    }
}
