//! Traces: spans of sampled deliveries, exported over OTLP. No delivery waits for it: if the queue in front of
//! the exporter is full, spans are dropped and counted.
//!
//! A delivery is sampled when its head was read: as its `traceparent` says, or else by a ratio. What is
//! sampled carries the context of its POST, in the [`Ticket`](crate::in_flight::Ticket) up to the store, and from
//! there in the header `traceparent` of the event, which the store and the message keep. It therefore survives a
//! restart between store and queue.
//!
//! The feature `traces`, on by default, brings the exporter. Without it the configuration stays the same, and
//! [`start`] fails if there is a collector.

#[cfg(feature = "traces")]
mod convert;
#[cfg(feature = "traces")]
mod exporter;
mod span;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use prometheus::IntCounter;

use crate::config::model::Traces;
use crate::domain::delivery::InstanceId;
use crate::domain::request_id::RequestId;
use crate::domain::trace_context::TraceContext;
use crate::telemetry::Metrics;

pub use span::{OpenSpan, SpanKind, SpanRecord, SpanValue};

/// Spans that wait for the exporter at most.
pub const QUEUE_SPANS: usize = 2048;
/// Largest memory of one of them, in bytes.
pub const SPAN_BYTES: usize = 2048;
/// Links of one span at most.
pub const MOST_LINKS: usize = 128;

/// Time of a stop for spans that are not exported yet.
pub const LAST_SPANS: Duration = Duration::from_secs(2);

/// True if this build exports traces.
pub const AVAILABLE: bool = cfg!(feature = "traces");

/// Reason for which a build without the exporter does not start with a collector.
pub const MISSING: &str = "traces.endpoint is set, and this build exports no traces; build it with the feature `traces`, which is on by default";

/// The queue of this process, if it exports.
static EXPORT: OnceLock<Export> = OnceLock::new();

/// Message to the exporter's thread.
#[cfg_attr(not(feature = "traces"), allow(dead_code, reason = "nobody takes it"))]
enum Item {
    Span(Box<SpanRecord>),
    /// Export what came before, then answer.
    Flush(Sender<()>),
}

/// Queue in front of the exporter.
struct Export {
    queue: Sender<Item>,
    dropped: IntCounter,
    /// Largest lower half of a request's id that is sampled. None: no new trace is.
    sampled_up_to: Option<u64>,
}

impl Export {
    /// Returns `true` if the ratio takes a request.
    fn samples(&self, id: RequestId) -> bool {
        let (_, low) = id.0.as_u64_pair();
        self.sampled_up_to.is_some_and(|most| low <= most)
    }
}

/// Starts the exporter, if a collector is configured. Once, at start.
pub fn start(config: &Traces, metrics: &Metrics, instance: InstanceId) -> Result<(), String> {
    let Some(endpoint) = &config.endpoint else {
        return Ok(());
    };
    let (queue, items) = bounded(QUEUE_SPANS);
    match run_exporter(endpoint, metrics, instance, items) {
        Ok(()) => {}
        Err(why) if AVAILABLE => {
            tracing::warn!("no traces are exported: {why}; deliveries go on without them");
            return Ok(());
        }
        Err(why) => return Err(why),
    }
    let export = Export {
        queue,
        dropped: metrics.trace_spans.with_label_values(&["dropped"]),
        sampled_up_to: threshold(config.sample_ratio),
    };
    EXPORT
        .set(export)
        .map_err(|_| "traces were started before".to_owned())
}

#[cfg(feature = "traces")]
use exporter::start as run_exporter;

#[cfg(not(feature = "traces"))]
fn run_exporter(
    _endpoint: &str,
    _metrics: &Metrics,
    _instance: InstanceId,
    _items: crossbeam_channel::Receiver<Item>,
) -> Result<(), String> {
    Err(MISSING.to_owned())
}

/// Returns the largest 64-bit number of those that make up `ratio` of all. None for a ratio of 0.
fn threshold(ratio: f64) -> Option<u64> {
    // Saturating: 1.0 is all numbers.
    (ratio > 0.0).then_some((ratio * u64::MAX as f64) as u64)
}

/// Returns `true` if this process exports spans.
pub fn is_on() -> bool {
    EXPORT.get().is_some()
}

/// Returns the first span of a request here, if it is sampled: as `given` by its sender, or else by the ratio.
pub fn first_span(
    name: &'static str,
    id: RequestId,
    given: impl FnOnce() -> Option<TraceContext>,
) -> Option<OpenSpan> {
    let export = EXPORT.get()?;
    match given() {
        Some(parent) => parent
            .is_sampled()
            .then(|| OpenSpan::continued(name, &parent)),
        None => export
            .samples(id)
            .then(|| OpenSpan::first(name, TraceContext::first(id))),
    }
}

/// Returns `true` if the spans of a request that was refused are exported: its trace begins here, or the ratio
/// takes the request, too. A sender that is not proven has nothing exported by its `traceparent` alone.
pub fn shows_refusal(trace: TraceContext, id: RequestId) -> bool {
    let begins_here = trace.trace_id() == *id.0.as_bytes();
    begins_here || EXPORT.get().is_some_and(|export| export.samples(id))
}

/// Waits until the spans so far are exported, for `limit` at most.
pub fn flush(limit: Duration) {
    let Some(export) = EXPORT.get() else {
        return;
    };
    let (done, exported) = bounded(1);
    let end = Instant::now() + limit;
    if export.queue.send_deadline(Item::Flush(done), end).is_ok() {
        // At the limit the process ends without its last spans.
        let _ = exported.recv_deadline(end);
    }
}

/// Hands a span over, or counts it as dropped if the queue is full.
fn export(span: Box<SpanRecord>) {
    if let Some(export) = EXPORT.get()
        && export.queue.try_send(Item::Span(span)).is_err()
    {
        export.dropped.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_samples_that_part_of_the_requests() {
        assert_eq!(threshold(0.0), None);
        assert_eq!(threshold(1.0), Some(u64::MAX));
        let most = threshold(0.25).expect("some");
        let sampled = (0..10_000).filter(|_| RequestId::next().0.as_u64_pair().1 <= most);
        let sampled = sampled.count();
        assert!((2000..3000).contains(&sampled), "{sampled} of 10000");
    }
}
