//! Name of a sink.

use std::fmt;
use std::sync::Arc;

/// Name of a sink: a place that events are published to. The rows of the outbox belong to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkName(Arc<str>);

impl SinkName {
    /// Name of the sink in a configuration with one sink.
    pub const DEFAULT: &'static str = "default";

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for SinkName {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl fmt::Display for SinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
