//! Telemetry: what an operator sees. Metrics are defined once, in `metrics`; log lines of deliveries once, in `logs`.

pub mod define;
pub mod health;
pub mod logs;
pub mod metrics;
pub mod systemd;

pub use health::Health;
pub use metrics::{Metrics, SourceMetrics};
