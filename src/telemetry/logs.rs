//! Structured logs: never a secret, never a payload.

use std::time::Duration;

use crate::delivery::{EventId, SourceName};
use crate::in_flight::RequestId;
use crate::outcome::Outcome;

/// The one line of a delivery.
pub fn delivery(source: &SourceName, request_id: RequestId, event_id: Option<&EventId>, outcome: &Outcome, took: Duration) {
    let detail = match outcome {
        Outcome::Rejected(rejection) => rejection.detail.as_ref(),
        _ => "",
    };
    tracing::debug!(
        target: "hookweir::delivery",
        %source,
        %request_id,
        event_id = event_id.map(EventId::as_str),
        outcome = outcome.label(),
        reason = outcome.reason(),
        detail,
        took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        "delivery {}",
        outcome.label()
    );
}
