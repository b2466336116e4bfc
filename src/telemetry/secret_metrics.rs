//! Metrics of one secret of a source.

use std::sync::OnceLock;

use prometheus::{IntCounter, IntGauge, IntGaugeVec};

use super::metrics::Metrics;
use crate::domain::delivery::{SourceName, UnixMillis};

/// The metrics of one secret.
#[derive(Debug)]
pub struct SecretMetrics {
    verified: IntCounter,
    last: IntGaugeVec,
    labels: [String; 2],
    series: OnceLock<IntGauge>,
}

impl Metrics {
    /// Returns the metrics of a secret with this reference. Look them up once.
    pub fn secret(&self, source: &SourceName, reference: &str) -> SecretMetrics {
        let labels = [source.to_string(), reference.to_owned()];
        SecretMetrics {
            verified: self.secret_verified.with_label_values(&labels),
            last: self.secret_last_verified.clone(),
            labels,
            series: OnceLock::new(),
        }
    }
}

impl SecretMetrics {
    /// Starts again, for another secret under the same reference. `last` is its last use, if it had one under another reference.
    pub fn start_again(&self, last: Option<UnixMillis>) {
        self.verified.reset();
        match last {
            Some(last) => self.last.with_label_values(&self.labels).set(last.0 / 1000),
            // There is none if the secret before was not used.
            None => drop(self.last.remove_label_values(&self.labels)),
        }
    }

    /// Counts a delivery that the secret has verified at `now`. The time has no series until then: an age since 1970 would mean nothing.
    pub fn verified(&self, now: UnixMillis) {
        self.verified.inc();
        let series = || self.last.with_label_values(&self.labels);
        self.series.get_or_init(series).set(now.0 / 1000);
    }
}
