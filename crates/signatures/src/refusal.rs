//! Refusals: requests that are not what their provider signs; and responses that a provider's
//! scheme prescribes.

use std::borrow::Cow;

/// Response that a provider's scheme prescribes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type` of the body.
    pub content_type: Option<Cow<'static, str>>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Body, which may echo a challenge of the provider.
    pub body: Vec<u8>,
}

/// Refusal of a request, with a detail for the operator's log. The detail never holds a secret or a
/// payload. Do not send the detail to the sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Reason of the refusal.
    pub reason: Reason,
    /// Exact cause, such as `header stripe-signature has no v1 entry`.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// Returns a refusal.
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
    /// The place of the signature is missing or empty.
    SignatureMissing,
    /// The signature does not follow the scheme's grammar.
    SignatureMalformed,
    /// No active secret or key yields this signature for these bytes.
    SignatureMismatch,
    /// The scheme's timestamp is missing or not a time.
    TimestampInvalid,
    /// The signature is older than the tolerance: a late delivery, or a replay.
    TimestampTooOld,
    /// The signature is from the future, by more than the tolerance: one of the two clocks is
    /// wrong.
    TimestampInFuture,
    /// A precondition of the scheme does not hold (a fixed header, a bound digest, a claim).
    PreconditionFailed,
    /// A part of the body that is signed, or that holds the id, is missing or malformed.
    BodyMalformed,
    /// The event has no id, and its scheme requires one.
    IdMissing,
    /// A JSON key on the path to the event's id occurs twice, so two parsers could read different
    /// ids.
    IdAmbiguous,
    /// The body is larger than the source's limit after decompression.
    BodyTooLarge,
}
