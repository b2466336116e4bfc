//! A span in OpenTelemetry's words.

use opentelemetry::trace::{Link, SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{SpanKind, SpanRecord, SpanValue};
use crate::domain::trace_context::TraceContext;

/// Returns `span` for the exporter.
pub(super) fn span_data(span: SpanRecord, scope: &InstrumentationScope) -> SpanData {
    let mut links = SpanLinks::default();
    links.links = span
        .links
        .iter()
        .map(|link| Link::with_context(context(link, true)))
        .collect();
    SpanData {
        span_context: context(&span.context, false),
        parent_span_id: span.parent.map_or(SpanId::INVALID, |parent| {
            SpanId::from_bytes(parent.span_id())
        }),
        parent_span_is_remote: span.remote_parent,
        span_kind: match span.kind {
            SpanKind::Server => opentelemetry::trace::SpanKind::Server,
            SpanKind::Producer => opentelemetry::trace::SpanKind::Producer,
            SpanKind::Internal => opentelemetry::trace::SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: span.start,
        end_time: span.end,
        attributes: span.attributes.into_iter().map(attribute).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status: match span.failure {
            Some(why) => Status::Error { description: why },
            None => Status::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}

fn context(context: &TraceContext, is_remote: bool) -> SpanContext {
    let flags = if context.is_sampled() {
        TraceFlags::SAMPLED
    } else {
        TraceFlags::NOT_SAMPLED
    };
    SpanContext::new(
        TraceId::from_bytes(context.trace_id()),
        SpanId::from_bytes(context.span_id()),
        flags,
        is_remote,
        TraceState::NONE,
    )
}

fn attribute((name, value): (&'static str, SpanValue)) -> KeyValue {
    let value = match value {
        SpanValue::Text(text) => Value::String(StringValue::from(text)),
        SpanValue::Number(number) => Value::I64(number),
    };
    KeyValue::new(name, value)
}
