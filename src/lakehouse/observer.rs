//! Metrics, health and logs of the writer.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::run::{BatchReport, Observer};
use hookweir_lakehouse::upkeep::Upkept;

use crate::domain::request_id::RequestId;
use crate::domain::trace_context::TraceContext;
use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};
use crate::telemetry::traces::OpenSpan;

/// Interval at which the lag is measured.
const MEASURE: Duration = Duration::from_secs(1);
/// No event waits.
const NONE: i64 = i64::MAX;

/// Time of receipt of the oldest event that the writer was handed and that is no row yet.
#[derive(Debug)]
pub(super) struct Oldest(AtomicI64);

impl Default for Oldest {
    fn default() -> Self {
        Self(AtomicI64::new(NONE))
    }
}

impl Oldest {
    fn set(&self, at: Option<Millis>) {
        self.0.store(at.map_or(NONE, |at| at.0), Ordering::Relaxed);
    }

    /// Returns the age of the event in seconds; 0 if there is none.
    fn lag(&self, now: Millis) -> i64 {
        let age = now.0.saturating_sub(self.0.load(Ordering::Relaxed));
        age.max(0) / 1000
    }

    /// Measures the lag again and again, also while a commit hangs or the table is away.
    pub(super) async fn measure(&self, metrics: &Metrics) {
        loop {
            metrics.lakehouse_lag_seconds.set(self.lag(Millis::now()));
            tokio::time::sleep(MEASURE).await;
        }
    }
}

/// Observer of one writer.
pub(super) struct Reporter {
    oldest: Arc<Oldest>,
    metrics: Arc<Metrics>,
    health: Component,
    unreadable: u64,
}

impl Reporter {
    pub(super) fn new(oldest: Arc<Oldest>, metrics: Arc<Metrics>, health: Component) -> Self {
        // An alert looks for them, also before the first commit.
        for result in ["added", "copy", "unreadable"] {
            metrics.lakehouse_rows.with_label_values(&[result]);
        }
        Self {
            oldest,
            metrics,
            health,
            unreadable: 0,
        }
    }

    fn count(&self, result: &str, count: usize) {
        let counter = self.metrics.lakehouse_rows.with_label_values(&[result]);
        counter.inc_by(count as u64);
    }
}

impl Observer for Reporter {
    fn opened(&mut self) {
        self.metrics.lakehouse_up.set(1);
        self.health.update(State::Ready);
    }

    fn committed(&mut self, batch: BatchReport) {
        self.opened();
        let outcome = batch.outcome;
        self.count("added", outcome.added);
        self.count("copy", outcome.copies + batch.folded);
        self.metrics.lakehouse_races.inc_by(outcome.races as u64);
        let took = batch.took.as_secs_f64();
        self.metrics.lakehouse_commit_seconds.observe(took);
        trace(&batch);
        tracing::debug!(
            added = outcome.added,
            copies = outcome.copies,
            "committed to the lakehouse"
        );
    }

    fn waiting(&mut self, oldest: Option<Millis>) {
        self.oldest.set(oldest);
    }

    fn away(&mut self, error: &LakeError) {
        self.metrics.lakehouse_up.set(0);
        let why = format!("{error}; events wait in the sink, and the writer tries again");
        self.health.update(State::Degraded(why.into()));
    }

    fn unreadable(&mut self, reason: &str) {
        self.count("unreadable", 1);
        self.unreadable += 1;
        if self.unreadable.is_power_of_two() {
            tracing::warn!(
                count = self.unreadable,
                "a message cannot become a row of the lakehouse and is left out: {reason}"
            );
        }
    }

    fn upkept(&mut self, outcome: Result<Upkept, LakeError>) {
        match outcome {
            Ok(done) if done == Upkept::default() => {}
            Ok(done) => tracing::debug!(?done, "upkeep of the lakehouse"),
            Err(error) => {
                self.metrics.lakehouse_upkeep_failures.inc();
                tracing::warn!("upkeep of the lakehouse failed, and is tried again: {error}");
            }
        }
    }
}

/// Exports the span of a commit, with links to the deliveries of its sampled events.
fn trace(batch: &BatchReport) {
    let links = batch
        .traces
        .iter()
        .filter_map(|text| TraceContext::parse(text));
    let context = || TraceContext::first(RequestId::next());
    let span = OpenSpan::linked(links, "lakehouse commit", context, batch.took);
    if let Some(mut span) = span {
        span.set("hookweir.rows", batch.outcome.added);
        span.set("hookweir.copies", batch.outcome.copies + batch.folded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lag_is_the_age_of_the_oldest_event_that_is_no_row() {
        let oldest = Oldest::default();
        assert_eq!(oldest.lag(Millis(9000)), 0);
        oldest.set(Some(Millis(2000)));
        assert_eq!(oldest.lag(Millis(9999)), 7);
        // A clock that was set back.
        assert_eq!(oldest.lag(Millis(1000)), 0);
        oldest.set(None);
        assert_eq!(oldest.lag(Millis(9000)), 0);
    }
}
