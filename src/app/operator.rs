//! The admin API: the facts that its functions stand on, and its socket.

use std::io;
use std::sync::Arc;

use super::reload::{Parts, Reloader};
use super::{Configured, Listening};
use crate::admin::{self, Api};
use crate::config::Config;
use crate::config::model::{self, StoreUrl, TlsListener};
use crate::doctor::DoctorSource;
use crate::domain::delivery::{InstanceId, wall_clock};
use crate::http::IngestService;
use crate::operate::{
    Archive, Instruments, JobWaker, KnownSource, Operator, Redeliver, TopOptions, UnroutedQueues,
};
use crate::runtime::listener::{RunningServer, StopMode};
use crate::runtime::unix_socket::{self, SocketPath};
use crate::source::Sources;
use crate::store::{Intake, SpooledEvents};
use hookweir_signatures::SourceSpec;

/// Returns the operator's functions of this instance, which has these parts.
pub(super) fn operator(
    configured: &Configured,
    parts: Parts,
    (instance, jobs): (InstanceId, JobWaker),
    (intake, spool): (Arc<dyn Intake>, Option<Arc<dyn SpooledEvents>>),
    instruments: Instruments,
) -> Operator {
    let Configured { inputs, config } = configured;
    let known = known_sources(config, parts.at, &parts.edge.sources(), &[]);
    parts.known.store(Arc::new(known));
    Operator {
        instance,
        started: wall_clock(),
        sinks: parts.sinks.clone(),
        pauses: parts.pauses.clone(),
        sources: parts.known.clone(),
        archive: Arc::new(Archive::new(&config.store, &config.admin)),
        redeliver: redeliver(parts.edge.clone()),
        quarantine: parts.quarantine.clone(),
        configured: Arc::new(config.clone()),
        verifying: tokio::sync::Mutex::new(()),
        jobs,
        intake,
        spool,
        reloader: Box::new(Reloader::new(inputs.clone(), config.clone(), parts)),
        unrouted: UnroutedQueues::new(&config.sinks),
        instruments,
    }
}

/// Returns the way of a kept delivery to the verifiers of `edge`.
fn redeliver(edge: Arc<IngestService>) -> Redeliver {
    Box::new(move |received| edge.verify_again(received))
}

/// Returns the options that advice is about.
pub(super) fn top_options(config: &Config) -> TopOptions {
    let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let first = &config.first_sink;
    let is_shared = matches!(config.store.url, StoreUrl::Postgres(_));
    TopOptions {
        verifier_mailbox: number(config.verifier.mailbox_capacity),
        dedup_mailbox: number(config.dedup.mailbox_capacity),
        writers: match is_shared {
            true => number(config.dedup.writers),
            false => 1,
        },
        batch_events: number(config.dedup.batch_events),
        cache_entries: config.dedup.cache_entries,
        channels: number(first.channels),
        queue_events: number(first.queue_events),
        yield_secs: first.yield_longest.as_secs(),
        spool_bytes: match config.spool.path {
            Some(_) => config.spool.max_bytes,
            None => 0,
        },
    }
}

/// Secrets of a source before reloads that are remembered, at most.
const FORMER_SECRETS: usize = 16;

/// Returns the source as the doctor knows it. `before` has the sources before a reload.
fn doctor_source(
    configured: &model::Source,
    max_body_bytes: usize,
    before: &[KnownSource],
) -> DoctorSource {
    // A body is unpacked no further than a delivery's is.
    let spec = SourceSpec {
        max_body_bytes: Some(max_body_bytes),
        ..configured.spec()
    };
    let mut before = before.iter();
    let before = before.find(|before| before.name == configured.name);
    let known = before.map(|before| &before.doctor);
    let all = known.map(|known| known.spec.secrets.iter().chain(&known.former));
    let former = all.into_iter().flatten();
    let former = former.filter(|secret| !spec.secrets.contains(secret));
    DoctorSource {
        name: configured.name.to_string(),
        former: former.take(FORMER_SECRETS).cloned().collect(),
        references: configured.secret_names.clone(),
        spec,
    }
}

/// Returns the sources in the order of the configuration. `before` has those before a reload.
pub(super) fn known_sources(
    config: &Config,
    at: Listening,
    sources: &Sources,
    before: &[KnownSource],
) -> Vec<KnownSource> {
    let configured = config.sources.iter();
    let known = configured.filter_map(|configured| {
        let source = sources.at(&configured.path)?;
        let scheme = config.scheme(TlsListener::Ingest);
        let local = || format!("{scheme}://{}/ingest/{}", at.ingest, source.path);
        Some(KnownSource {
            name: source.name.clone(),
            provider: configured.provider.clone(),
            url: configured.public_url.clone().unwrap_or_else(local),
            url_is_public: configured.public_url.is_some(),
            deadline: source.deadline,
            metrics: source.metrics.clone(),
            source: source.clone(),
            doctor: doctor_source(configured, source.max_body_bytes, before),
        })
    });
    known.collect()
}

/// The admin API while it is served.
pub(super) struct RunningApi {
    server: RunningServer,
    socket: SocketPath,
}

impl RunningApi {
    /// Serves until `stop` resolves. The socket's path is removed afterwards.
    pub(super) async fn until(self, stop: impl Future<Output = StopMode>) {
        if let Err(error) = self.server.until(stop).await {
            tracing::warn!(%error, "the admin API has ended; deliveries are accepted without it");
        }
        drop(self.socket);
    }
}

/// Starts the admin API on its socket, if it has one. If the socket cannot be opened, the log says so:
/// deliveries do not need it.
pub(super) fn serve(config: &Config, api: Api) -> Option<RunningApi> {
    let path = config.admin.socket.as_deref()?;
    let started = unix_socket::bind(path).and_then(|(listener, socket)| {
        let server = admin::serve_api(listener, &config.admin, api)?;
        Ok::<_, io::Error>(RunningApi { server, socket })
    });
    match started {
        Ok(running) => Some(running),
        Err(error) => {
            tracing::warn!(
                socket = %path.display(),
                "cannot open the admin API's socket {}: {error}; `hookweir events` and the like do not reach this instance, deliveries \
                 are accepted. admin.socket sets another path",
                path.display()
            );
            None
        }
    }
}
