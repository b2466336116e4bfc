//! Spans of verification, and the trace context that an event is stored with.

use http::HeaderName;

use hookweir_signatures::{Refusal, Verdict};

use super::header_text;
use crate::domain::outcome::RejectReason;
use crate::domain::request::Request;
use crate::domain::request_id::RequestId;
use crate::domain::trace_context::{TRACEPARENT, TRACESTATE, TraceContext};
use crate::in_flight::Ticket;
use crate::telemetry::traces::{self, OpenSpan, SpanKind};

/// Longest `tracestate` that is passed on, in bytes: what W3C asks for.
const MAX_STATE: usize = 512;

/// Begins the span of a verification, if the delivery is sampled.
pub(super) fn begin(ticket: &Ticket) -> Option<OpenSpan> {
    OpenSpan::within(ticket.trace, "verify", SpanKind::Internal)
}

/// Ends the span of a request with the verdict. The detail of a refusal is for the log.
pub(super) fn end<P>(
    span: Option<OpenSpan>,
    verdict: &Result<Result<Verdict, Refusal>, P>,
    request: RequestId,
) {
    let Some(mut span) = span else {
        return;
    };
    let shown = |trace| traces::shows_refusal(trace, request);
    if matches!(verdict, Ok(Err(_)) | Err(_)) && !span.context().is_some_and(shown) {
        return span.discard();
    }
    let result = match verdict {
        Ok(Ok(Verdict::Events(_))) => "verified",
        Ok(Ok(Verdict::Challenge(_))) => "challenge",
        Ok(Ok(Verdict::Learn { .. })) => "learned",
        Ok(Ok(Verdict::NeedsKeys(_))) => "needs_keys",
        Ok(Err(_)) => "refused",
        Err(_) => "panicked",
    };
    span.set("hookweir.result", result);
    match verdict {
        Ok(Err(refusal)) => {
            let reason = RejectReason::from(refusal.reason);
            span.set("hookweir.reason", reason.label());
        }
        Err(_) => span.fail("verification panicked"),
        Ok(Ok(_)) => {}
    }
}

/// Adds the trace context to the headers that an event is stored with: `trace` if the delivery is sampled, or else
/// what its sender gave. Without an exporter, it is a header like others.
pub(super) fn pass_on(
    headers: &mut Vec<(String, String)>,
    request: &Request,
    trace: Option<TraceContext>,
) {
    if !traces::is_on() {
        return;
    }
    let given = request
        .headers
        .get(&HeaderName::from_static(TRACEPARENT))
        .and_then(header_text);
    let given = given.and_then(|text| TraceContext::parse(&text));
    let is_continued = given.is_some();
    let Some(parent) = trace.or(given) else {
        return;
    };
    headers.retain(|(name, _)| name != TRACEPARENT && name != TRACESTATE);
    headers.push((TRACEPARENT.to_owned(), parent.to_string()));
    let state = request
        .headers
        .get(&HeaderName::from_static(TRACESTATE))
        .and_then(header_text);
    // The state belongs to the given context.
    if let Some(state) = state.filter(|state| is_continued && state.len() <= MAX_STATE) {
        headers.push((TRACESTATE.to_owned(), state));
    }
}
