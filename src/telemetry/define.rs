//! Definition of a metric by one line, and the reference page that is made of these lines.

use std::fmt::Write;

use prometheus::core::Collector;
use prometheus::{
    Counter, Error, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Documentation of a metric.
#[derive(Debug)]
pub struct MetricDescription {
    /// Name in a scrape.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// Doc comment, as the compiler passes it.
    pub(super) help: &'static str,
}

impl MetricDescription {
    /// Returns one or two sentences.
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }
}

/// A kind of metric.
pub(super) trait Define: Collector + Clone + Sized + 'static {
    /// Its name in a scrape.
    const KIND: &'static str;

    /// Returns the metric, not yet registered.
    fn create(description: &MetricDescription, buckets: &[f64]) -> Result<Self, Error>;

    /// Returns the metric, registered.
    fn define(
        registry: &Registry,
        description: Option<&MetricDescription>,
        buckets: &[f64],
    ) -> Result<Self, Error> {
        let description =
            description.ok_or_else(|| Error::Msg("a metric has no description".into()))?;
        let metric = Self::create(description, buckets)?;
        registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}

impl Define for Counter {
    const KIND: &'static str = "counter";
    fn create(d: &MetricDescription, _: &[f64]) -> Result<Self, Error> {
        Self::new(d.name, d.help())
    }
}

impl Define for IntCounter {
    const KIND: &'static str = "counter";
    fn create(d: &MetricDescription, _: &[f64]) -> Result<Self, Error> {
        Self::new(d.name, d.help())
    }
}

impl Define for IntCounterVec {
    const KIND: &'static str = "counter";
    fn create(d: &MetricDescription, _: &[f64]) -> Result<Self, Error> {
        Self::new(Opts::new(d.name, d.help()), d.labels)
    }
}

impl Define for IntGauge {
    const KIND: &'static str = "gauge";
    fn create(d: &MetricDescription, _: &[f64]) -> Result<Self, Error> {
        Self::new(d.name, d.help())
    }
}

impl Define for GaugeVec {
    const KIND: &'static str = "gauge";
    fn create(d: &MetricDescription, _: &[f64]) -> Result<Self, Error> {
        Self::new(Opts::new(d.name, d.help()), d.labels)
    }
}

impl Define for IntGaugeVec {
    const KIND: &'static str = "gauge";
    fn create(d: &MetricDescription, _: &[f64]) -> Result<Self, Error> {
        Self::new(Opts::new(d.name, d.help()), d.labels)
    }
}

impl Define for Histogram {
    const KIND: &'static str = "histogram";
    fn create(d: &MetricDescription, buckets: &[f64]) -> Result<Self, Error> {
        Self::with_opts(HistogramOpts::new(d.name, d.help()).buckets(buckets.to_vec()))
    }
}

/// Returns the text of `docs/reference/metrics.md`.
pub fn page(descriptions: &[MetricDescription]) -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         `GET /metrics` on the admin listener (`server.admin_listen`), in Prometheus' text format. Made from `src/telemetry/metrics.rs`; after a\n\
         change there run `HOOKWEIR_UPDATE_DOCS=1 cargo test --lib metrics_page`.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in descriptions {
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.help()
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use crate::telemetry::metrics::DESCRIPTIONS;

    #[test]
    fn the_metrics_page_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/metrics.md");
        let page = super::page(DESCRIPTIONS);
        if std::env::var_os("HOOKWEIR_UPDATE_DOCS").is_some() {
            std::fs::write(path, &page).expect("docs/ is writable");
        }
        assert!(
            std::fs::read_to_string(path).is_ok_and(|text| text == page),
            "docs/reference/metrics.md is not up to date: HOOKWEIR_UPDATE_DOCS=1 cargo test --lib metrics_page"
        );
    }
}
