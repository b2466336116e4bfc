//! Figures of this instance at a moment, and the rates between two moments.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Instant;

use prometheus::Histogram;
use serde::{Deserialize, Serialize};

use super::Operator;
use super::views::shown;
use crate::domain::delivery::wall_clock;
use crate::in_flight::Budget;
use crate::runtime::mailbox::{ActorEntry, ActorRegistry};
use crate::telemetry::{Health, Metrics};

/// Places from which the figures are read, and the options that decide about them.
pub struct Instruments {
    /// All metrics.
    pub metrics: Arc<Metrics>,
    /// Every actor.
    pub actors: ActorRegistry,
    /// Room for deliveries in flight.
    pub budget: Arc<Budget>,
    /// Start of the process.
    pub since: Instant,
    /// Options that advice is about.
    pub options: TopOptions,
    /// State of each component.
    pub health: Health,
}

/// Options that advice is about, as they were read at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopOptions {
    /// `verifier.mailbox_capacity`.
    pub verifier_mailbox: u64,
    /// `dedup.mailbox_capacity`.
    pub dedup_mailbox: u64,
    /// `dedup.writers`. 1 with SQLite.
    pub writers: u64,
    /// `dedup.batch_events`.
    pub batch_events: u64,
    /// `dedup.cache_entries`.
    pub cache_entries: u64,
    /// `publisher.channels` of the first sink.
    pub channels: u64,
    /// `publisher.queue_events` of the first sink.
    pub queue_events: u64,
    /// `publisher.yield_secs` of the first sink.
    pub yield_secs: u64,
    /// `spool.max_bytes`. 0 without a spool.
    pub spool_bytes: u64,
}

/// Figures of an instance at a moment. Counts are since its start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopView {
    /// Id of the instance.
    pub instance: String,
    /// Time of the figures.
    pub at: String,
    /// Milliseconds since the start of the process.
    pub uptime_ms: u64,
    /// Time of all processors of the machine, and the part in which they were idle, in ticks. None if
    /// the service may not read `/proc/stat`; `hookweir top` reads it itself then.
    pub processors: Option<PartOf>,
    /// Outcomes of each source.
    pub sources: Vec<SourceCounts>,
    /// Deliveries that were refused for lack of room, by reason.
    pub shed: Vec<ReasonCount>,
    /// Deliveries in flight.
    pub in_flight_requests: PartOf,
    /// Bytes of bodies in flight.
    pub in_flight_bytes: PartOf,
    /// Connections of the ingest listener.
    pub connections: PartOf,
    /// Mailboxes of actors.
    pub mailboxes: Vec<MailboxView>,
    /// Keys in the dedup cache.
    pub cache_entries: u64,
    /// Redeliveries that the cache has answered.
    pub cache_hits: u64,
    /// Events that the cache did not know.
    pub cache_misses: u64,
    /// Events that waited for the same one, which was being stored.
    pub joined: u64,
    /// Commits, and the events in them.
    pub batches: Observed,
    /// Commits, and the microseconds that they took.
    pub commits: Observed,
    /// Commits that failed.
    pub commit_failures: u64,
    /// Batches that a sink has confirmed, and the microseconds that it took.
    pub confirms: Observed,
    /// Bytes of the events in the spool.
    pub spool_bytes: u64,
    /// Committed events that found the publisher full.
    pub hints_dropped: u64,
    /// Events that were read back from the outbox.
    pub relayed: u64,
    /// True while publishing pauses for a burst.
    pub yielding: bool,
    /// Sinks, with what waits for each.
    pub sinks: Vec<SinkBacklog>,
    /// Options that advice is about.
    pub options: TopOptions,
}

/// A number, and the number that it is a part of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartOf {
    /// The number.
    pub part: u64,
    /// The whole, or the bound.
    pub whole: u64,
}

/// Number of observations and their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Number of observations.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// Outcomes of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceCounts {
    /// Name of the source.
    pub source: String,
    /// New events.
    pub accepted: u64,
    /// Redeliveries that were recognised.
    pub duplicate: u64,
    /// Deliveries that were refused for good.
    pub rejected: u64,
    /// Deliveries that were refused for lack of room.
    pub shed: u64,
    /// Deliveries that are not known to be stored.
    pub failed: u64,
}

/// Number of deliveries with the same reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonCount {
    /// The reason, as metrics count it.
    pub reason: String,
    /// Number of deliveries.
    pub count: u64,
}

/// Mailbox of an actor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxView {
    /// Name of the actor.
    pub actor: String,
    /// Messages that wait.
    pub depth: u64,
    /// Most messages that waited at once since the last scrape of `/metrics`, or since the start.
    pub high: u64,
    /// Most messages that may wait.
    pub capacity: u64,
}

/// A sink with what waits for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkBacklog {
    /// Name of the sink.
    pub sink: String,
    /// True while it accepts events. None if it is not configured.
    pub up: Option<bool>,
    /// Events that wait for it.
    pub waiting: u64,
    /// Age of the oldest of them, in seconds.
    pub oldest_seconds: u64,
    /// Parked events.
    pub parked: u64,
    /// Messages for which no queue was bound.
    pub unrouted: u64,
    /// Events that it has confirmed.
    pub confirmed: u64,
}

