//! Metrics, health and logs of the writer.

use std::sync::Arc;

use hookweir_lakehouse::error::LakeError;
use hookweir_lakehouse::event::Millis;
use hookweir_lakehouse::run::{BatchReport, Observer};
use hookweir_lakehouse::upkeep::Upkept;

use crate::telemetry::Metrics;
use crate::telemetry::health::{Component, State};

/// Observer of one writer.
pub(super) struct Reporter {
    metrics: Arc<Metrics>,
    health: Component,
    unreadable: u64,
}

impl Reporter {
    pub(super) fn new(metrics: Arc<Metrics>, health: Component) -> Self {
        Self {
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
        if let Some(oldest) = batch.oldest {
            let lag = Millis::now().0.saturating_sub(oldest.0) / 1000;
            self.metrics.lakehouse_lag_seconds.set(lag.max(0));
        }
        tracing::debug!(
            added = outcome.added,
            copies = outcome.copies,
            "committed to the lakehouse"
        );
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
                tracing::warn!("upkeep of the lakehouse failed, and is tried again: {error}")
            }
        }
    }
}
