//! Metrics: name, labels and meaning of each, in one place. Labels come from the configuration and
//! from fixed lists only, so that no sender can add one.
//!
//! The text above a metric is its documentation, the `HELP` line of a scrape, and its entry in
//! `docs/reference/metrics.md`.

use std::sync::Arc;

use prometheus::{
    Counter, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use super::LiveFeed;
use super::define::{Define, MetricDescription};
use crate::domain::delivery::SourceName;
use crate::domain::pause::{Pause, PauseKind};

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
            /// Registry of all metrics.
            pub registry: Registry,
            /// Outcomes as they happen.
            pub live: Arc<LiveFeed>,
            $($(#[doc = $help])+ $vis $field: $type,)*
        }

        /// Documentation of each metric, in order of definition.
        pub const DESCRIPTIONS: &[MetricDescription] = &[$(MetricDescription {
            name: $name,
            kind: <$type as Define>::KIND,
            labels: metrics!(@or_none $($labels)?),
            help: concat!($($help),+),
        },)*];

        impl Metrics {
            /// Registers all metrics.
            pub fn new() -> Result<Arc<Self>, prometheus::Error> {
                let registry = Registry::new();
                let mut descriptions = DESCRIPTIONS.iter();
                $(
                    let buckets: &[f64] = metrics!(@or_none $($buckets)?);
                    let $field = <$type as Define>::define(&registry, descriptions.next(), buckets)?;
                )*
                Ok(Arc::new(Self { registry, live: Arc::default(), $($field,)* }))
            }
        }
    };
    (@or_none) => { &[] };
    (@or_none $list:expr) => { $list };
}

