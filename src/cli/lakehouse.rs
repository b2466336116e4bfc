//! `hookweir lakehouse`: the writer of the lakehouse in a process of its own.

use std::time::Instant;

use super::{Failure, say};
use crate::config::Config;
use crate::config::model::PublisherUrl;
use crate::lakehouse;
use crate::runtime::signals::Signals;
use crate::telemetry::{Health, Metrics, logs};

/// Runs the writer until stopped.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    if !lakehouse::AVAILABLE {
        return Err(Failure::Usage(lakehouse::MISSING.to_owned()));
    }
    // Bodies may be secret: files are for nobody else.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let mut signals = Signals::listen(config.shutdown.drain)
        .map_err(|error| Failure::Unavailable(format!("cannot listen for signals: {error}")))?;
    let metrics = Metrics::new()
        .map_err(|error| Failure::Internal(format!("cannot set up metrics: {error}")))?;
    logs::init(&config.log, &metrics).map_err(Failure::Internal)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|error| Failure::Internal(format!("no runtime: {error}")))?;
    let health = Health::default().aside("lakehouse");
    let running = lakehouse::start(config, metrics, health).map_err(Failure::Unavailable)?;
    let from = match &config.first_sink.url {
        PublisherUrl::File(folder) => format!("the folder {}", folder.display()),
        PublisherUrl::Amqp(_) => format!("the queue {}", config.lakehouse.queue),
        // The start has failed before.
        PublisherUrl::Kafka(_) => "Kafka".to_owned(),
    };
    say::note(format_args!(
        "hookweir {}: events from {from} become rows of {}/events",
        env!("CARGO_PKG_VERSION"),
        config.lakehouse.folder.display()
    ));
    runtime.block_on(signals.stop());
    if !running.stop(Instant::now() + config.shutdown.drain) {
        tracing::warn!(
            "the lakehouse did not finish within shutdown.drain_secs; the next start brings the rest into the table"
        );
    }
    Ok(())
}
