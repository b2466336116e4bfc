//! Figures of a source by which an operator is warned: its usual gap, headroom to its deadline, failures in a
//! row, clock skew, and the provider's own rules.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};

use super::metrics::Metrics;
use super::source_metrics::FirstSet;
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::domain::outcome::{Outcome, RejectReason, ShedReason};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Days whose gaps count: a week with its weekend, and the present day.
const DAYS: i64 = 8;

/// Largest age that a scheme allows, for its signed times to tell of clocks.
const TELLING_AGE: Duration = Duration::from_secs(600);

/// Events after which a gap is called usual.
const MIN_EVENTS: u64 = 20;

/// Rules of a source and its provider, as the configuration in force has them.
#[derive(Clone, Copy, Debug)]
pub struct SourceRules {
    /// Longest time to an answer.
    pub deadline: Duration,
    /// Time for which a redelivery is recognised.
    pub window: Duration,
    /// Time for which the provider sends an event again.
    pub retries: Option<Duration>,
    /// Failures in a row after which the provider disables the webhook.
    pub disabled_after_failures: Option<u32>,
    /// Time of nothing but failures after which the provider disables the webhook.
    pub disabled_after: Option<Duration>,
}

/// The figures.
#[derive(Debug)]
pub struct SourceAlarms {
    near_deadline: IntCounter,
    /// Half of the deadline, in microseconds. 0: not known yet.
    half_deadline: AtomicU64,
    failures: IntGauge,
    failing_since: IntGauge,
    gaps: Gaps,
    usual_gap: FirstSet,
    clock_skew: FirstSet,
}

impl SourceAlarms {
    pub(super) fn new(metrics: &Metrics, source: &SourceName) -> Self {
        let of = [source.as_str()];
        Self {
            near_deadline: metrics.near_deadline.with_label_values(&of),
            half_deadline: AtomicU64::new(0),
            failures: metrics.failures_in_a_row.with_label_values(&of),
            failing_since: metrics.failing_since.with_label_values(&of),
            gaps: Gaps::default(),
            usual_gap: FirstSet::new(&metrics.usual_gap, source),
            clock_skew: FirstSet::new(&metrics.clock_skew, source),
        }
    }

    /// Notes an outcome at `now` that took this time. A late one is a failure to its sender, who has left or was
    /// answered 503.
    pub(super) fn note(
        &self,
        (outcome, is_late): (&Outcome, bool),
        took: Duration,
        now: UnixMillis,
    ) {
        let half = self.half_deadline.load(Ordering::Relaxed);
        if half > 0 && took.as_micros() > u128::from(half) {
            self.near_deadline.inc();
        }
        match outcome {
            Outcome::Accepted { .. } | Outcome::Duplicate { .. } | Outcome::Challenge(_)
                if !is_late =>
            {
                if self.failures.get() != 0 {
                    self.failures.set(0);
                    self.failing_since.set(0);
                }
            }
            Outcome::Rejected(of) if is_anyones(of.reason) => {}
            Outcome::Shed(ShedReason::ClientRate) => {}
            _ => {
                if self.failures.get() == 0 {
                    self.failing_since.set(now.0 / 1000);
                }
                self.failures.inc();
            }
        }
    }

    /// Notes an accepted event at `now`, the `count`th, with the time of the one before.
    pub(super) fn accepted(&self, before: Option<UnixMillis>, now: UnixMillis, count: u64) {
        if let Some(before) = before
            && let Some(usual) = self.gaps.note(now.0.saturating_sub(before.0), now, count)
        {
            self.usual_gap.set_seconds(usual / 1000);
        }
    }

    /// Notes the time at which a verified delivery was signed, if its scheme takes none that is older than ten
    /// minutes: that of an older one may be that of an earlier attempt.
    pub fn signed(
        &self,
        signed_at: UnixMillis,
        received_at: UnixMillis,
        max_age: Option<Duration>,
    ) {
        if max_age.is_none_or(|max_age| max_age > TELLING_AGE) {
            return;
        }
        let skew = signed_at.0.saturating_sub(received_at.0);
        self.clock_skew.set_seconds(skew.div_euclid(1000));
    }

    /// Returns the longest gap between two accepted events within the last days. None: too few events.
    pub fn usual_gap(&self) -> Option<Duration> {
        self.usual_gap.get().map(seconds)
    }

    /// Returns the signed time minus the time of receipt of the last verified delivery, in seconds.
    pub fn clock_skew(&self) -> Option<i64> {
        self.clock_skew.get()
    }

