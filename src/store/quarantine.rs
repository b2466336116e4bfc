//! Deliveries that were refused for good, as the store keeps them, and an operator's questions for them.

use std::fmt;

use bytes::Bytes;

use crate::domain::delivery::{SourceName, UnixMillis};

/// Bytes that a refused delivery counts for besides its body, headers and target.
pub const OVERHEAD: usize = 512;

/// A refused delivery that is to be kept.
#[derive(Clone)]
pub struct NewRefused {
    /// Source that refused it.
    pub source: SourceName,
    /// Time of receipt.
    pub received_at: UnixMillis,
    /// Id of the request, as in logs.
    pub request_id: String,
    /// Reason, as in metrics.
    pub reason: &'static str,
    /// Detail, as in logs.
    pub detail: String,
    /// HTTP method.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Address of the client, or of the proxy in front.
    pub peer: Option<String>,
    /// True if a part of the headers or of the body is missing.
    pub is_cut: bool,
    /// Headers, a line for each.
    pub headers: Vec<u8>,
    /// Body, as far as it was read.
    pub body: Bytes,
}

impl NewRefused {
    /// Returns the bytes that it counts for.
    pub fn size(&self) -> u64 {
        let texts = self.headers.len() + self.target.len() + self.detail.len();
        (OVERHEAD + self.body.len() + texts) as u64
    }
}

/// Shows no header and no target: a wrong secret may be a nearly right one.
impl fmt::Debug for NewRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (source, reason, bytes) = (&self.source, self.reason, self.body.len());
        write!(f, "NewRefused({source}, {reason}, {bytes} bytes)")
    }
}

/// Bounds on the refused deliveries of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedBounds {
    /// Number of deliveries.
    pub rows: u64,
    /// Bytes that they count for.
    pub bytes: u64,
}

/// Refused deliveries of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedUsage {
    /// Name of the source, which need not be configured any more.
    pub source: String,
    /// Number of deliveries.
    pub rows: u64,
    /// Bytes that they count for.
    pub bytes: u64,
}

/// A question for refused deliveries. Every part that is given has to hold.
#[derive(Clone, Debug, Default)]
pub struct RefusedQuery {
    /// Name of the source.
    pub source: Option<SourceName>,
    /// Earliest time of receipt.
    pub from: Option<UnixMillis>,
    /// Time of receipt that is too late.
    pub until: Option<UnixMillis>,
}

/// Place to go on from in the list of refused deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedPlace {
    /// Numbers below this one, the newest first.
    Below(i64),
    /// Numbers above this one, the oldest first.
    Above(i64),
}

/// A refused delivery without its headers and body.
#[derive(Clone, PartialEq, Eq)]
pub struct RefusedSummary {
    /// Its number.
    pub number: i64,
    /// Source that refused it.
    pub source: String,
    /// Time of receipt.
    pub received_at: UnixMillis,
    /// Id of the request, as in logs.
    pub request_id: String,
    /// Reason, as in metrics.
    pub reason: String,
    /// Detail, as in logs.
    pub detail: String,
    /// HTTP method.
    pub method: String,
    /// Path and query, as sent. The query may hold a secret.
    pub target: String,
    /// Address of the client, or of the proxy in front.
    pub peer: Option<String>,
    /// True if a part of the headers or of the body is missing.
    pub is_cut: bool,
    /// Bytes of its body.
    pub bytes: u64,
}

/// Shows no target, which may hold a secret.
impl fmt::Debug for RefusedSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, source, reason) = (self.number, &self.source, &self.reason);
        write!(f, "RefusedSummary({number}, {source}, {reason})")
    }
}

/// A refused delivery with its headers and body.
pub struct RefusedDelivery {
    /// All that is known of it.
    pub summary: RefusedSummary,
    /// Headers, a line for each.
    pub headers: Vec<u8>,
    /// Body, as far as it was read.
    pub body: Vec<u8>,
}

/// Shows no header.
impl fmt::Debug for RefusedDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.summary.fmt(f)
    }
}
