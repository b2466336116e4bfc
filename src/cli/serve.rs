//! `hookweir serve`: says where events come in and go to, then serves.

use super::banner::banner;
use super::{Failure, disks, say};
use crate::app::{self, Configured, Listening, MemoryBound, ServeError, demo};
use crate::config::Inputs;
use crate::config::model::{Config, LogFormat};
use crate::runtime::descriptors;
use crate::runtime::signals::Signals;
use crate::source::Sources;
use crate::telemetry::{Metrics, logs};

/// Serves until stopped. A reload reads `inputs` again.
pub(super) fn run(mut config: Config, inputs: Inputs) -> Result<(), Failure> {
    // Whatever the process creates is for nobody else, unless an option says otherwise.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let signals = Signals::listen(config.shutdown.drain)
        .map_err(|error| Failure::Unavailable(format!("cannot listen for signals: {error}")))?;
    let is_demo = config.sources.is_empty();
    demo::add(&mut config, false).map_err(Failure::Unavailable)?;
    let metrics = Metrics::new()
        .map_err(|error| Failure::Internal(format!("cannot set up metrics: {error}")))?;
    let sources = Sources::compile(&config, &metrics).map_err(Failure::Config)?;
    logs::init(&config.log, &metrics).map_err(Failure::Internal)?;
    config
        .warnings
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    descriptors::raise();
    let refusals = disks::refusals(&config);
    if !refusals.is_empty() {
        return Err(Failure::Config(refusals));
    }
    disks::warnings(&config)
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    let listening = |at: Listening| {
        let mut shown = config.clone();
        (shown.server.listen, shown.server.admin_listen) = (at.ingest, at.admin);
        // JSON is read by a program, which gets the bound on memory as a field; the screen shows it to a person.
        if config.log.format == LogFormat::Json {
            let memory_bound = MemoryBound::of(&config).total;
            tracing::info!(listen = %at.ingest, admin_listen = %at.admin, memory_bound, "listening");
        } else {
            say::note(banner(&shown, is_demo, inputs.file.as_deref()));
            tracing::info!(listen = %at.ingest, admin_listen = %at.admin, "listening");
        }
    };
    let configured = Configured {
        inputs: inputs.clone(),
        config: config.clone(),
    };
    app::serve(configured, sources, metrics, signals, listening).map_err(|error| match error {
        ServeError::Unavailable(_) => Failure::Unavailable(error.to_string()),
        ServeError::Died(_) => Failure::Internal(error.to_string()),
    })
}
