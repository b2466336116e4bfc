//! Telemetry: metrics, logs, health, and messages to systemd. Metrics are defined once, in `metrics`;
//! log lines of deliveries once, in `logs`.

mod counts;
pub mod define;
pub mod health;
mod journal;
mod last_outcomes;
mod line_limit;
mod live;
pub mod log_filter;
pub mod log_queue;
pub mod logs;
pub mod metrics;
mod quarantine_metrics;
mod record;
mod secret_metrics;
mod sink_metrics;
mod source_alarms;
mod source_metrics;
pub mod systemd;
pub mod traces;

pub use counts::OutcomeCount;
pub use health::Health;
pub use last_outcomes::{LastOutcomes, LastRefusal};
pub use live::{LiveFeed, LiveLook, LiveOutcome};
pub use metrics::Metrics;
pub use quarantine_metrics::QuarantineDrop;
pub use secret_metrics::SecretMetrics;
pub use sink_metrics::SinkFigures;
pub use source_alarms::{SourceAlarms, SourceRules};
pub use source_metrics::SourceMetrics;
