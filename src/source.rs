//! A source: a configured inbound. Built once from configuration, shared by all stages, looked up by path in constant time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::delivery::SourceName;
use crate::telemetry::SourceMetrics;
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

    /// The source at `/ingest/{path}`.
    pub fn at(&self, path: &str) -> Option<&Arc<Source>> {
        self.by_path.get(path)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.by_path.values()
    }
}
