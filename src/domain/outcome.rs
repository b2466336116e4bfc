//! Outcomes: every delivery ends in exactly one [`Outcome`], so that received = the sum of
//! outcomes. Imports nothing of ours but the words of `delivery`.

use std::borrow::Cow;

pub use hookweir_signatures::Answer;
use hookweir_signatures::{Reason, Refusal};

use crate::domain::delivery::MessageId;

/// Outcome of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Verified, new, and on durable storage. Answered 200.
    Accepted {
        /// The id its message has on the queue. For a POST with several events: of the first of
        /// them.
        id: MessageId,
    },
    /// Verified and stored before. Answered 200.
    Duplicate {
        /// The id of the message of the event that was first.
        id: MessageId,
    },
    /// A handshake of the provider (url_verification, hub.challenge); no event.
    Challenge(Answer),
    /// Rejected permanently; a retry cannot succeed.
    Rejected(Rejection),
    /// Refused for lack of room, or above a rate limit; a retry can succeed. Answered 503, or 429 for a rate limit,
    /// with `Retry-After`.
    Shed(ShedReason),
    /// Not known to be durable, or, with `server.respond_after = "published"`, not known to be
    /// published. A retry can succeed. Answered 503 with `Retry-After`.
    Failed(FailReason),
}

/// Reason for a rejection, with a detail for the operator's log. The detail never goes to the
/// sender, and never holds a secret or a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The reason, as metrics count it.
    pub reason: RejectReason,
    /// Detail of the fault: `header stripe-signature has no v1 entry`.
    pub detail: Cow<'static, str>,
}

impl Rejection {
    /// A rejection with its detail.
    pub fn new(reason: RejectReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: detail.into(),
        }
    }
}

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $label:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The value of the `reason` label in metrics and logs.
            pub fn label(self) -> &'static str {
                match self { $(Self::$variant => $label,)* }
            }
        }
    };
}

reasons! {
    /// Reason for a rejection.
    RejectReason {
        /// The header (or field) that should carry the signature is missing or empty. 401.
        SignatureMissing = "signature_missing",
        /// The signature does not follow the scheme's grammar. 401.
        SignatureMalformed = "signature_malformed",
        /// No active secret or key yields this signature for these bytes. 401.
        SignatureMismatch = "signature_mismatch",
        /// The scheme's timestamp is missing or not a time. 401.
        TimestampInvalid = "timestamp_invalid",
        /// Signed longer ago than the tolerance: stale, or a replay. 401.
        TimestampTooOld = "timestamp_too_old",
        /// Signed further in the future than the tolerance: one of the two clocks is wrong. 401.
        TimestampInFuture = "timestamp_in_future",
        /// A precondition of the scheme does not hold (a fixed header, a bound digest, a claim).
        /// 401.
        PreconditionFailed = "precondition_failed",
        /// A part of the message that is signed, or that carries the id, is missing or malformed.
        /// 400.
        BodyMalformed = "body_malformed",
        /// The event's id is missing where the source demands one. 400.
        IdMissing = "id_missing",
        /// A key on the way to the event's id occurs twice, so parsers may disagree on the id. 400.
        IdAmbiguous = "id_ambiguous",
        /// Body larger than the source's limit. 413.
        BodyTooLarge = "body_too_large",
        /// Body slower than the minimum rate for its length, or not there within
        /// `limits.body_timeout_ms`. 408.
        BodyTooSlow = "body_too_slow",
        /// Sent from an address outside of the source's `allow_from`. 403.
        AddressNotAllowed = "address_not_allowed",
        /// Headers larger than the limit. 431.
        HeadersTooLarge = "headers_too_large",
        /// The client went away before its request was complete. No answer.
        Disconnected = "disconnected",
    }
}

reasons! {
    /// Bound that was reached.
    ShedReason {
        /// As many requests in flight as `limits.in_flight_requests` allows.
        Requests = "requests",
        /// As many bytes in flight as `limits.in_flight_bytes` allows.
        Bytes = "bytes",
        /// As many bytes in flight to this source as its share of `limits.in_flight_bytes` allows.
        SourceBytes = "source_bytes",
        /// The verifier's mailbox is full.
        VerifierMailbox = "verifier_mailbox",
        /// The dedup actor's mailbox is full.
        DedupMailbox = "dedup_mailbox",
        /// The delivery waited for a writer until its deadline passed, and was dropped before it
        /// was stored.
        DeadlineInQueue = "deadline_in_queue",
        /// More deliveries a second than `rate_limit_per_sec` of the source allows. Answered 429.
        SourceRate = "source_rate",
        /// More deliveries a second from one address than `client_rate_limit_per_sec` of the source allows.
        /// Answered 429.
        ClientRate = "client_rate",
        /// The service is stopping and takes nothing new.
        Stopping = "stopping",
    }
}

