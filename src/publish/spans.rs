//! Spans of publish attempts and confirms.

use super::envelope::Message;
use super::sinks::PublishResult;
use crate::domain::sink::SinkName;
use crate::outbox::PendingEvent;
use crate::telemetry::traces::{self, OpenSpan, SpanKind};

/// Spans of the sampled messages of a batch, each with its place in the batch.
pub(super) type Attempts = Vec<(usize, OpenSpan)>;

/// Begins a span for each sampled message of `batch`.
pub(super) fn attempts(batch: &[Message], sink: &SinkName) -> Attempts {
    if !traces::is_on() {
        return Attempts::new();
    }
    let spans = batch.iter().enumerate().filter_map(|(place, message)| {
        let trace = message.event.trace();
        let mut span = OpenSpan::within(trace, "publish", SpanKind::Producer)?;
        span.set("hookweir.sink", sink.to_string());
        span.set("hookweir.source", message.event.source.to_string());
        span.set("hookweir.attempt", message.attempt as usize);
        span.set("messaging.message.id", message.id.to_string());
        // Taken back by the answer.
        span.fail("no answer of the sink");
        Some((place, span))
    });
    spans.collect()
}

/// Ends the spans with the results of the batch.
pub(super) fn answered(attempts: Attempts, results: &[PublishResult]) {
    for (place, mut span) in attempts {
        let Some(result) = results.get(place) else {
            continue;
        };
        span.succeed();
        span.set("hookweir.result", result.label());
        match result {
            PublishResult::Confirmed => {}
            PublishResult::Unroutable(why)
            | PublishResult::Nacked(why)
            | PublishResult::Unknown(why)
            | PublishResult::Refused(why) => span.fail(why.clone()),
        }
    }
}

/// Begins the span of a confirm, up to its record in the store.
pub(super) fn confirmed(event: &mut PendingEvent, sink: &SinkName) {
    if !traces::is_on() {
        return;
    }
    let trace = event.row.event.trace();
    event.confirm = OpenSpan::within(trace, "confirm", SpanKind::Internal);
    if let Some(span) = &mut event.confirm {
        span.set("hookweir.sink", sink.to_string());
        span.fail("not recorded in the store: the event is published again");
    }
}
