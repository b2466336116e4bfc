//! Samples of the service's `/metrics`.

use std::collections::BTreeMap;

/// Samples of `/metrics`.
#[derive(Debug)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format of Prometheus.
    pub(crate) fn parse(text: &str) -> Self {
        let samples = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            });
        Self(samples.collect())
    }

    /// The sample without labels, or 0.
    pub fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// The sum of the samples of `name` whose labels contain all of `labels` (`outcome="accepted"`).
    pub fn sum(&self, name: &str, labels: &[&str]) -> usize {
        let wanted = self.0.iter().filter(|(sample, _)| {
            sample.split('{').next() == Some(name)
                && labels.iter().all(|label| sample.contains(label))
        });
        wanted.map(|(_, value)| *value).sum::<f64>() as usize
    }
}
