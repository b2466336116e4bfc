//! Verification: who sent this, when, and which event is it. Pure: no actix, tokio, database or clock; time comes in as an argument.
//!
//! [`verify`] is the only place that makes a [`Verified`].

pub mod actor;

use bytes::Bytes;

use crate::delivery::{DedupKey, EventId, SourceName, UnixMillis};
use crate::outcome::{Answer, Rejection};
use crate::request::Request;

/// A compiled signature scheme with the keys of one source.
#[derive(Debug)]
pub struct Scheme {}

/// Proof that a delivery came from its source's provider; made by [`verify`] and nowhere else.
#[derive(Debug)]
pub struct Verified {
    events: Vec<VerifiedEvent>,
}

impl Verified {
    /// The events of the delivery: one for most providers, several where the source splits batches. Never none.
    pub fn into_events(self) -> Vec<VerifiedEvent> {
        self.events
    }
}

/// One event of a verified delivery.
#[derive(Debug)]
pub struct VerifiedEvent {
    /// What makes two deliveries this event.
    pub key: DedupKey,
    /// A second key, where the id is not covered by the signature.
    pub guard: Option<DedupKey>,
    /// The provider's id, as shown.
    pub id: EventId,
    /// The provider's type of event.
    pub event_type: Option<Box<str>>,
    /// The bytes that go to the queue: the request's body, or this event's slice of it.
    pub body: Bytes,
}

/// What a request to a source turned out to be.
#[derive(Debug)]
pub enum Verdict {
    /// Events to be stored.
    Events(Verified),
    /// A handshake; answer it and store nothing.
    Challenge(Answer),
}

/// Verifies one request against its source's scheme. `now` is the time of its arrival.
pub fn verify(_source: &SourceName, _scheme: &Scheme, _request: &Request, _now: UnixMillis) -> Result<Verdict, Rejection> {
    unimplemented!("the engine is being built")
}
