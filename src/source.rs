//! A source: a configured inbound. Built once from configuration, shared by all stages, looked up by path in constant time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::config::{Config, ConfigError, model};
use crate::delivery::SourceName;
use crate::telemetry::{Metrics, SourceMetrics};
use crate::verify::Scheme;

/// What the stages need to know of a configured inbound.
#[derive(Debug)]
pub struct Source {
    /// Its name, unique.
    pub name: SourceName,
    /// What follows `/ingest/` in its URL; unique.
    pub path: String,
    /// How its deliveries are verified, with the keys to do so.
    pub scheme: Scheme,
    /// How long a redelivery is recognised.
    pub dedup_window: Duration,
    /// The provider's headers that go along to the queue.
    pub forward_headers: Vec<HeaderName>,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// When its sender is answered at the latest.
    pub deadline: Duration,
    /// Its own metrics.
    pub metrics: Arc<SourceMetrics>,
}

impl Source {
    fn new(source: &model::Source, scheme: Scheme, config: &Config, metrics: &Metrics) -> Self {
        let facts = scheme.facts();
        Self {
            dedup_window: source.window.unwrap_or_else(|| facts.window.max(config.dedup.window)),
            max_body_bytes: source.max_body_bytes.unwrap_or(config.limits.max_body_bytes),
            deadline: source.deadline.or(facts.deadline).unwrap_or(config.limits.deadline),
            name: source.name.clone(),
            path: source.path.clone(),
            forward_headers: source.forward_headers.clone(),
            metrics: metrics.source(&source.name),
            scheme,
        }
    }
}

/// All sources, by path.
#[derive(Debug, Default)]
pub struct Sources {
    by_path: HashMap<String, Arc<Source>>,
}

impl Sources {
    /// The sources of a configuration whose names and paths were found unique.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        Self { by_path: sources.into_iter().map(|source| (source.path.clone(), Arc::new(source))).collect() }
    }

    /// Compiles the sources of a configuration; on failure, every mistake in every one of them.
    pub fn compile(config: &Config, metrics: &Metrics) -> Result<Self, Vec<ConfigError>> {
        let mut mistakes = Vec::new();
        let mut sources = Vec::with_capacity(config.sources.len());
        for source in &config.sources {
            match Scheme::compile(source, config.limits.max_events_per_request) {
                Ok(scheme) => sources.push(Source::new(source, scheme, config, metrics)),
                Err(errors) => mistakes.extend(errors.into_iter().map(|error| config.source_error(source, &error.key, error.text))),
            }
        }
        if mistakes.is_empty() { Ok(Self::new(sources)) } else { Err(mistakes) }
    }

    /// The source at `/ingest/{path}`.
    pub fn at(&self, path: &str) -> Option<&Arc<Source>> {
        self.by_path.get(path)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.by_path.values()
    }
}