    /// Returns the number of failures in a row.
    pub fn failures(&self) -> u64 {
        u64::try_from(self.failures.get()).unwrap_or(0)
    }

    /// Returns the number of deliveries that took more than half of the deadline.
    pub fn near_deadline(&self) -> u64 {
        self.near_deadline.get()
    }

    fn set_deadline(&self, deadline: Duration) {
        let half = u64::try_from(deadline.as_micros() / 2).unwrap_or(u64::MAX);
        self.half_deadline.store(half, Ordering::Relaxed);
    }
}

/// Returns `true` for a refusal that anyone can provoke without a try at a signature.
fn is_anyones(reason: RejectReason) -> bool {
    matches!(
        reason,
        RejectReason::SignatureMissing
            | RejectReason::Disconnected
            | RejectReason::BodyTooSlow
            | RejectReason::HeadersTooLarge
            | RejectReason::AddressNotAllowed
    )
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

impl Metrics {
    /// Puts the rules of a source in force.
    pub fn set_rules(&self, source: &SourceName, alarms: &SourceAlarms, rules: &SourceRules) {
        alarms.set_deadline(rules.deadline);
        let of = [source.as_str()];
        let whole = |n: u128| i64::try_from(n).unwrap_or(i64::MAX);
        let deadline = rules.deadline.as_secs_f64();
        self.source_deadline.with_label_values(&of).set(deadline);
        let window = whole(rules.window.as_secs().into());
        self.dedup_window.with_label_values(&of).set(window);
        let known = [
            (&self.source_retries, rules.retries.map(|of| of.as_secs())),
            (
                &self.disabled_after,
                rules.disabled_after.map(|of| of.as_secs()),
            ),
            (
                &self.disabled_after_failures,
                rules.disabled_after_failures.map(u64::from),
            ),
        ];
        for (family, value) in known {
            match value {
                Some(value) => family.with_label_values(&of).set(whole(value.into())),
                // There is none unless another configuration had one.
                None => drop(family.remove_label_values(&of)),
            }
        }
    }
}

/// Longest gaps between two accepted events, by day.
#[derive(Debug, Default)]
struct Gaps {
    /// Day of `longest`, in days since 1970.
    day: AtomicI64,
    /// Longest gap of that day, in milliseconds.
    longest: AtomicI64,
    is_known: AtomicBool,
    days: Mutex<VecDeque<(i64, i64)>>,
}

impl Gaps {
    /// Notes a gap that ended at `now`. Returns the longest one within the last days if it may be another.
    fn note(&self, gap: i64, now: UnixMillis, count: u64) -> Option<i64> {
        let day = now.0.div_euclid(DAY_MS);
        let is_same =
            self.day.load(Ordering::Relaxed) == day && gap <= self.longest.load(Ordering::Relaxed);
        if gap < 0 || is_same && self.is_known.load(Ordering::Relaxed) {
            return None;
        }
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        let of_day = match days.back_mut() {
            Some((last, longest)) if *last == day => {
                *longest = gap.max(*longest);
                *longest
            }
            _ => {
                days.push_back((day, gap));
                gap
            }
        };
        days.retain(|(of, _)| (day - DAYS + 1..=day).contains(of));
        self.day.store(day, Ordering::Relaxed);
        self.longest.store(of_day, Ordering::Relaxed);
        let is_known = count >= MIN_EVENTS;
        self.is_known.store(is_known, Ordering::Relaxed);
        let longest = days.iter().map(|(_, gap)| *gap).max();
        longest.filter(|_| is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has an event come after each gap of so many seconds, and returns the usual gap at the end.
    fn usual(gaps: impl IntoIterator<Item = i64>) -> Option<i64> {
        let (all, mut now, mut count, mut usual) = (Gaps::default(), DAY_MS * 20_000, 0, None);
        for gap in gaps {
            now += gap * 1000;
            count += 1;
            usual = all.note(gap * 1000, UnixMillis(now), count).or(usual);
        }
        usual.map(|gap| gap / 1000)
    }

    #[test]
    fn the_usual_gap_is_the_longest_of_eight_days_once_there_were_twenty_events() {
        assert_eq!(usual([60; 19]), None);
        assert_eq!(usual([60; 20]), Some(60));
        // A night, then the events of a day.
        let night = [40_000].into_iter();
        assert_eq!(usual(night.clone().chain([60; 30])), Some(40_000));
        // Nine days without such a night.
        let later = std::iter::repeat_n(600, 9 * 144);
        assert_eq!(usual(night.chain(later)), Some(600));
        assert_eq!(usual([60; 20].into_iter().chain([-500, 60])), Some(60));
    }
}
