//! Wiring: starts the stages from the back, and stops them in order. The only module that knows all
//! stages.

mod checks;
pub mod demo;
mod memory;
mod operator;
mod reload;
mod run;
mod sockets;
mod stages;
mod tls;
mod verifier_factory;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use self::run::End;
use self::sockets::Sockets;
use self::stages::Service;
use self::tls::NewCertificates;
use crate::config::model::{PublisherUrl, StoreUrl};
use crate::config::{Config, Inputs};
use crate::in_flight::Budget;
use crate::lakehouse;
use crate::runtime::shutdown::CriticalTask;
use crate::runtime::signals::Signals;
use crate::source::Sources;
use crate::telemetry::Metrics;

pub use checks::load;
pub use memory::MemoryBound;

/// Reason for which the service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port, a disk, a folder or a thread is not available now: exit code 75. A later start may
    /// succeed.
    #[error("{0}")]
    Unavailable(String),
    /// A required actor or thread has died: exit code 70.
    #[error(
        "the {0} has died (its panic is in the log above); the service ends so that its manager can start it again"
    )]
    Died(&'static str),
}

/// Addresses of the listeners.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Listener of the providers.
    pub ingest: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// A configuration, and where it was read from.
pub struct Configured {
    /// Origins, which a reload reads again.
    pub inputs: Inputs,
    /// The configuration.
    pub config: Config,
}

/// Returns the room for requests in flight. One body of the largest size always fits.
fn budget_of(config: &Config, sources: &Sources) -> Arc<Budget> {
    let largest = sources.iter().map(|source| source.max_body_bytes).max();
    Budget::for_bodies(
        config.limits.in_flight_requests,
        config.limits.in_flight_bytes,
        largest.unwrap_or_default(),
    )
}

/// Returns the disk of the lakehouse, if it has one.
pub fn lakehouse_disk(config: &Config) -> Option<(&'static str, PathBuf)> {
    let folder = config.lakehouse.local_folder()?;
    Some(("lakehouse", folder.to_owned()))
}

/// Returns the local data of the service, each with a path on its disk.
fn disks(config: &Config) -> Vec<(&'static str, PathBuf)> {
    let store = match &config.store.url {
        StoreUrl::Sqlite(path) => Some(("store", path.clone())),
        StoreUrl::Postgres(_) => None,
    };
    let spool = config.spool.path.clone().map(|path| ("spool", path));
    let events = config.sinks.iter().find_map(|sink| match &sink.url {
        PublisherUrl::File(folder) => Some(("events", folder.clone())),
        PublisherUrl::Amqp(_) | PublisherUrl::Kafka(_) => None,
    });
    let lake = lakehouse::runs_in_serve(config).then(|| lakehouse_disk(config));
    [store, spool, events, lake.flatten()]
        .into_iter()
        .flatten()
        .collect()
}

/// Runs the service until SIGTERM or SIGINT. `listening` is called once the sockets are bound and take
/// connections.
pub fn serve(
    configured: Configured,
    sources: Sources,
    metrics: Arc<Metrics>,
    signals: Signals,
    listening: impl FnOnce(Listening),
) -> Result<(), ServeError> {
    let config = &configured.config.clone();
    // Checked when the configuration was read.
    let certificates = NewCertificates::read(config).map_err(|mistakes| {
        let mistakes: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        ServeError::Unavailable(mistakes.join("; "))
    })?;
    let certificates = certificates.start(&metrics);
    let sockets = Sockets::bind(&config.server)?;
    let at = sockets.addresses()?;
    listening(at);
    actix::System::new().block_on(async {
        let (lifeline, vigil) = CriticalTask::new();
        let listeners = (at, certificates);
        let service = Service::start(configured, listeners, sources, metrics, &lifeline)?;
        drop(lifeline);
        service.run(config, sockets, End { vigil, signals }).await
    })
}
