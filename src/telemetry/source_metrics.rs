//! Metrics of one source.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::line_limit::LineLimit;
use super::metrics::Metrics;
use super::{LastOutcomes, LiveFeed, SourceAlarms};
use crate::domain::delivery::{EventId, Marks, SourceName, UnixMillis, wall_clock};
use crate::domain::outcome::{FailReason, Outcome, RejectReason, ShedReason};

/// Values of the label `signed`, of `false` and `true`.
const SIGNED: [&str; 2] = ["no", "yes"];

impl Metrics {
    /// Returns the metrics of one source. Look them up once.
    pub fn source(&self, source: &SourceName) -> Arc<SourceMetrics> {
        let outcome = |outcome: &str, reason: &str| {
            self.outcomes
                .with_label_values(&[source.as_str(), outcome, reason])
        };
        Arc::new(SourceMetrics {
            received: self.received.with_label_values(&[source.as_str()]),
            conflicts: self.conflicts.with_label_values(&[source.as_str()]),
            same_bytes: self.same_bytes.with_label_values(&[source.as_str()]),
            address_misses: SIGNED.map(|signed| {
                self.address_misses
                    .with_label_values(&[source.as_str(), signed])
            }),
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
            last_accepted: FirstSet::new(&self.last_accepted, source),
            last_rejected: FirstSet::new(&self.last_rejected, source),
            last: LastOutcomes::default(),
            alarms: SourceAlarms::new(self, source),
            lines: LineLimit::default(),
            live: self.live.clone(),
            source: source.clone(),
        })
    }
}

impl Metrics {
    /// Removes the series of sources and secrets for which `is_in_force` returns `false`. It takes the name of a source, and the
    /// reference of a secret.
    pub fn keep_series(&self, is_in_force: impl Fn(&str, Option<&str>) -> bool) {
        for source in labels(&self.received, ["source"]) {
            let [name] = &source;
            if !is_in_force(name, None) {
                self.remove_source(name);
            }
        }
        for secret in labels(&self.secret_verified, ["source", "secret"]) {
            let [name, reference] = &secret;
            if !is_in_force(name, Some(reference)) {
                // The time is absent if it was never used.
                let _ = self.secret_verified.remove_label_values(&secret);
                let _ = self.secret_last_verified.remove_label_values(&secret);
            }
        }
    }

    /// Returns `true` if the source is in force. It reads the series of all sources.
    pub fn has_source(&self, name: &str) -> bool {
        let known = labels(&self.received, ["source"]);
        known.iter().any(|[known]| known == name)
    }

    /// Removes the series of one source. Some of them may not be there.
    fn remove_source(&self, name: &str) {
        for family in [
            &self.received,
            &self.conflicts,
            &self.same_bytes,
            &self.filtered,
            &self.quarantined,
            &self.near_deadline,
        ] {
            let _ = family.remove_label_values(&[name]);
        }
        for family in [
            &self.last_accepted,
            &self.last_rejected,
            &self.usual_gap,
            &self.failures_in_a_row,
            &self.failing_since,
            &self.disabled_after_failures,
            &self.disabled_after,
            &self.clock_skew,
            &self.dedup_window,
            &self.source_retries,
        ] {
            let _ = family.remove_label_values(&[name]);
        }
        for [source, reason] in labels(&self.quarantine_dropped, ["source", "reason"]) {
            if source == name {
                let _ = self
                    .quarantine_dropped
                    .remove_label_values(&[source, reason]);
            }
        }
        for signed in SIGNED {
            let _ = self.address_misses.remove_label_values(&[name, signed]);
        }
        let _ = self.source_deadline.remove_label_values(&[name]);
        let single = ["accepted", "duplicate", "challenge"].map(|outcome| (outcome, ""));
        let rejected = RejectReason::ALL.iter().map(|of| ("rejected", of.label()));
        let shed = ShedReason::ALL.iter().map(|of| ("shed", of.label()));
        let failed = FailReason::ALL.iter().map(|of| ("failed", of.label()));
        let all = single.into_iter().chain(rejected).chain(shed).chain(failed);
        for (outcome, reason) in all {
            let _ = self.outcomes.remove_label_values(&[name, outcome, reason]);
        }
    }
}

/// Returns the values of these labels of each series of a family.
fn labels<const N: usize>(family: &IntCounterVec, names: [&str; N]) -> Vec<[String; N]> {
    let families = family.collect();
    let series = families.iter().flat_map(|family| family.get_metric());
    let value = |series: &prometheus::proto::Metric, name: &str| {
        let mut labels = series.get_label().iter();
        let found = labels.find(|label| label.name() == name);
        found.map_or_else(String::new, |label| label.value().to_owned())
    };
    series
        .map(|series| names.map(|name| value(series, name)))
        .collect()
}

/// Gauge of one source, which has no series until it is set: an age since 1970 would mean nothing.
#[derive(Debug)]
pub(super) struct FirstSet {
    family: IntGaugeVec,
    source: SourceName,
    series: OnceLock<IntGauge>,
}

impl FirstSet {
    pub(super) fn new(family: &IntGaugeVec, source: &SourceName) -> Self {
        Self {
            family: family.clone(),
            source: source.clone(),
            series: OnceLock::new(),
        }
    }

    fn set(&self, now: UnixMillis) {
        self.set_seconds(now.0 / 1000);
    }

