//! What the stages say to each other, in the order in which one webhook goes through them.

use std::sync::Arc;

use crate::dedup::route::BatchId;
use crate::domain::request::Request;
use crate::in_flight::{Permit, Ticket};
use crate::publish::in_hand::Hold;
use crate::source::Source;
use crate::store::{NewEvent, StoredEvent};

/// http → verifier: a whole request to a source.
#[derive(Debug)]
pub struct Received {
    /// Where it came in.
    pub source: Arc<Source>,
    /// What came in.
    pub request: Request,
    /// Its claim to an outcome.
    pub ticket: Ticket,
}

/// verifier → dedup: a delivery whose sender is proven.
#[derive(Debug)]
pub struct Verified {
    /// Its events, one for most providers; never none.
    pub events: Vec<NewEvent>,
    /// Its claim to an outcome.
    pub ticket: Ticket,
}

/// dedup → writer: events to be stored in one transaction, folded and sorted by key.
#[derive(Debug)]
pub struct Batch {
    /// Names it.
    pub id: BatchId,
    /// The events.
    pub events: Vec<Arc<NewEvent>>,
}

/// writer or relay → publisher: committed rows to be published. Only a hint: dropped when the publisher has no room, since the outbox
/// holds them.
#[derive(Debug)]
pub struct Pending {
    /// The rows.
    pub events: Vec<PendingEvent>,
}

/// A committed outbox row in the publisher's hands.
#[derive(Debug)]
pub struct PendingEvent {
    /// The row and its event.
    pub row: StoredEvent,
    /// Keeps the relay from publishing it a second time.
    pub hold: Hold,
    /// Its room in the publisher's budget.
    pub permit: Permit,
}
