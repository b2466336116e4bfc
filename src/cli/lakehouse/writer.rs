//! The writer in a process of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Instant;

use crate::admin::{self, Admin};
use crate::app::lakehouse_disk;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::config::model::PublisherUrl;
use crate::domain::delivery::InstanceId;
use crate::in_flight::Budget;
use crate::lakehouse;
use crate::runtime::listener::{StopMode, bind, bind_advice};
use crate::runtime::mailbox::ActorRegistry;
use crate::runtime::signals::Signals;
use crate::telemetry::health::State;
use crate::telemetry::{Health, Metrics, logs, traces};

/// Runs the writer until stopped.
pub(super) fn run(config: &Config) -> Result<(), Failure> {
    let mut signals = Signals::listen(config.shutdown.drain)
        .map_err(|error| Failure::Unavailable(format!("cannot listen for signals: {error}")))?;
    let metrics = Metrics::new()
        .map_err(|error| Failure::Internal(format!("cannot set up metrics: {error}")))?;
    logs::init(&config.log, &metrics).map_err(Failure::Internal)?;
    traces::start(&config.traces, &metrics, InstanceId::random()).map_err(Failure::Unavailable)?;
    let listener = config.lakehouse.admin_listen.map(listen).transpose()?;
    let health = Health::default();
    let component = health.aside("lakehouse");
    component.set(State::Off("the table is not open yet".into()));
    let running =
        lakehouse::start(config, metrics.clone(), component).map_err(Failure::Unavailable)?;
    say::note(started(config));
    let admin = Arc::new(Admin {
        metrics,
        health,
        actors: ActorRegistry::default(),
        budget: Budget::new(0, 0),
        started: Instant::now(),
        disks: lakehouse_disk(config).into_iter().collect(),
    });
    actix::System::new()
        .block_on(async {
            let stop = async {
                signals.stop().await;
                StopMode::Graceful
            };
            match listener
                .map(|listener| admin::serve((listener, None), admin, None))
                .transpose()
            {
                Ok(Some(server)) => server.until(stop).await,
                Ok(None) => {
                    stop.await;
                    Ok(())
                }
                Err(error) => Err(error),
            }
        })
        .map_err(|error| Failure::Internal(format!("cannot serve health and metrics: {error}")))?;
    if !running.stop(Instant::now() + config.shutdown.drain) {
        tracing::warn!(
            "the lakehouse did not finish within shutdown.drain_secs; the next start brings the rest into the table"
        );
    }
    traces::flush(traces::LAST_SPANS);
    Ok(())
}

fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    bind(address).map_err(|error| {
        Failure::Unavailable(format!(
            "cannot listen on lakehouse.admin_listen = {address}: {}{error}",
            bind_advice(&error)
        ))
    })
}

/// Returns the line for the person at the terminal.
fn started(config: &Config) -> String {
    let from = match &config.lakehouse_sink().url {
        PublisherUrl::File(folder) => format!("the folder {}", folder.display()),
        PublisherUrl::Amqp(_) => format!("the queue {}", config.lakehouse.queue),
        PublisherUrl::Kafka(url) => url.name(),
    };
    let version = env!("CARGO_PKG_VERSION");
    let table = config.lakehouse.table();
    let mut text = format!("hookweir {version}: events from {from} become rows of {table}");
    if let Some(address) = config.lakehouse.admin_listen {
        text.push_str(&format!("; health and metrics on http://{address}"));
    }
    text
}