reasons! {
    /// Reason why an event is not known to be durable, or to be published.
    FailReason {
        /// The store refused or lost the transaction; it may or may not have committed.
        Store = "store",
        /// The store refused this very row (its neighbours were stored).
        Row = "row",
        /// The provider's key set was not fetched yet, or lacks the key that signed.
        Keys = "keys",
        /// Stored, but not confirmed by the sink in time. Occurs with `server.respond_after =
        /// "published"` only.
        Unpublished = "unpublished",
        /// An operator has paused the source.
        Paused = "paused",
        /// An actor dropped the delivery without an outcome; the process is about to end.
        Dropped = "dropped",
    }
}

impl From<Reason> for RejectReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::SignatureMissing => Self::SignatureMissing,
            Reason::SignatureMalformed => Self::SignatureMalformed,
            Reason::SignatureMismatch => Self::SignatureMismatch,
            Reason::TimestampInvalid => Self::TimestampInvalid,
            Reason::TimestampTooOld => Self::TimestampTooOld,
            Reason::TimestampInFuture => Self::TimestampInFuture,
            Reason::PreconditionFailed => Self::PreconditionFailed,
            Reason::BodyMalformed => Self::BodyMalformed,
            Reason::IdMissing => Self::IdMissing,
            Reason::IdAmbiguous => Self::IdAmbiguous,
            Reason::BodyTooLarge => Self::BodyTooLarge,
        }
    }
}

impl From<Refusal> for Rejection {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason.into(),
            detail: refusal.detail,
        }
    }
}

impl ShedReason {
    /// Returns the option that sets the bound.
    pub fn option(self) -> &'static str {
        match self {
            Self::Requests => "limits.in_flight_requests",
            // A source's share is a part of it.
            Self::Bytes | Self::SourceBytes => "limits.in_flight_bytes",
            Self::VerifierMailbox => "verifier.mailbox_capacity",
            Self::DedupMailbox => "dedup.mailbox_capacity",
            Self::DeadlineInQueue => "limits.deadline_ms",
            Self::SourceRate => "source.rate_limit_per_sec",
            Self::ClientRate => "source.client_rate_limit_per_sec",
            Self::Stopping => "shutdown.drain_secs",
        }
    }
}

impl Outcome {
    /// Returns true if an event of the sender is stored.
    pub fn is_stored(&self) -> bool {
        matches!(self, Self::Accepted { .. } | Self::Duplicate { .. })
    }

    /// Returns true if the sender had to be known for this outcome.
    pub fn is_proven(&self) -> bool {
        match self {
            Self::Accepted { .. } | Self::Duplicate { .. } => true,
            Self::Challenge(_) | Self::Rejected(_) | Self::Shed(_) => false,
            Self::Failed(reason) => !matches!(reason, FailReason::Paused | FailReason::Keys),
        }
    }

    /// Returns the option that sets the bound, for a delivery that was shed.
    pub fn bounded_by(&self) -> Option<&'static str> {
        match self {
            Self::Shed(reason) => Some(reason.option()),
            Self::Accepted { .. }
            | Self::Duplicate { .. }
            | Self::Challenge(_)
            | Self::Rejected(_)
            | Self::Failed(_) => None,
        }
    }

    /// The value of the `outcome` label in metrics and logs.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted { .. } => "accepted",
            Self::Duplicate { .. } => "duplicate",
            Self::Challenge(_) => "challenge",
            Self::Rejected(_) => "rejected",
            Self::Shed(_) => "shed",
            Self::Failed(_) => "failed",
        }
    }

    /// The value of the `reason` label; empty where the outcome needs none.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Accepted { .. } | Self::Duplicate { .. } | Self::Challenge(_) => "",
            Self::Rejected(rejection) => rejection.reason.label(),
            Self::Shed(reason) => reason.label(),
            Self::Failed(reason) => reason.label(),
        }
    }
}
