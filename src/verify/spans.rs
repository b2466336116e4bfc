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
    if !matches!(verdict, Ok(Ok(Verdict::Events(_)))) && !span.context().is_some_and(shown) {
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

/// Returns the trace context that the events of a delivery are stored with, as headers: `trace` if the delivery is
/// sampled, or else what its sender gave. None without an exporter, where it is a header like others.
pub(super) fn to_pass_on(request: &Request, trace: Option<TraceContext>) -> Vec<(String, String)> {
    if !traces::is_on() {
        return Vec::new();
    }
    let text = |name| {
        let value = request.headers.get(&HeaderName::from_static(name));
        value.and_then(header_text)
    };
    let given = text(TRACEPARENT).and_then(|text| TraceContext::parse(&text));
    // The state belongs to the given context.
    let state = given.is_some().then(|| text(TRACESTATE)).flatten();
    let state = state.filter(|state| state.len() <= MAX_STATE);
    let Some(parent) = trace.or(given) else {
        return Vec::new();
    };
    let parent = (TRACEPARENT.to_owned(), parent.to_string());
    let state = state.map(|state| (TRACESTATE.to_owned(), state.to_string()));
    [parent].into_iter().chain(state).collect()
}

/// Puts the trace context in the place of what an event's headers have of one.
pub(super) fn pass_on(headers: &mut Vec<(String, String)>, context: &[(String, String)]) {
    if context.is_empty() {
        return;
    }
    headers.retain(|(name, _)| name != TRACEPARENT && name != TRACESTATE);
    headers.extend_from_slice(context);
}
