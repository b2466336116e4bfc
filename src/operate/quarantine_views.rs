//! Questions about refused deliveries, and their answers, as the admin API speaks them.

use serde::{Deserialize, Serialize};

/// Parameters of `GET /api/v1/quarantine`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefusedQuestion {
    /// Name of the source.
    pub source: Option<String>,
    /// Earliest time of receipt, in RFC 3339.
    pub from: Option<String>,
    /// Time of receipt that is too late, in RFC 3339.
    pub to: Option<String>,
    /// Place to go on from: `next` of the page before.
    pub after: Option<String>,
    /// Number of entries wanted.
    pub limit: Option<usize>,
}

impl RefusedQuestion {
    /// Returns the parameters that are given, with their names.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| limit.to_string());
        let all = [
            ("source", &self.source),
            ("from", &self.from),
            ("to", &self.to),
            ("after", &self.after),
            ("limit", &limit),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }
}

/// Choice of refused deliveries: by numbers, by filters, or all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefusedChoice {
    /// Their numbers, at most 500.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i64>,
    /// Name of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Earliest time of receipt, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Time of receipt that is too late, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// True chooses all of them.
    pub all: bool,
    /// True verifies those, too, that are older than the time for which dedup knows their events. An event that the
    /// provider has sent again since is doubled.
    pub old: bool,
    /// Place to go on from, for `verify`: `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Reason, for the record. A deletion needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A page of refused deliveries, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedList {
    /// The deliveries.
    pub refused: Vec<RefusedView>,
    /// Place to go on from. None at the end.
    pub next: Option<String>,
}

/// A refused delivery. It has no header and no query, which may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedView {
    /// Its number.
    pub number: i64,
    /// Source that refused it.
    pub source: String,
    /// Time of receipt.
    pub received_at: String,
    /// Reason, as in metrics and logs.
    pub reason: String,
    /// Detail, as in logs.
    pub detail: String,
    /// HTTP method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// Address of the client, or of the proxy in front.
    pub peer: Option<String>,
    /// Id of the request, as in logs and in `X-Request-Id`.
    pub request_id: String,
    /// Bytes of its body, as far as it is kept.
    pub bytes: u64,
    /// True if a part of its headers or body is missing. It cannot be verified.
    pub cut: bool,
}

/// A refused delivery, looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedDetails {
    /// The delivery.
    pub delivery: RefusedView,
    /// Cause of the refusal, by the present configuration.
    pub diagnosis: DiagnosisView,
}

/// Cause of a refusal, found by trying what the usual mistakes would have sent. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisView {
    /// Word for the cause. None: nothing that was tried fits.
    pub cause: Option<String>,
    /// The cause, and what to do.
    pub says: String,
    /// Checks that were made.
    pub checks: Vec<String>,
}

/// Target and headers of a refused delivery.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRequestView {
    /// HTTP method.
    pub method: String,
    /// Path and query, as sent.
    pub target: String,
    /// Headers, in order.
    pub headers: Vec<RefusedHeader>,
}

/// A header. A value that is not UTF-8 is shown with replacement characters.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Result of verifying refused deliveries again, with the present configuration, at the time of their receipt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedVerified {
    /// Deliveries that were looked at.
    pub looked: u64,
    /// Deliveries that are proven now. All of them in a dry run, which leaves them where they are.
    pub proven: u64,
    /// Proven ones that were stored as events, and left the quarantine.
    pub accepted: u64,
    /// Proven ones whose events were stored before, and that left the quarantine.
    pub known: u64,
    /// Proven ones without an id of their own, whose bytes are those of a recent event. They stay: the provider may
    /// have sent one event twice, or two events.
    pub alike: u64,
    /// Proven ones that are older than the time for which dedup knows their events, unless `old` is true. They stay:
    /// if the provider has sent one again since, it would be doubled.
    pub old: u64,
    /// Proven ones that could not be stored now, and those whose key is being fetched. They stay: try again.
    pub not_now: u64,
    /// Deliveries that are still refused. They stay.
    pub refused: u64,
    /// Deliveries of which a part is missing, so that they cannot be verified. They stay.
    pub cut: u64,
    /// Deliveries whose source is not configured any more. They stay.
    pub without_source: u64,
    /// Handshakes; in a dry run also deliveries whose key has to be fetched first. They stay.
    pub undecided: u64,
    /// Place to go on from. None at the end.
    pub next: Option<i64>,
}
