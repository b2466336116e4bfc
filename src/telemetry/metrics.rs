//! Each metric once: its name, what it means, and which option tunes it. Labels come from configuration and from fixed lists only.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::delivery::SourceName;
use crate::outcome::{FailReason, Outcome, RejectReason, ShedReason};

/// Upper bounds of latency buckets, in seconds.
const LATENCY: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Where they are gathered from.
    pub registry: Registry,
    received: IntCounterVec,
    outcomes: IntCounterVec,
    conflicts: IntCounterVec,
    /// From the request's head to its outcome. Deadline: `limits.deadline_ms`.
    pub delivery_seconds: Histogram,
    /// Redeliveries answered from memory. Tuned by `dedup.cache_entries`.
    pub cache_hits: IntCounter,
    /// Deliveries that had to ask the store, or to wait for one that does.
    pub cache_misses: IntCounter,
    /// Keys in memory.
    pub cache_entries: IntGauge,
    /// Deliveries that joined one with the same key while it was being stored.
    pub joined: IntCounter,
    /// Events in one commit. Tuned by `dedup.batch_events` and `dedup.writers`.
    pub batch_events: Histogram,
    /// Duration of one commit.
    pub commit_seconds: Histogram,
    /// Commits that failed.
    pub commit_failures: IntCounter,
    /// Events handed to the queue, by result: confirmed, unroutable, nacked, unknown, refused.
    pub published: IntCounterVec,
    /// From handing a batch to the queue to the last of its confirms.
    pub confirm_seconds: Histogram,
    /// Hints that the publisher had no room for; the relay finds their rows.
    pub hints_dropped: IntCounter,
    /// Rows that the relay found in the outbox.
    pub relayed: IntCounter,
    /// Events given up and kept with a reason.
    pub parked: IntCounter,
    /// 1 while the connection to the queue is up.
    pub publisher_up: IntGauge,
    /// Rows in the outbox.
    pub outbox_rows: IntGauge,
    /// Age of the oldest row in the outbox, in seconds.
    pub outbox_oldest_seconds: IntGauge,
    /// Rows in `parked`.
    pub parked_rows: IntGauge,
    /// Messages waiting in an actor's mailbox.
    pub mailbox_depth: IntGaugeVec,
    /// Messages that may wait in an actor's mailbox.
    pub mailbox_capacity: IntGaugeVec,
}

impl Metrics {
    /// Registers all of them.
    pub fn new() -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let metric = IntGauge::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> Result<IntGaugeVec, prometheus::Error> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> Result<Histogram, prometheus::Error> {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        Ok(Arc::new(Self {
            received: counters(
                "hookweir_received_total",
                "Requests to a source; equals the sum of hookweir_outcomes_total plus those in flight",
                &["source"],
            )?,
            outcomes: counters("hookweir_outcomes_total", "What became of the requests to a source", &["source", "outcome", "reason"])?,
            conflicts: counters(
                "hookweir_conflicts_total",
                "Events with a known id and another body; the first went to the queue",
                &["source"],
            )?,
            delivery_seconds: histogram("hookweir_delivery_seconds", "From a request's head to its outcome", LATENCY)?,
            cache_hits: counter("hookweir_cache_hits_total", "Redeliveries answered from memory")?,
            cache_misses: counter("hookweir_cache_misses_total", "Events that were not among the recent keys")?,
            cache_entries: gauge("hookweir_cache_entries", "Keys in memory")?,
            joined: counter("hookweir_joined_total", "Events that joined the same one while it was being stored")?,
            batch_events: histogram(
                "hookweir_batch_events",
                "Events in one commit",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0],
            )?,
            commit_seconds: histogram("hookweir_commit_seconds", "Duration of one commit", LATENCY)?,
            commit_failures: counter("hookweir_commit_failures_total", "Commits that failed; their deliveries were answered 503")?,
            published: counters("hookweir_published_total", "Events handed to the queue, by result", &["result"])?,
            confirm_seconds: histogram(
                "hookweir_confirm_seconds",
                "From handing a batch to the queue to the last of its confirms",
                LATENCY,
            )?,
            hints_dropped: counter("hookweir_hints_dropped_total", "Events the publisher had no room for at once; the relay finds them")?,
            relayed: counter("hookweir_relayed_total", "Events that the relay found in the outbox")?,
            parked: counter("hookweir_parked_total", "Events given up and kept with a reason")?,
            publisher_up: gauge("hookweir_publisher_up", "1 while the queue takes events")?,
            outbox_rows: gauge("hookweir_outbox_rows", "Events that wait for the queue")?,
            outbox_oldest_seconds: gauge("hookweir_outbox_oldest_seconds", "Age of the event that waits longest for the queue")?,
            parked_rows: gauge("hookweir_parked_rows", "Events given up and kept with a reason, now")?,
            mailbox_depth: gauges("hookweir_mailbox_depth", "Messages waiting in an actor's mailbox", &["actor"])?,
            mailbox_capacity: gauges("hookweir_mailbox_capacity", "Messages that may wait in an actor's mailbox", &["actor"])?,
            registry,
        }))
    }

    /// The metrics of one source, looked up once.
    pub fn source(&self, source: &SourceName) -> Arc<SourceMetrics> {
        let outcome = |outcome: &str, reason: &str| self.outcomes.with_label_values(&[source.as_str(), outcome, reason]);
        Arc::new(SourceMetrics {
            received: self.received.with_label_values(&[source.as_str()]),
            conflicts: self.conflicts.with_label_values(&[source.as_str()]),
            accepted: outcome("accepted", ""),
            duplicate: outcome("duplicate", ""),
            challenge: outcome("challenge", ""),
            rejected: RejectReason::ALL.iter().map(|reason| outcome("rejected", reason.label())).collect(),
            shed: ShedReason::ALL.iter().map(|reason| outcome("shed", reason.label())).collect(),
            failed: FailReason::ALL.iter().map(|reason| outcome("failed", reason.label())).collect(),
            delivery_seconds: self.delivery_seconds.clone(),
            source: source.clone(),
        })
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
    accepted: IntCounter,
    duplicate: IntCounter,
    challenge: IntCounter,
    rejected: Vec<IntCounter>,
    shed: Vec<IntCounter>,
    failed: Vec<IntCounter>,
    delivery_seconds: Histogram,
}

impl SourceMetrics {
    /// The source they belong to.
    pub fn source(&self) -> &SourceName {
        &self.source
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
}
