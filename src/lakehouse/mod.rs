//! The lakehouse: brings published events into an Iceberg table, beside the service or in a process of its own.
//!
//! The writer is the crate `hookweir-lakehouse`. It reads what the sink has taken: the file
//! sink's folder, a queue of its own, or topics of Kafka. No delivery ever waits for it: while the table cannot be written to,
//! the events stay in the sink.
//!
//! The feature `lakehouse`, on by default, brings the writer. Without it, configuration and commands stay the
//! same, and [`start`] fails.

#[cfg(feature = "lakehouse")]
pub mod comparison;
#[cfg(feature = "lakehouse")]
mod observer;
mod running;
#[cfg(feature = "lakehouse")]
mod settings;
#[cfg(feature = "lakehouse")]
mod thread;
#[cfg(feature = "lakehouse")]
pub mod tools;

use std::sync::Arc;

use crate::config::Config;
use crate::config::model::{InServe, Lakehouse, PublisherUrl};
use crate::telemetry::Metrics;
use crate::telemetry::health::Component;

pub use running::RunningLakehouse;

/// Bytes of Kafka's records that the writer reads ahead. One answer of the brokers of as many may be added.
pub const READ_AHEAD: usize = 16 << 20;

/// Returns the bytes of RabbitMQ's messages that the writer holds: a batch, and half of the next one.
pub fn held_bytes(lakehouse: &Lakehouse) -> usize {
    lakehouse
        .commit_bytes
        .saturating_add(lakehouse.commit_bytes / 2)
}

/// True if this build has the writer.
pub const AVAILABLE: bool = cfg!(feature = "lakehouse");

/// Reason for which a build without the writer does not start it.
pub const MISSING: &str =
    "this build has no lakehouse; build it with the feature `lakehouse`, which is on by default";

/// Returns `true` if `hookweir serve` runs the writer.
pub fn runs_in_serve(config: &Config) -> bool {
    let files = matches!(config.lakehouse_sink().url, PublisherUrl::File(_));
    match config.lakehouse.in_serve {
        InServe::Auto => AVAILABLE && files,
        InServe::On => true,
        InServe::Off => false,
    }
}

/// Returns the reason for which `hookweir serve` runs no writer.
pub fn why_off(config: &Config) -> &'static str {
    match config.lakehouse.in_serve {
        InServe::Auto if !AVAILABLE => MISSING,
        InServe::Auto => {
            "no writer runs in this process, since its sink is no folder of files: `hookweir lakehouse` is one"
        }
        InServe::On | InServe::Off => {
            "no writer runs in this process, since lakehouse.in_serve is \"off\": `hookweir lakehouse` is one"
        }
    }
}

/// Starts the writer on a thread of its own.
#[cfg(feature = "lakehouse")]
pub fn start(
    config: &Config,
    metrics: Arc<Metrics>,
    health: Component,
) -> Result<RunningLakehouse, String> {
    let settings = settings::Settings::of(config)?;
    thread::start(settings, metrics, health)
        .map_err(|error| format!("cannot start the thread of the lakehouse: {error}"))
}

/// Fails: this build has no writer.
#[cfg(not(feature = "lakehouse"))]
pub fn start(
    _config: &Config,
    _metrics: Arc<Metrics>,
    _health: Component,
) -> Result<RunningLakehouse, String> {
    Err(MISSING.to_owned())
}
