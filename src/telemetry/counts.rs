//! Counts of outcomes, as an operator reads them.

use prometheus::core::Collector;

use super::Metrics;

/// Number of deliveries of a source with the same outcome and reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeCount {
    /// Name of the source.
    pub source: String,
    /// Outcome, as metrics count it.
    pub outcome: String,
    /// Reason; empty if the outcome needs none.
    pub reason: String,
    /// Number of deliveries.
    pub count: u64,
}

impl Metrics {
    /// Returns the counts of all outcomes since the start of the process.
    pub fn outcome_counts(&self) -> Vec<OutcomeCount> {
        let families = self.outcomes.collect();
        let metrics = families.iter().flat_map(|family| family.get_metric());
        let count = |metric: &prometheus::proto::Metric| {
            let label = |name: &str| {
                let mut labels = metric.get_label().iter();
                let found = labels.find(|label| label.name() == name);
                found.map_or_else(String::new, |label| label.value().to_owned())
            };
            OutcomeCount {
                source: label("source"),
                outcome: label("outcome"),
                reason: label("reason"),
                // A whole number, far below 2^53.
                count: metric.get_counter().get_value() as u64,
            }
        };
        metrics.map(count).collect()
    }
}