    pub(super) fn set_seconds(&self, seconds: i64) {
        let name = self.source.as_str();
        let series = || self.family.with_label_values(&[name]);
        self.series.get_or_init(series).set(seconds);
    }

    /// Returns the value. None: it was not set yet.
    pub(super) fn get(&self) -> Option<i64> {
        self.series.get().map(IntGauge::get)
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
    address_misses: [IntCounter; 2],
    accepted: IntCounter,
    duplicate: IntCounter,
    challenge: IntCounter,
    rejected: Vec<IntCounter>,
    shed: Vec<IntCounter>,
    failed: Vec<IntCounter>,
    delivery_seconds: Histogram,
    last_accepted: FirstSet,
    last_rejected: FirstSet,
    /// Last outcomes of this source.
    pub last: LastOutcomes,
    /// Figures by which an operator is warned.
    pub alarms: SourceAlarms,
    /// Limit on log lines about this source.
    pub(super) lines: LineLimit,
    live: Arc<LiveFeed>,
}

impl SourceMetrics {
    /// Returns the source of these metrics.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// Counts an event that was published with marks.
    pub fn count_marks(&self, marks: &Marks) {
        self.conflicts.inc_by(marks.conflict_of.is_some().into());
        self.same_bytes.inc_by(marks.same_bytes_as.is_some().into());
    }

    /// Counts a delivery from an address that is not allowed.
    pub fn count_address_miss(&self, signed: bool) {
        self.address_misses[usize::from(signed)].inc();
    }

    /// Shows one outcome to operators who watch.
    pub fn show(&self, event: (Option<&EventId>, Option<&str>), outcome: &Outcome, took: Duration) {
        self.live.note(&self.source, event, outcome, took);
    }

    /// Returns `true` while an operator watches outcomes.
    pub fn is_watched(&self) -> bool {
        self.live.is_watched()
    }

    /// Counts one outcome. A late one comes after the sender has left, or was answered 503.
    pub fn count(&self, outcome: &Outcome, took: Duration, is_late: bool) {
        let counter = match outcome {
            Outcome::Accepted { .. } => &self.accepted,
            Outcome::Duplicate { .. } => &self.duplicate,
            Outcome::Challenge(_) => &self.challenge,
            Outcome::Rejected(rejection) => &self.rejected[rejection.reason as usize],
            Outcome::Shed(reason) => &self.shed[*reason as usize],
            Outcome::Failed(reason) => &self.failed[*reason as usize],
        };
        counter.inc();
        let now = wall_clock();
        match outcome {
            Outcome::Accepted { .. } => {
                let before = self.last.accepted();
                self.alarms.accepted(before, now, self.accepted.get());
                self.last_accepted.set(now);
            }
            Outcome::Rejected(_) => self.last_rejected.set(now),
            _ => {}
        }
        self.last.note(outcome, now);
        self.alarms.note((outcome, is_late), took, now);
        self.delivery_seconds.observe(took.as_secs_f64());
    }

    /// Returns the number of all outcomes.
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
    fn the_time_of_the_last_event_is_absent_until_there_was_one() {
        let metrics = Metrics::new().expect("names are unique");
        let source = metrics.source(&SourceName::parse("s").expect("a name"));
        let shown = |name: &str| {
            let text = metrics.text().expect("utf-8");
            let line = text
                .lines()
                .find(|line| line.starts_with(&format!("{name}{{")));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<i64>().ok())
        };
        let (accepted, rejected) = (
            "hookweir_source_last_accepted_timestamp_seconds",
            "hookweir_source_last_rejected_timestamp_seconds",
        );
        assert_eq!((shown(accepted), shown(rejected)), (None, None));
        let reason = RejectReason::SignatureMismatch;
        let rejection = crate::domain::outcome::Rejection::new(reason, "");
        source.count(&Outcome::Rejected(rejection), Duration::ZERO, false);
        assert_eq!(shown(accepted), None);
        let now = wall_clock().0 / 1000;
        assert!(shown(rejected).is_some_and(|at| (now - 60..=now).contains(&at)));
    }

    #[test]
    fn a_source_that_is_gone_leaves_no_series_and_the_others_go_on() {
        let metrics = Metrics::new().expect("names are unique");
        let name = |name: &str| SourceName::parse(name).expect("a name");
        let lines = |of: &str| {
            let text = metrics.text().expect("utf-8");
            let of = format!("\"{of}\"");
            text.lines().filter(|line| line.contains(&of)).count()
        };
        let kept = metrics.source(&name("kept"));
        let before = lines("kept");
        for source in ["kept", "gone"] {
            metrics
                .secret(&name(source), "file:old")
                .verified(wall_clock());
            metrics.count_filtered(&name(source));
        }
        metrics.source(&name("gone")).count(
            &Outcome::Shed(ShedReason::Bytes),
            Duration::ZERO,
            false,
        );
        metrics.keep_series(|source, secret| source == "kept" && secret != Some("file:old"));
        assert_eq!((lines("gone"), lines("file:old")), (0, 0));
        assert_eq!(lines("kept"), before + 1, "and what was filtered");
        kept.received.inc();
        assert!(
            metrics
                .text()
                .expect("utf-8")
                .contains("hookweir_received_total{source=\"kept\"} 1")
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
            source.count(outcome, Duration::ZERO, false);
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