metrics! {
    /// 1 while an operator has paused the source: its deliveries are answered 503. Absent if it never was.
    pub(super) source_paused: IntGaugeVec = "hookweir_source_paused" by &["source"],;
    /// 1 while an operator has paused the sink: its events wait in the outbox. Absent if it never was.
    pub(super) sink_paused: IntGaugeVec = "hookweir_sink_paused" by &["sink"],;
    /// Requests to a source; equals the sum of `hookweir_outcomes_total` plus those in flight.
    pub(super) received: IntCounterVec = "hookweir_received_total" by &["source"],;
    /// Outcomes of requests to a source: accepted, duplicate, challenge, rejected, shed, failed.
    /// The last three have a reason.
    pub(super) outcomes: IntCounterVec = "hookweir_outcomes_total" by &["source", "outcome", "reason"],;
    /// Events with a known id and another body. If the id is signed, the first event was published
    /// and this one is kept in `conflict`. Otherwise this one was published too, marked
    /// `x-hookweir-conflict-of`.
    pub(super) conflicts: IntCounterVec = "hookweir_conflicts_total" by &["source"],;
    /// Deliveries from an address outside of the source's `allow_from`: refused or, with `allow_from_mode = "observe"`,
    /// taken. `signed` is yes if it carries the header of a signature, right or wrong: scanners seldom do.
    pub(super) address_misses: IntCounterVec = "hookweir_address_misses_total" by &["source", "signed"],;
    /// Events published with the mark `x-hookweir-same-bytes-as`: their bytes were known under
    /// another id, or without one.
    pub(super) same_bytes: IntCounterVec = "hookweir_same_bytes_total" by &["source"],;
    /// Unix time at which the source last accepted an event, in seconds. Absent until then.
    pub(super) last_accepted: IntGaugeVec = "hookweir_source_last_accepted_timestamp_seconds" by &["source"],;
    /// Unix time at which the source last rejected a delivery, in seconds. Absent until then.
    pub(super) last_rejected: IntGaugeVec = "hookweir_source_last_rejected_timestamp_seconds" by &["source"],;
    /// Longest gap between two accepted events of the source within the last eight days, in seconds.
    /// Absent until this instance has accepted 20 events.
    pub(super) usual_gap: IntGaugeVec = "hookweir_source_usual_gap_seconds" by &["source"],;
    /// Longest time to an answer of the source, in seconds: its own, four fifths of its provider's
    /// timeout, or `limits.deadline_ms`.
    pub(super) source_deadline: GaugeVec = "hookweir_source_deadline_seconds" by &["source"],;
    /// Deliveries that took more than half of the deadline of the source, from the request's head to the
    /// outcome.
    pub(super) near_deadline: IntCounterVec = "hookweir_near_deadline_total" by &["source"],;
    /// Deliveries in a row that were not answered 2xx by this instance. Those without a signature do not
    /// count: scanners send them.
    pub(super) failures_in_a_row: IntGaugeVec = "hookweir_source_failures_in_a_row" by &["source"],;
    /// Unix time of the first of the failures in a row, in seconds. 0 while there is none.
    pub(super) failing_since: IntGaugeVec = "hookweir_source_failing_since_timestamp_seconds" by &["source"],;
    /// Failures in a row after which the provider disables the webhook, by its own rule. Absent if no such
    /// rule is known.
    pub(super) disabled_after_failures: IntGaugeVec = "hookweir_source_disabled_after_failures" by &["source"],;
    /// Time of nothing but failures after which the provider disables the webhook, by its own rule, in
    /// seconds. Absent if no such rule is known.
    pub(super) disabled_after: IntGaugeVec = "hookweir_source_disabled_after_seconds" by &["source"],;
    /// Signed time minus time of receipt of the last delivery that was verified, in seconds. Above 0, the
    /// clock of this machine is behind, or the provider's is ahead. Absent without a signed time, and where the scheme
    /// allows an age of more than ten minutes. No alert rule stands on it: a captured request that is sent again within
    /// the tolerance moves it, and it stays as it is while a larger skew has every delivery refused
    /// (hookweir_outcomes_total, reasons timestamp_too_old and timestamp_in_future).
    pub(super) clock_skew: IntGaugeVec = "hookweir_source_clock_skew_seconds" by &["source"],;
    /// Dedup window of the source, in seconds.
    pub(super) dedup_window: IntGaugeVec = "hookweir_source_dedup_window_seconds" by &["source"],;
    /// Time for which the provider sends an event again, in seconds. Absent if it is not known.
    pub(super) source_retries: IntGaugeVec = "hookweir_source_retries_seconds" by &["source"],;
    /// Deliveries that a configured secret has verified, by its reference in the configuration.
    pub(super) secret_verified: IntCounterVec = "hookweir_secret_verified_total" by &["source", "secret"],;
    /// Unix time at which the secret last verified a delivery, in seconds. Absent until then.
    pub(super) secret_last_verified: IntGaugeVec = "hookweir_secret_last_verified_timestamp_seconds" by &["source", "secret"],;
    /// Accepted events that no sink wants: they passed no filter. They are kept as long as
    /// published ones.
    pub(super) filtered: IntCounterVec = "hookweir_filtered_total" by &["source"],;
    /// Refused deliveries in the quarantine. Bounded by `quarantine.source_rows` and `quarantine.max_rows`.
    pub(super) quarantine_rows: IntGaugeVec = "hookweir_quarantine_rows" by &["source"],;
    /// Size of the refused deliveries in the quarantine, in bytes. Bounded by `quarantine.source_bytes` and
    /// `quarantine.max_bytes`.
    pub(super) quarantine_bytes: IntGaugeVec = "hookweir_quarantine_bytes" by &["source"],;
    /// Refused deliveries that were kept in the quarantine.
    pub(super) quarantined: IntCounterVec = "hookweir_quarantined_total" by &["source"],;
    /// Refused deliveries that were not kept, or no longer. By reason: `rate` and `queue` (a flood), `large`
    /// (half of its source's bytes), `store` (it failed), `oldest` (deleted, because the source has reached its bounds).
    pub(super) quarantine_dropped: IntCounterVec = "hookweir_quarantine_dropped_total" by &["source", "reason"],;
    /// Time from a request's head to its outcome, in seconds. Bounds: `limits.body_timeout_ms` for
    /// its body, then `limits.deadline_ms`.
    pub delivery_seconds: Histogram = "hookweir_delivery_seconds", in LATENCY;
    /// Responses on the ingest listener by status code, including responses to requests that
    /// reached no source.
    pub http_answers: IntCounterVec = "hookweir_http_answers_total" by &["code"],;
    /// Requests in flight, from admission until the delivery has left the service.
    pub in_flight_requests: IntGauge = "hookweir_in_flight_requests",;
    /// Bound on requests in flight: `limits.in_flight_requests`.
    pub in_flight_requests_max: IntGauge = "hookweir_in_flight_requests_max",;
    /// Bytes of bodies in flight.
    pub in_flight_bytes: IntGauge = "hookweir_in_flight_bytes",;
    /// Bound on bytes in flight: `limits.in_flight_bytes`.
    pub in_flight_bytes_max: IntGauge = "hookweir_in_flight_bytes_max",;
    /// Connections open on the ingest listener.
    pub connections: IntGauge = "hookweir_connections",;
    /// Idle connections closed because more than 80 % of `hookweir_connections_max` were open. The
    /// longest idle are closed first.
    pub connections_closed: IntCounter = "hookweir_connections_closed_total",;
    /// Bound on connections: `server.max_connections`, or fewer if the limit on file descriptors is
    /// too low.
    pub connections_max: IntGauge = "hookweir_connections_max",;
    /// Unix time at which the certificate of a listener with TLS expires, in seconds. It is that of the certificate in
    /// force, and follows a reload.
    pub certificate_expiry: IntGaugeVec = "hookweir_tls_certificate_expiry_timestamp_seconds" by &["listener"],;
    /// Connections to a listener with TLS that were closed without a session. By reason: `not_tls` (plain HTTP, or a
    /// scan), `refused` (no common version, or a client that does not trust the certificate), `timeout`, `disconnected`.
    pub handshake_failures: IntCounterVec = "hookweir_tls_handshake_failures_total" by &["listener", "reason"],;
    /// Connections to the ingest listener that were closed for the PROXY protocol. By reason: `untrusted` (not from
    /// `server.trusted_proxies`), `malformed`, `timeout`, `disconnected`.
    pub proxy_failures: IntCounterVec = "hookweir_proxy_protocol_failures_total" by &["reason"],;
    /// Messages waiting in the mailbox of an actor. `verifier-http-0` is on the first HTTP thread,
    /// `verifier-0` on a thread of its own.
    pub mailbox_depth: IntGaugeVec = "hookweir_mailbox_depth" by &["actor"],;
    /// Most messages that waited at once in the mailbox of an actor since the scrape before.
    pub mailbox_high: IntGaugeVec = "hookweir_mailbox_high" by &["actor"],;
    /// Bound on messages in the mailbox of an actor.
    pub mailbox_capacity: IntGaugeVec = "hookweir_mailbox_capacity" by &["actor"],;
    /// Redeliveries answered from the dedup cache. Tuned by `dedup.cache_entries`.
    pub cache_hits: IntCounter = "hookweir_cache_hits_total",;
    /// Cache misses: events that needed the store, or waited for a concurrent insert of the same
    /// key.
    pub cache_misses: IntCounter = "hookweir_cache_misses_total",;
    /// Keys in the dedup cache.
    pub cache_entries: IntGauge = "hookweir_cache_entries",;
    /// Events that waited for a concurrent insert of the same key.
    pub joined: IntCounter = "hookweir_joined_total",;
    /// Events in one commit. Tuned by `dedup.batch_events` and `dedup.writers`.
    pub batch_events: Histogram = "hookweir_batch_events", in COUNTS;
    /// Duration of one commit, in seconds.
    pub commit_seconds: Histogram = "hookweir_commit_seconds", in LATENCY;
    /// Failed commits. Their events went to the spool; without a spool, their deliveries got 503.
    pub commit_failures: IntCounter = "hookweir_commit_failures_total",;
    /// Events in the spool: durable on one local disk, and not yet in the store.
    pub spool_rows: IntGauge = "hookweir_spool_rows",;
    /// Size of the events in the spool, in bytes. Bounded by `spool.max_bytes`.
    pub spool_bytes: IntGauge = "hookweir_spool_bytes",;
    /// Bound on the size of the events in the spool: `spool.max_bytes`. 0 without a spool.
    pub spool_bytes_max: IntGauge = "hookweir_spool_bytes_max",;
    /// Age of the oldest event in the spool, in seconds. Above `spool.max_age_secs`, new deliveries
    /// get 503.
    pub spool_oldest_seconds: IntGauge = "hookweir_spool_oldest_seconds",;
    /// New events written to the spool.
    pub spooled: IntCounter = "hookweir_spooled_total",;
    /// Events moved from the spool to the store.
    pub drained: IntCounter = "hookweir_drained_total",;
    /// Failed commits to the spool. Their deliveries got 503, unless the store had committed them.
    pub spool_failures: IntCounter = "hookweir_spool_failures_total",;
    /// Events sent to the sink, by result: confirmed, unroutable, nacked, unknown, refused.
    pub published: IntCounterVec = "hookweir_published_total" by &["result"],;
    /// Time from sending a batch to the sink until its last confirm, in seconds.
    pub confirm_seconds: Histogram = "hookweir_confirm_seconds", in LATENCY;
    /// Committed events that found the publisher full. The relay publishes them later. Tuned by
    /// `publisher.queue_events`.
    pub hints_dropped: IntCounter = "hookweir_hints_dropped_total",;
    /// Events that the relay found in the outbox.
    pub relayed: IntCounter = "hookweir_relayed_total",;
    /// Events parked (dead letter): publishing was given up, and the event is kept with a reason.
    pub parked: IntCounter = "hookweir_parked_total",;
    /// 1 while every sink accepts events.
    pub publisher_up: IntGauge = "hookweir_publisher_up",;
    /// 1 while publishing is paused for a burst of deliveries. Bounded by `publisher.yield_secs`.
    pub publisher_yielding: IntGauge = "hookweir_publisher_yielding",;
    /// Rows in the outbox, over all sinks: an event has one for each sink that it waits for.
    pub outbox_rows: IntGauge = "hookweir_outbox_rows",;
    /// Age of the oldest row in the outbox, over all sinks, in seconds.
    pub outbox_oldest_seconds: IntGauge = "hookweir_outbox_oldest_seconds",;
    /// Events that are parked now (dead letter), over all sinks.
    pub parked_rows: IntGauge = "hookweir_parked_rows",;
    /// Messages brought to the lakehouse, by result: `added` as a row, `copy` of a row that was there,
    /// `unreadable` and left out.
    pub lakehouse_rows: IntCounterVec = "hookweir_lakehouse_rows_total" by &["result"],;
    /// Duration of one commit to the lakehouse with its files, in seconds.
    pub lakehouse_commit_seconds: Histogram = "hookweir_lakehouse_commit_seconds", in LATENCY;
    /// Commits to the lakehouse that were repeated, because another writer or upkeep was faster.
    pub lakehouse_races: IntCounter = "hookweir_lakehouse_races_total",;
    /// Rounds of the lakehouse's upkeep that failed: compaction, expiry, retention, or removal of files. Each is tried
    /// again after `lakehouse.upkeep_secs`.
    pub lakehouse_upkeep_failures: IntCounter = "hookweir_lakehouse_upkeep_failures_total",;
    /// Age of the oldest event that the writer of the lakehouse was handed and that is no row yet, in seconds. It
    /// is measured each second, also while nothing can be committed. 0 if there is none.
    pub lakehouse_lag_seconds: IntGauge = "hookweir_lakehouse_lag_seconds",;
    /// 1 while the lakehouse can be written to, 0 if it cannot, or if no writer runs in this process.
    pub lakehouse_up: IntGauge = "hookweir_lakehouse_up",;
    /// 1 while the sink accepts events.
    pub(super) sink_up: IntGaugeVec = "hookweir_sink_up" by &["sink"],;
    /// Delay before the next attempt to connect to the sink, in seconds, rounded up. 0 while it is
    /// connected.
    pub(super) sink_backoff_seconds: IntGaugeVec = "hookweir_sink_backoff_seconds" by &["sink"],;
    /// Events sent to the sink, by result, as in `hookweir_published_total`.
    pub(super) sink_published: IntCounterVec = "hookweir_sink_published_total" by &["sink", "result"],;
    /// Events in the outbox that wait for the sink. A sink that was taken out of the configuration
    /// is among them while it has rows.
    pub(super) sink_outbox_rows: IntGaugeVec = "hookweir_sink_outbox_rows" by &["sink"],;
    /// Age of the oldest event that waits for the sink, in seconds.
    pub(super) sink_outbox_oldest_seconds: IntGaugeVec = "hookweir_sink_outbox_oldest_seconds" by &["sink"],;
    /// Events that are parked for the sink now (dead letter).
    pub(super) sink_parked_rows: IntGaugeVec = "hookweir_sink_parked_rows" by &["sink"],;
    /// Messages that the sink has taken although no queue was bound for them: they wait in
    /// `publisher.unrouted_queue`. Counted every 10 seconds, RabbitMQ only.
    pub(super) sink_unrouted_messages: IntGaugeVec = "hookweir_sink_unrouted_messages" by &["sink"],;
    /// Log lines dropped because the reader of the log was too slow, gone, or out of space.
    /// Deliveries never wait for the log.
    pub log_lines_dropped: IntCounter = "hookweir_log_lines_dropped_total",;
    /// Spans of traces: exported, failed (the collector did not take them) or dropped (no room in front of the
    /// exporter). Absent without traces.endpoint. Deliveries never wait for them.
    pub(super) trace_spans: IntCounterVec = "hookweir_trace_spans_total" by &["result"],;
    /// Version of this build, as a label. The value is always 1.
    pub build_info: IntGaugeVec = "hookweir_build_info" by &["version"],;
    /// 1 if the configuration that was read last is in force, 0 if it had mistakes.
    pub config_reload_successful: IntGauge = "hookweir_config_last_reload_successful",;
    /// Unix time at which the configuration in force was read, in seconds.
    pub config_reload_time: IntGauge = "hookweir_config_last_reload_success_timestamp_seconds",;
    /// 1 while `/readyz` answers 200.
    pub ready: IntGauge = "hookweir_ready",;
    /// Time since the process started, in seconds.
    pub uptime_seconds: IntGauge = "hookweir_uptime_seconds",;
    /// Bytes that the store takes on disk, with its indexes and with what is free in it. Measured every 20 seconds.
    pub store_bytes: IntGauge = "hookweir_store_bytes",;
    /// Bytes in the store that rows use, about. Bounded by `store.keep_events_below_bytes`.
    pub store_used_bytes: IntGauge = "hookweir_store_used_bytes",;
    /// Bytes of the bodies of conflicts in the store, with their headers and 512 more for each. Bounded by
    /// `store.keep_conflicts_below_bytes`.
    pub conflict_bytes: IntGauge = "hookweir_conflict_bytes",;
    /// Longest time for which a published event, a conflict or a refused delivery was kept beyond
    /// `store.keep_events_days`, `store.keep_conflicts_days` or `quarantine.keep_days`, and
    /// `store.prune_interval_secs`, in seconds. It grows while deletion is slower than arrival.
    pub prune_overdue_seconds: IntGauge = "hookweir_prune_overdue_seconds",;
    /// Published events and conflicts that were deleted before their time, since they were above
    /// `store.keep_events_below_bytes` or `store.keep_conflicts_below_bytes`.
    pub deleted_early: IntCounter = "hookweir_deleted_early_total",;
    /// Free space of the disk that holds the store (SQLite), the spool, the events of a file sink, or the lakehouse,
    /// in bytes, as far as the service may use it.
    pub disk_free_bytes: IntGaugeVec = "hookweir_disk_free_bytes" by &["data"],;
    /// Resident memory of the process, in bytes.
    pub resident_bytes: IntGauge = "hookweir_resident_bytes",;
    /// Open file descriptors of the process.
    pub open_fds: IntGauge = "hookweir_open_fds",;
    /// Processor time that the process has used, in seconds.
    pub process_cpu_seconds: Counter = "process_cpu_seconds_total",;
    /// Unix time at which the process started, in seconds.
    pub process_start_time: IntGauge = "process_start_time_seconds",;
    /// Resident memory, as `hookweir_resident_bytes`, under the name that dashboards of others ask for.
    pub process_resident_bytes: IntGauge = "process_resident_memory_bytes",;
    /// Open file descriptors, as `hookweir_open_fds`.
    pub process_open_fds: IntGauge = "process_open_fds",;
    /// Bound on file descriptors of the process.
    pub process_max_fds: IntGauge = "process_max_fds",;
}

impl Metrics {
    /// Counts an event of `source` that no sink wants.
    pub fn count_filtered(&self, source: &SourceName) {
        self.filtered.with_label_values(&[source.as_str()]).inc();
    }

    /// Stores whether a source or a sink is paused.
    pub fn set_paused(&self, pause: &Pause, paused: bool) {
        let family = match pause.kind {
            PauseKind::Source => &self.source_paused,
            PauseKind::Sink => &self.sink_paused,
        };
        family.with_label_values(&[&*pause.name]).set(paused.into());
    }

    /// Returns all metrics in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_is_scraped_with_help_and_with_labels_that_no_sender_chooses() {
        let bounded = [
            "source", "outcome", "reason", "result", "actor", "code", "version", "sink", "data",
            "secret", "listener", "signed",
        ];
        for metric in DESCRIPTIONS {
            assert!(
                metric.help().len() > 10 && metric.help().ends_with('.'),
                "{} needs a sentence of help",
                metric.name
            );
            // The second prefix is Prometheus' own, for what every process has.
            let ours = ["hookweir_", "process_"];
            assert!(
                ours.iter().any(|ours| metric.name.starts_with(ours)),
                "{}",
                metric.name
            );
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
}
