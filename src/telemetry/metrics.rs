//! Each metric once: its name, its labels, and what it means. Labels come from configuration and from fixed lists only, so that no
//! sender can make the list grow.
//!
//! The text above a metric is its documentation, the `HELP` line of a scrape, and its entry in `docs/reference/metrics.md`.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::define::{Define, Description};
use super::logs::LineLimit;
use crate::domain::delivery::{Marks, SourceName};
use crate::domain::outcome::{FailReason, Outcome, RejectReason, ShedReason};

/// Upper bounds of latency buckets, in seconds.
const LATENCY: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Upper bounds of buckets of counts.
const COUNTS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
];

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $vis:vis $field:ident: $type:ident = $name:literal $(by $labels:expr)?, $(in $buckets:expr)?;)*) => {
        /// All metrics of the process.
        #[derive(Debug)]
        pub struct Metrics {
            /// Where they are gathered from.
            pub registry: Registry,
            $($(#[doc = $help])+ $vis $field: $type,)*
        }

        /// What each metric means, in the order of their definition.
        pub const DESCRIPTIONS: &[Description] = &[$(Description {
            name: $name,
            kind: <$type as Define>::KIND,
            labels: metrics!(@or_none $($labels)?),
            help: concat!($($help),+),
        },)*];

        impl Metrics {
            /// Registers all of them.
            pub fn new() -> Result<Arc<Self>, prometheus::Error> {
                let registry = Registry::new();
                let mut descriptions = DESCRIPTIONS.iter();
                $(
                    let buckets: &[f64] = metrics!(@or_none $($buckets)?);
                    let $field = <$type as Define>::define(&registry, descriptions.next(), buckets)?;
                )*
                Ok(Arc::new(Self { registry, $($field,)* }))
            }
        }
    };
    (@or_none) => { &[] };
    (@or_none $list:expr) => { $list };
}

metrics! {
    /// Requests to a source; equals the sum of `hookweir_outcomes_total` plus those in flight.
    received: IntCounterVec = "hookweir_received_total" by &["source"],;
    /// What became of the requests to a source: accepted, duplicate, challenge, rejected, shed, failed; with the reason of the last three.
    outcomes: IntCounterVec = "hookweir_outcomes_total" by &["source", "outcome", "reason"],;
    /// Events with a known id and another body. Where the id is signed, the first one went to the queue, and this one was kept in `conflict`;
    /// else this one went to the queue as well, marked `x-hookweir-conflict-of`.
    conflicts: IntCounterVec = "hookweir_conflicts_total" by &["source"],;
    /// Events that went to the queue marked `x-hookweir-same-bytes-as`: their bytes were known under another id, or without one.
    same_bytes: IntCounterVec = "hookweir_same_bytes_total" by &["source"],;
    /// From a request's head to its outcome, in seconds. Bounds are `limits.body_timeout_ms` for its body, and `limits.deadline_ms` after it.
    pub delivery_seconds: Histogram = "hookweir_delivery_seconds", in LATENCY;
    /// Answers on the ingest listener, by status code; also those to requests that reached no source.
    pub http_answers: IntCounterVec = "hookweir_http_answers_total" by &["code"],;
    /// Requests in flight, from admission until the delivery is done everywhere in the service.
    pub in_flight_requests: IntGauge = "hookweir_in_flight_requests",;
    /// The bound on requests in flight, `limits.in_flight_requests`.
    pub in_flight_requests_max: IntGauge = "hookweir_in_flight_requests_max",;
    /// Bytes of bodies in flight.
    pub in_flight_bytes: IntGauge = "hookweir_in_flight_bytes",;
    /// The bound on bytes in flight, `limits.in_flight_bytes`.
    pub in_flight_bytes_max: IntGauge = "hookweir_in_flight_bytes_max",;
    /// Connections open on the ingest listener.
    pub connections: IntGauge = "hookweir_connections",;
    /// Connections closed because more than 80 % of those that there is room for were open; the idlest go first.
    pub connections_closed: IntCounter = "hookweir_connections_closed_total",;
    /// The bound on connections: `server.max_connections`, or what the limit on descriptors leaves of it.
    pub connections_max: IntGauge = "hookweir_connections_max",;
    /// Messages waiting in an actor's mailbox; "verifier-http-0" is on the first HTTP thread, "verifier-0" on a thread of its own.
    pub mailbox_depth: IntGaugeVec = "hookweir_mailbox_depth" by &["actor"],;
    /// Messages that may wait in an actor's mailbox.
    pub mailbox_capacity: IntGaugeVec = "hookweir_mailbox_capacity" by &["actor"],;
    /// Redeliveries answered from memory. Tuned by `dedup.cache_entries`.
    pub cache_hits: IntCounter = "hookweir_cache_hits_total",;
    /// Events that were not among the recent keys: they had to ask the store, or to wait for one that does.
    pub cache_misses: IntCounter = "hookweir_cache_misses_total",;
    /// Keys in memory.
    pub cache_entries: IntGauge = "hookweir_cache_entries",;
    /// Events that joined the same one while it was being stored.
    pub joined: IntCounter = "hookweir_joined_total",;
    /// Events in one commit. Tuned by `dedup.batch_events` and `dedup.writers`.
    pub batch_events: Histogram = "hookweir_batch_events", in COUNTS;
    /// Duration of one commit, in seconds.
    pub commit_seconds: Histogram = "hookweir_commit_seconds", in LATENCY;
    /// Commits that failed; their events went to the spool, or, without one, their deliveries were answered 503.
    pub commit_failures: IntCounter = "hookweir_commit_failures_total",;
    /// Events in the spool: durable on one local disk only, and waiting for the store.
    pub spool_rows: IntGauge = "hookweir_spool_rows",;
    /// What the events in the spool are counted for, in bytes. Bounded by `spool.max_bytes`.
    pub spool_bytes: IntGauge = "hookweir_spool_bytes",;
    /// Age of the event that waits longest in the spool, in seconds. Past `spool.max_age_secs` nothing more is spooled.
    pub spool_oldest_seconds: IntGauge = "hookweir_spool_oldest_seconds",;
    /// Events that were new to the spool.
    pub spooled: IntCounter = "hookweir_spooled_total",;
    /// Events moved from the spool to the store.
    pub drained: IntCounter = "hookweir_drained_total",;
    /// Commits to the spool that failed; their deliveries were answered 503 unless the store took them after all.
    pub spool_failures: IntCounter = "hookweir_spool_failures_total",;
    /// Events handed to the queue, by result: confirmed, unroutable, nacked, unknown, refused.
    pub published: IntCounterVec = "hookweir_published_total" by &["result"],;
    /// From handing a batch to the queue to the last of its confirms, in seconds.
    pub confirm_seconds: Histogram = "hookweir_confirm_seconds", in LATENCY;
    /// Events that the publisher had no room for at once; the relay finds their rows. Tuned by `publisher.queue_events`.
    pub hints_dropped: IntCounter = "hookweir_hints_dropped_total",;
    /// Events that the relay found in the outbox.
    pub relayed: IntCounter = "hookweir_relayed_total",;
    /// Events given up and kept with a reason.
    pub parked: IntCounter = "hookweir_parked_total",;
    /// 1 while the queue takes events.
    pub publisher_up: IntGauge = "hookweir_publisher_up",;
    /// 1 while publishing stands aside for a burst. Bounded by `publisher.yield_secs`.
    pub publisher_yielding: IntGauge = "hookweir_publisher_yielding",;
    /// Events that wait for the queue.
    pub outbox_rows: IntGauge = "hookweir_outbox_rows",;
    /// Age of the event that waits longest for the queue, in seconds.
    pub outbox_oldest_seconds: IntGauge = "hookweir_outbox_oldest_seconds",;
    /// Events given up and kept with a reason, now.
    pub parked_rows: IntGauge = "hookweir_parked_rows",;
    /// Lines of the log that were dropped, because its reader was too slow, gone, or had no room. Deliveries do not wait for a log.
    pub log_lines_dropped: IntCounter = "hookweir_log_lines_dropped_total",;
    /// Always 1; the label says which build this is.
    pub build_info: IntGaugeVec = "hookweir_build_info" by &["version"],;
    /// 1 while `/readyz` says ready.
    pub ready: IntGauge = "hookweir_ready",;
    /// Seconds since the process started.
    pub uptime_seconds: IntGauge = "hookweir_uptime_seconds",;
    /// Resident memory of the process, in bytes.
    pub resident_bytes: IntGauge = "hookweir_resident_bytes",;
    /// File descriptors that the process holds open.
    pub open_fds: IntGauge = "hookweir_open_fds",;
}

impl Metrics {
    /// The metrics of one source, looked up once.
    pub fn source(&self, source: &SourceName) -> Arc<SourceMetrics> {
        let outcome = |outcome: &str, reason: &str| {
            self.outcomes
                .with_label_values(&[source.as_str(), outcome, reason])
        };
        Arc::new(SourceMetrics {
            received: self.received.with_label_values(&[source.as_str()]),
            conflicts: self.conflicts.with_label_values(&[source.as_str()]),
            same_bytes: self.same_bytes.with_label_values(&[source.as_str()]),
            accepted: outcome("accepted", ""),
            duplicate: outcome("duplicate", ""),
            challenge: outcome("challenge", ""),
            rejected: RejectReason::ALL
                .iter()
                .map(|reason| outcome("rejected", reason.label()))
                .collect(),
            shed: ShedReason::ALL
                .iter()
                .map(|reason| outcome("shed", reason.label()))
                .collect(),
            failed: FailReason::ALL
                .iter()
                .map(|reason| outcome("failed", reason.label()))
                .collect(),
            delivery_seconds: self.delivery_seconds.clone(),
            lines: LineLimit::default(),
            source: source.clone(),
        })
    }

    /// All of them as Prometheus reads them.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// The metrics of one source.
#[derive(Debug)]
pub struct SourceMetrics {
    source: SourceName,
    /// Requests that reached the source.
    pub received: IntCounter,
    /// Events with a known id and another body.
    pub conflicts: IntCounter,
    same_bytes: IntCounter,
    accepted: IntCounter,
    duplicate: IntCounter,
    challenge: IntCounter,
    rejected: Vec<IntCounter>,
    shed: Vec<IntCounter>,
    failed: Vec<IntCounter>,
    delivery_seconds: Histogram,
    /// Keeps a flood of one source's bad deliveries from flooding the log.
    pub(super) lines: LineLimit,
}

impl SourceMetrics {
    /// The source they belong to.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Counts an event that was published in spite of a doubt.
    pub fn count_marks(&self, marks: &Marks) {
        self.conflicts.inc_by(marks.conflict_of.is_some().into());
        self.same_bytes.inc_by(marks.same_bytes_as.is_some().into());
    }

    /// Counts one outcome.
    pub fn count(&self, outcome: &Outcome, took: Duration) {
        let counter = match outcome {
            Outcome::Accepted { .. } => &self.accepted,
            Outcome::Duplicate { .. } => &self.duplicate,
            Outcome::Challenge(_) => &self.challenge,
            Outcome::Rejected(rejection) => &self.rejected[rejection.reason as usize],
            Outcome::Shed(reason) => &self.shed[*reason as usize],
            Outcome::Failed(reason) => &self.failed[*reason as usize],
        };
        counter.inc();
        self.delivery_seconds.observe(took.as_secs_f64());
    }

    /// How many outcomes were counted in all.
    pub fn outcomes(&self) -> u64 {
        let single = [&self.accepted, &self.duplicate, &self.challenge];
        single
            .into_iter()
            .chain(&self.rejected)
            .chain(&self.shed)
            .chain(&self.failed)
            .map(IntCounter::get)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_scraped_with_help_and_with_labels_that_no_sender_chooses() {
        let bounded = [
            "source", "outcome", "reason", "result", "actor", "code", "version",
        ];
        for metric in DESCRIPTIONS {
            assert!(
                metric.help().len() > 10 && metric.help().ends_with('.'),
                "{} needs a sentence of help",
                metric.name
            );
            assert!(metric.name.starts_with("hookweir_"), "{}", metric.name);
            assert_eq!(
                metric.kind == "counter",
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            for label in metric.labels {
                assert!(
                    bounded.contains(label),
                    "{}: is the label {label} bounded?",
                    metric.name
                );
            }
        }
        let metrics = Metrics::new().expect("names are unique");
        metrics
            .source(&SourceName::parse("s").expect("a name"))
            .received
            .inc();
        let text = metrics.text().expect("utf-8");
        assert!(
            text.contains("# HELP hookweir_received_total Requests to a source; equals"),
            "{text}"
        );
        assert!(
            text.contains("hookweir_received_total{source=\"s\"} 1"),
            "{text}"
        );
        assert!(
            text.contains(
                "hookweir_outcomes_total{outcome=\"shed\",reason=\"bytes\",source=\"s\"} 0"
            ),
            "{text}"
        );
    }

    #[test]
    fn every_outcome_has_its_own_counter() {
        let source = Metrics::new()
            .expect("names are unique")
            .source(&SourceName::parse("s").expect("a name"));
        let rejected = RejectReason::ALL
            .iter()
            .map(|r| Outcome::Rejected(crate::domain::outcome::Rejection::new(*r, "")));
        let shed = ShedReason::ALL.iter().map(|r| Outcome::Shed(*r));
        let failed = FailReason::ALL.iter().map(|r| Outcome::Failed(*r));
        let all: Vec<Outcome> = rejected.chain(shed).chain(failed).collect();
        for outcome in &all {
            source.count(outcome, Duration::ZERO);
        }
        assert!(
            source
                .rejected
                .iter()
                .chain(&source.shed)
                .chain(&source.failed)
                .all(|counter| counter.get() == 1)
        );
        assert_eq!(source.outcomes(), all.len() as u64);
    }
}