impl Operator {
    /// Returns the figures of this instance now.
    pub fn top(&self) -> TopView {
        let from = &self.instruments;
        let metrics = &*from.metrics;
        let ((requests, bytes), (free_requests, free_bytes)) =
            (from.budget.used(), from.budget.room());
        let (sources, shed) = outcomes(metrics);
        TopView {
            instance: self.instance.to_string(),
            at: shown(wall_clock()),
            uptime_ms: u64::try_from(from.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            processors: processors(),
            sources,
            shed,
            in_flight_requests: part_of(requests, free_requests),
            in_flight_bytes: part_of(bytes, free_bytes),
            connections: PartOf {
                part: whole(metrics.connections.get()),
                whole: whole(metrics.connections_max.get()),
            },
            mailboxes: from.actors.entries().iter().map(mailbox).collect(),
            cache_entries: whole(metrics.cache_entries.get()),
            cache_hits: metrics.cache_hits.get(),
            cache_misses: metrics.cache_misses.get(),
            joined: metrics.joined.get(),
            batches: observed(&metrics.batch_events, 1.0),
            commits: observed(&metrics.commit_seconds, 1e6),
            commit_failures: metrics.commit_failures.get(),
            confirms: observed(&metrics.confirm_seconds, 1e6),
            spool_bytes: whole(metrics.spool_bytes.get()),
            hints_dropped: metrics.hints_dropped.get(),
            relayed: metrics.relayed.get(),
            yielding: metrics.publisher_yielding.get() == 1,
            sinks: sinks(metrics),
            options: from.options.clone(),
        }
    }
}

/// Returns the outcomes of each source, and the reasons of those that were shed.
fn outcomes(metrics: &Metrics) -> (Vec<SourceCounts>, Vec<ReasonCount>) {
    let mut sources: BTreeMap<String, SourceCounts> = BTreeMap::new();
    let mut reasons: BTreeMap<String, u64> = BTreeMap::new();
    for counted in metrics.outcome_counts() {
        let of = sources.entry(counted.source.clone()).or_default();
        of.source = counted.source;
        match counted.outcome.as_str() {
            "accepted" => of.accepted += counted.count,
            "duplicate" => of.duplicate += counted.count,
            "rejected" => of.rejected += counted.count,
            "shed" => {
                of.shed += counted.count;
                *reasons.entry(counted.reason).or_default() += counted.count;
            }
            "failed" => of.failed += counted.count,
            _ => {}
        }
    }
    let reasons = reasons.into_iter();
    let reasons = reasons.map(|(reason, count)| ReasonCount { reason, count });
    (sources.into_values().collect(), reasons.collect())
}

fn mailbox(entry: &ActorEntry) -> MailboxView {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    MailboxView {
        actor: entry.actor.clone(),
        depth: number(entry.gauge.depth()),
        high: number(entry.gauge.high()),
        capacity: number(entry.gauge.capacity()),
    }
}

fn sinks(metrics: &Metrics) -> Vec<SinkBacklog> {
    let all = metrics.sinks().into_iter();
    let backlogs = all.map(|(sink, figures)| SinkBacklog {
        sink,
        up: figures.up,
        waiting: whole(figures.outbox_rows),
        oldest_seconds: whole(figures.outbox_oldest_seconds),
        parked: whole(figures.parked_rows),
        unrouted: whole(figures.unrouted),
        confirmed: figures.confirmed,
    });
    backlogs.collect()
}

fn observed(histogram: &Histogram, unit: f64) -> Observed {
    Observed {
        count: histogram.get_sample_count(),
        sum: (histogram.get_sample_sum() * unit) as u64,
    }
}

fn part_of(used: usize, free: usize) -> PartOf {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    PartOf {
        part: number(used),
        whole: number(used.saturating_add(free)),
    }
}

fn whole(gauge: i64) -> u64 {
    u64::try_from(gauge).unwrap_or(0)
}

impl TopView {
    /// Completes the figures by those of the processors, as the caller's process sees them. The service
    /// may not see them: `ProcSubset=pid` hides `/proc/stat` from it.
    #[must_use]
    pub fn with_processors(self) -> Self {
        Self {
            processors: self.processors.or_else(processors),
            ..self
        }
    }
}

/// Returns the ticks in which the processors were idle, out of all. None without `/proc`.
fn processors() -> Option<PartOf> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|ticks| ticks.parse().ok())
        .collect();
    Some(PartOf {
        // Idle, and waiting for a disk.
        part: ticks.get(3)? + ticks.get(4)?,
        whole: ticks.iter().take(8).sum(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_that_the_service_may_not_see_are_those_that_the_command_sees() {
        let hidden = TopView::default().with_processors();
        assert!(hidden.processors.is_some_and(|of| of.whole > 0));
        let seen = Some(PartOf { part: 1, whole: 2 });
        let kept = TopView {
            processors: seen,
            ..TopView::default()
        };
        assert_eq!(kept.with_processors().processors, seen);
    }
}
