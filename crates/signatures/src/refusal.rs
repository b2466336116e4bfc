//! Refusals: requests that are not what their provider signs; and responses that a provider's scheme prescribes.

use std::borrow::Cow;

/// Response that a provider's scheme prescribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, where there is a body.
    pub content_type: Option<Cow<'static, str>>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body, often echoing what the provider sent.
    pub body: Vec<u8>,
}

/// Reason of a refusal, with a detail for the operator's log. Do not send the detail to the sender. It never holds a secret or a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The reason.
    pub reason: Reason,
    /// The exact cause: `header stripe-signature has no v1 entry`.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// A refusal with its detail.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

/// Reasons for which a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The header (or field) that should carry the signature is missing or empty.
    SignatureMissing,
    /// The signature does not follow the scheme's grammar.
    SignatureMalformed,
    /// No active secret or key yields this signature for these bytes.
    SignatureMismatch,
    /// The scheme's timestamp is missing or not a time.
    TimestampInvalid,
    /// Signed longer ago than the tolerance: stale, or a replay.
    TimestampTooOld,
    /// Signed further in the future than the tolerance: one of the two clocks is wrong.
    TimestampInFuture,
    /// A precondition of the scheme does not hold (a fixed header, a bound digest, a claim).
    PreconditionFailed,
    /// A part of the message that is signed, or that carries the id, is missing or malformed.
    BodyMalformed,
    /// The event's id is missing where the source demands one.
    IdMissing,
    /// A key on the way to the event's id occurs twice, so parsers may disagree on the id.
    IdAmbiguous,
    /// The body is larger than the source's limit after decompression.
    BodyTooLarge,
}
