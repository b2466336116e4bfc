//! Identity of events: the data that distinguishes a redelivery from another event.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::UnixMillis;
use crate::crypto::mac::Tag;

/// Events of a verified delivery. Only [`verify`](crate::verify()) makes a value of this type.
#[derive(Debug)]
pub struct VerifiedEvents {
    pub(crate) events: Vec<VerifiedEvent>,
    pub(crate) secret: Option<usize>,
    pub(crate) signed_at: Option<UnixMillis>,
}

impl VerifiedEvents {
    /// Returns the position of the secret in [`SourceSpec::secrets`](crate::SourceSpec::secrets) that
    /// has verified the delivery. None: a public key has, or a key that was fetched, or nothing had to.
    #[inline]
    pub fn secret(&self) -> Option<usize> {
        self.secret
    }

    /// Returns the time of signing. None: the scheme has none beside the signature.
    #[inline]
    pub fn signed_at(&self) -> Option<UnixMillis> {
        self.signed_at
    }

    /// Returns the events of the delivery, at least one. There are several if the source splits
    /// batches.
    #[inline]
    pub fn into_events(self) -> Vec<VerifiedEvent> {
        self.events
    }
}

/// Event of a verified delivery.
#[derive(Debug)]
pub struct VerifiedEvent {
    /// Id of the event, or the rule for events without one.
    pub identity: Identity,
    /// Meaning of the id.
    pub class: IdClass,
    /// Digest of the event's bytes, without values that a redelivery may change.
    pub digest: BodyDigest,
    /// Query of the request, if the body is empty.
    pub query: Option<Box<str>>,
    /// Digest of the signed message, if two events never have the same one. The same message again
    /// is a replay.
    pub signed: Option<SignedMessage>,
    /// Type of the event, as the provider names it.
    pub event_type: Option<Box<str>>,
    /// Bytes of the event: the request's body, or the event's slice of it.
    pub body: Bytes,
}

impl VerifiedEvent {
    /// Returns the provider's id as text, if the event has one.
    #[inline]
    pub fn id(&self) -> Option<&str> {
        match &self.identity {
            Identity::Id { shown, .. } => Some(shown),
            Identity::Bytes | Identity::Unknown => None,
        }
    }
}

/// Id of an event, or the rule for events without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Identity {
    /// Id given by the provider.
    Id {
        /// Parts of the id, as sent. `("ab", "c")` and `("a", "bc")` are different ids.
        parts: Vec<Vec<u8>>,
        /// Text of the id, for people.
        shown: String,
    },
    /// No id. Equal bytes are the same event, since this provider never sends equal bytes for two
    /// events.
    Bytes,
    /// No id. Only an identical signed message is recognized as a redelivery.
    Unknown,
}

/// Digest of a signed message, with the position of an event in it.
#[derive(Clone, Copy, Debug)]
pub struct SignedMessage {
    pub(crate) tag: Tag,
    /// Position of the event in the message.
    pub index: u64,
}

impl SignedMessage {
    /// Returns the MAC of the message. If the scheme has no MAC, this is the SHA-256 of the
    /// message.
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

/// Meaning of an event's id, by which a duplicate is distinguished from another event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IdClass {
    /// Unique id, covered by the signature. Another body under a known id is a conflict.
    Signed,
    /// Unique id, not covered by the signature. Another body under a known id is another event, and
    /// so are equal bytes under another id.
    Unsigned,
    /// Id of an object, or id of unknown meaning, remembered while the provider retries. Another
    /// body under the id is another event.
    Object,
    /// No id. Equal bytes are different events.
    Absent,
    /// No id. Equal bytes are one event, remembered while the provider retries.
    Body,
}

impl IdClass {
    /// Returns `true` if another body under a known id is another event.
    #[inline]
    pub fn publishes_other_bodies(self) -> bool {
        self != Self::Signed
    }

    /// Returns `true` if the event is remembered only while the provider retries.
    #[inline]
    pub fn is_short_lived(self) -> bool {
        matches!(self, Self::Object | Self::Body)
    }

    /// Returns `true` if an event with the bytes of a known one is published with a mark.
    #[inline]
    pub fn marks_same_bytes(self) -> bool {
        matches!(self, Self::Unsigned | Self::Absent)
    }
}

/// SHA-256 of an event's bytes, without values that a redelivery may change.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BodyDigest([u8; 32]);

impl BodyDigest {
    /// Returns the digest of `body`.
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Returns a digest from its stored bytes.
    #[inline]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes of the digest.
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
