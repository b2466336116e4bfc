//! Telemetry: what an operator sees. Metrics are defined once, in `metrics`; log lines of deliveries once, in `logs`.

pub mod logs;
pub mod metrics;

pub use metrics::{Metrics, SourceMetrics};
