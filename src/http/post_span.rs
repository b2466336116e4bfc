//! Span of a delivery: from the head of its POST to the answer.

use actix_http::RequestHead;
use actix_http::header::HeaderName;

use super::answer::Reply;
use crate::domain::request_id::RequestId;
use crate::domain::trace_context::{TRACEPARENT, TraceContext};
use crate::source::Source;
use crate::telemetry::traces::{self, OpenSpan};

/// Route of all sources. The path of one may be a secret, so that no span has it.
const ROUTE: &str = "/ingest/{path}";

/// Span of a delivery, if its trace is sampled.
pub(super) struct PostSpan {
    open: Option<OpenSpan>,
    request: RequestId,
}

impl PostSpan {
    /// Begins the span of a request to `source`.
    pub(super) fn begin(source: &Source, head: &RequestHead, id: RequestId) -> Self {
        let given = || {
            let value = head.headers().get(HeaderName::from_static(TRACEPARENT))?;
            TraceContext::parse(value.to_str().ok()?)
        };
        let mut span = traces::first_span("POST /ingest/{path}", id, given);
        if let Some(span) = &mut span {
            span.set("http.request.method", head.method.to_string());
            span.set("http.route", ROUTE);
            span.set("hookweir.source", source.name.to_string());
            span.set("hookweir.request_id", id.to_string());
            // Taken back by the answer.
            span.fail("the client closed the connection before the answer");
        }
        Self {
            open: span,
            request: id,
        }
    }

    /// Returns the context for what belongs to the delivery.
    pub(super) fn context(&self) -> Option<TraceContext> {
        self.open.as_ref().and_then(OpenSpan::context)
    }

    /// Ends the span with the answer. As the conventions for HTTP have it, only 5xx is a failure.
    pub(super) fn end(mut self, reply: &Reply) {
        if reply.is_unproven {
            self.leave_out_strangers();
        }
        let Some(mut span) = self.open.take() else {
            return;
        };
        let status = reply.status;
        span.succeed();
        if status.is_server_error() {
            span.fail(status.canonical_reason().unwrap_or("server error"));
        }
        span.set("http.response.status_code", usize::from(status.as_u16()));
        if let Some((outcome, reason)) = reply.outcome {
            span.set("hookweir.outcome", outcome);
            if !reason.is_empty() {
                span.set("hookweir.reason", reason);
            }
        }
    }

    /// Drops the span if only the `traceparent` of a sender that is not proven asks for it.
    fn leave_out_strangers(&mut self) {
        let shown = |trace| traces::shows_refusal(trace, self.request);
        if !self.context().is_some_and(shown)
            && let Some(span) = self.open.take()
        {
            span.discard();
        }
    }
}

/// Without an answer: the client has closed the connection.
impl Drop for PostSpan {
    fn drop(&mut self) {
        self.leave_out_strangers();
    }
}
