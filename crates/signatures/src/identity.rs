//! The identity of events: everything by which a redelivery can be told from another event. Keys of a database are made of it elsewhere.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::crypto::mac::Tag;

/// Proof that a delivery came from its source's provider; made by [`verify`](crate::verify) and nowhere else.
#[derive(Debug)]
pub struct VerifiedEvents {
    pub(crate) events: Vec<VerifiedEvent>,
}

impl VerifiedEvents {
    /// The events of the delivery: one for most providers, several where the source splits batches. Never none.
    #[inline]
    pub fn into_events(self) -> Vec<VerifiedEvent> {
        self.events
    }
}

/// One event of a verified delivery.
#[derive(Debug)]
pub struct VerifiedEvent {
    /// The id, or what is compared in its place.
    pub identity: Identity,
    /// Meaning of the id.
    pub class: IdClass,
    /// Digest of its bytes, without what a redelivery may change.
    pub digest: BodyDigest,
    /// The query, where the body is empty: then it has all there is to tell.
    pub query: Option<Box<str>>,
    /// Signed message, where a time or a nonce is signed and with it all that tells events apart: the very same again is a replay.
    pub signed: Option<SignedMessage>,
    /// The provider's type of event.
    pub event_type: Option<Box<str>>,
    /// The bytes that go to the queue: the request's body, or this event's slice of it.
    pub body: Bytes,
}

impl VerifiedEvent {
    /// The provider's id as text, if the event has one.
    #[inline]
    pub fn id(&self) -> Option<&str> {
        match &self.identity {
            Identity::Id { shown, .. } => Some(shown),
            Identity::Bytes | Identity::Unknown => None,
        }
    }
}

/// The id of an event, or what is compared in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// An id.
    Id {
        /// Its parts as the provider sent them. `("ab", "c")` and `("a", "bc")` are two ids.
        parts: Vec<Vec<u8>>,
        /// The parts as one text.
        shown: String,
    },
    /// No id, at a provider whose events never have equal bytes: equal bytes are the same event.
    Bytes,
    /// No id, and nothing else by which a redelivery can be told, unless the very same message was signed.
    Unknown,
}

/// A signed message, and the place of an event in it.
#[derive(Clone, Copy, Debug)]
pub struct SignedMessage {
    pub(crate) tag: Tag,
    /// Position of the event among those of the message.
    pub index: u64,
}

impl SignedMessage {
    /// The MAC of the message, or its SHA-256 where there is no MAC.
    #[inline]
    pub fn digest(&self) -> &[u8] {
        self.tag.as_bytes()
    }
}

impl PartialEq for SignedMessage {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest() && self.index == other.index
    }
}

impl Eq for SignedMessage {}

/// Meaning of the id that an event came with: decides between a duplicate and another event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IdClass {
    /// One id for each event, and a changed id breaks the signature. Another body under a known id is kept aside.
    Signed,
    /// One id for each event, and anybody can change it. Another body under a known id is another event; so are equal bytes under another id.
    Unsigned,
    /// An id of an object, or one of unknown meaning: known for as long as the provider retries. Another body under it is another event.
    Object,
    /// No id. Equal bytes are another event.
    Absent,
    /// No id, at a provider whose events never have equal bytes: these are known for as long as the provider retries.
    Body,
}

impl IdClass {
    /// Returns `true` if another body under a known id is an event of its own.
    #[inline]
    pub fn publishes_other_bodies(self) -> bool {
        self != Self::Signed
    }

    /// Returns `true` if the event is known for as long as the provider retries, and another one after that.
    #[inline]
    pub fn is_short_lived(self) -> bool {
        matches!(self, Self::Object | Self::Body)
    }

    /// Returns `true` if equal bytes of another event are worth a mark.
    #[inline]
    pub fn marks_same_bytes(self) -> bool {
        matches!(self, Self::Unsigned | Self::Absent)
    }
}

/// SHA-256 of an event's bytes, without what a redelivery may change: tells a redelivery (same id, same body) from another body.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// Digest of `body`.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// A digest that was stored before.
    #[inline]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the digest.
    #[inline]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for BodyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}
