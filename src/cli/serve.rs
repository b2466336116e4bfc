//! `hookweir serve`: says where events come in and go to, then serves.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Failure, disks, say};
use crate::app::{self, Listening, MemoryBound, ServeError, demo};
use crate::config::model::{Config, LogDeliveries, LogFormat, PublisherUrl, Source};
use crate::runtime::descriptors;
use crate::runtime::signals::Signals;
use crate::source::Sources;
use crate::telemetry::{Metrics, logs};

/// Sources that are listed at start; the rest is counted.
const LISTED: usize = 20;

pub(super) fn run(mut config: Config) -> Result<(), Failure> {
    // Whatever the process creates is for nobody else, unless an option says otherwise.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let signals = Signals::listen(config.shutdown.drain)
        .map_err(|error| Failure::Unavailable(format!("cannot listen for signals: {error}")))?;
    let is_demo = config.sources.is_empty();
    if config.log.deliveries == LogDeliveries::Auto && is_demo {
        config.log.deliveries = LogDeliveries::All;
    }
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
        // Who asks for JSON has a program read it.
        if config.log.format != LogFormat::Json {
            say::note(banner(&shown, is_demo));
        }
        let memory_bound = MemoryBound::of(&config).total;
        tracing::info!(listen = %at.ingest, admin_listen = %at.admin, memory_bound, "listening");
    };
    app::serve(&config, sources, metrics, signals, listening).map_err(|error| match error {
        ServeError::Unavailable(_) => Failure::Unavailable(error.to_string()),
        ServeError::Died(_) => Failure::Internal(error.to_string()),
    })
}

/// What a newcomer needs to send a first event, and what an operator wants to see confirmed.
fn banner(config: &Config, is_demo: bool) -> String {
    let mut lines = vec![format!("hookweir {}", env!("CARGO_PKG_VERSION"))];
    for source in config.sources.iter().take(LISTED) {
        let url = config
            .local_url(source)
            .map(String::from)
            .unwrap_or_default();
        lines.push(format!(
            "  ingest  {url}  ({}, as {})",
            source.name,
            source.provider.as_deref().unwrap_or("a scheme of its own")
        ));
    }
    if config.sources.len() > LISTED {
        lines.push(format!(
            "          and {} more",
            config.sources.len() - LISTED
        ));
    }
    lines.push(format!(
        "  admin   http://{0}/readyz, http://{0}/metrics",
        config.server.admin_listen
    ));
    lines.push(format!("  store   {}", config.store.url));
    lines.push(format!("  events  {}", config.publisher.url));
    lines.push(format!(
        "  memory  at most {} MiB; `hookweir check --offline` shows its parts",
        MemoryBound::of(config).total >> 20
    ));
    if is_demo && let Some(source) = config.sources.first() {
        lines.push(format!(
            "\nNo source is configured, so there is one to try, with its secret in {}.",
            demo::secret_path(config).display()
        ));
        lines.push(
            "Paste this into another terminal; it sends a signed event and shows it arriving:\n"
                .to_owned(),
        );
        lines.push(format!("  {}", curl(config, source)));
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "hookweir".to_owned());
        lines.push(format!(
            "\nor let `{program} send --wait` sign it; --help tells what else it can send.\n"
        ));
    }
    lines.join("\n")
}

/// A line of shell that sends one event to the source "demo" and shows it in the file sink.
fn curl(config: &Config, source: &Source) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis();
    let body = format!("{{\"hello\":\"weir\",\"at\":{now}}}");
    let key = source
        .secrets
        .first()
        .map(|secret| secret.expose())
        .unwrap_or_default();
    // HMAC takes a key of any length, so there is always a signature.
    let signature = Hmac::<Sha256>::new_from_slice(key)
        .map(|mac| hex::encode(mac.chain_update(&body).finalize().into_bytes()));
    let url = config
        .local_url(source)
        .map(String::from)
        .unwrap_or_default();
    let show = match &config.publisher.url {
        PublisherUrl::File(folder) => format!(
            " && echo && sleep 1 && cat '{}'/*.jsonl | tail -n 1",
            folder.display()
        ),
        PublisherUrl::Amqp(_) => String::new(),
    };
    format!(
        "curl -sS {url} -H 'content-type: application/json' -H 'x-github-event: hello' -H 'x-github-delivery: {now}' \
         -H 'x-hub-signature-256: sha256={}' -d '{body}'{show}",
        signature.unwrap_or_default()
    )
}
