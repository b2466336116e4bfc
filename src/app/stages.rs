//! The stages, started from the back to the front.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Arbiter;

use super::operator::{operator, top_options};
use super::reload::Parts;
use super::tls::Certificates;
use super::verifier_factory::VerifierFactory;
use super::{Configured, Listening, ServeError, budget_of};
use crate::admin::Admin;
use crate::config::Config;
use crate::config::model::{Publisher, RespondAfter};
use crate::domain::delivery::InstanceId;
use crate::domain::pause::PauseKind;
use crate::domain::sink::Sinks;
use crate::in_flight::Budget;
use crate::keys::KeyService;
use crate::lakehouse::{self, RunningLakehouse};
use crate::operate::{Instruments, JobRunner, JobWaker, Operator};
use crate::quarantine::{QuarantineQueue, RunningQuarantine};
use crate::runtime::mailbox::ActorRegistry;
use crate::runtime::shutdown::CriticalTask;
use crate::source::{Source, Sources};
use crate::spool::{Drain, RunningDrain, Spool};
use crate::store::keeper::{Keeper, Kept, Lease};
use crate::store::{
    Intake, PauseBoard, PauseWatch, Reached, Room, Secrets, SpooledEvents, Store, StoreError,
};
use crate::telemetry::health::State;
use crate::telemetry::{Health, Metrics, traces};
use crate::verify::Verifiers;
use crate::{dedup, http, publish, quarantine, store};

/// Connections beyond those of the writers: confirms, relay, the keeper's two, the spool's drain, those
/// for learned secrets and fetched keys, and the job runner's.
const OTHER_CONNECTIONS: usize = 8;
/// Connections of each sink but the first: its relay and its confirm writer.
const SINK_CONNECTIONS: usize = 2;
/// Longest wait of a start for its store. Afterwards deliveries are taken without the store.
const START_PATIENCE: Duration = Duration::from_secs(1);

/// All running stages behind HTTP.
pub(super) struct Service {
    pub(super) store: Arc<dyn Store>,
    pub(super) keeper: Keeper,
    pub(super) spool: Option<(Spool, RunningDrain)>,
    pub(super) publishers: Vec<publish::RunningPublisher>,
    pub(super) lakehouse: Option<RunningLakehouse>,
    pub(super) dedup: dedup::RunningDedup,
    pub(super) edge: Arc<http::IngestService>,
    pub(super) certificates: Certificates,
    pub(super) front: VerifierFactory,
    pub(super) admin: Arc<Admin>,
    pub(super) operator: Arc<Operator>,
    pub(super) jobs: JobRunner,
    pub(super) quarantine: Option<RunningQuarantine>,
    pub(super) budget: Arc<Budget>,
    pub(super) roster: ActorRegistry,
}

/// Everything that several stages share.
struct Shared<'a> {
    config: &'a Config,
    metrics: Arc<Metrics>,
    health: Health,
    roster: ActorRegistry,
    budget: Arc<Budget>,
    instance: InstanceId,
    sinks: Sinks,
    pauses: PauseBoard,
    quarantine: QuarantineQueue,
    lifeline: &'a CriticalTask,
}

/// The open store with its keeper, and the spool that stands in for it.
struct Stored {
    store: Arc<dyn Store>,
    keeper: Keeper,
    lease: Lease,
    spool: Option<(Spool, RunningDrain)>,
}

impl Stored {
    fn spooled(&self) -> Option<Arc<dyn SpooledEvents>> {
        let (spool, _) = self.spool.as_ref()?;
        Some(Arc::new(spool.clone()))
    }
}

impl Service {
    /// Starts the stages from the back, so that each finds the next one.
    pub(super) fn start(
        configured: Configured,
        (at, certificates): (Listening, Certificates),
        sources: Sources,
        metrics: Arc<Metrics>,
        lifeline: &CriticalTask,
    ) -> Result<Self, ServeError> {
        let config = &configured.config;
        let health = Health::default();
        let started = quarantine::start(config, &metrics, lifeline);
        let (queue, quarantine) = started.map_err(unavailable)?;
        let shared = Shared {
            config,
            pauses: PauseBoard::new(metrics.clone(), health.aside("paused")),
            metrics,
            health,
            roster: ActorRegistry::default(),
            budget: budget_of(config, &sources),
            instance: InstanceId::random(),
            // Checked when the configuration was read.
            sinks: config.routes().map_err(unavailable)?,
            quarantine: queue,
            lifeline,
        };
        traces::start(&config.traces, &shared.metrics, shared.instance).map_err(unavailable)?;
        let stored = shared.stored(&sources)?;
        let lakehouse = shared.lakehouse()?;
        let publishers = shared.publishers(&stored)?;
        // A spool cannot tell a redelivery of what is in the store. Deliveries wait at the socket until
        // the store was tried.
        stored.keeper.until_tried(START_PATIENCE);
        let secrets: Arc<dyn Secrets> = stored.store.clone();
        let keys = KeyService::start(&sources, &secrets, lifeline).map_err(unavailable)?;
        let dedup = shared.dedup(&stored, &publishers)?;
        let front = shared.front(keys.clone(), &dedup);
        let (waker, jobs) = shared.jobs(&stored)?;
        let edge = shared.edge(sources, &front);
        let messages = publishers.iter().map(|sink| sink.options.clone()).collect();
        let listeners = (at, edge.clone(), certificates.clone());
        let parts = shared.parts(listeners, (keys, secrets), messages);
        let of = (shared.instance, waker);
        let intake = (stored.store.clone() as Arc<dyn Intake>, stored.spooled());
        let operator = operator(&configured, parts, of, intake, shared.instruments());
        Ok(Self {
            store: stored.store,
            keeper: stored.keeper,
            spool: stored.spool,
            publishers,
            lakehouse,
            dedup,
            edge,
            certificates,
            front,
            admin: shared.admin(),
            operator: Arc::new(operator),
            jobs,
            quarantine,
            budget: shared.budget,
            roster: shared.roster,
        })
    }
}

impl Shared<'_> {
    fn admin(&self) -> Arc<Admin> {
        Arc::new(Admin {
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            actors: self.roster.clone(),
            budget: self.budget.clone(),
            started: Instant::now(),
            disks: super::disks(self.config),
        })
    }

    /// Returns the parts that take over a configuration.
    fn parts(
        &self,
        (at, edge, certificates): (Listening, Arc<http::IngestService>, Certificates),
        (keys, store): (KeyService, Arc<dyn Secrets>),
        messages: Vec<publish::SharedOptions>,
    ) -> Parts {
        Parts {
            at,
            metrics: self.metrics.clone(),
            edge,
            certificates,
            keys,
            store,
            lifeline: self.lifeline.clone(),
            budget: self.budget.clone(),
            sinks: self.sinks.clone(),
            pauses: self.pauses.clone(),
            quarantine: self.quarantine.clone(),
            messages,
            known: Arc::default(),
        }
    }

    fn instruments(&self) -> Instruments {
        Instruments {
            metrics: self.metrics.clone(),
            actors: self.roster.clone(),
            budget: self.budget.clone(),
            since: Instant::now(),
            options: top_options(self.config),
            health: self.health.clone(),
        }
    }

    fn stored(&self, sources: &Sources) -> Result<Stored, ServeError> {
        let config = self.config;
        let more_sinks = config.sinks.len().saturating_sub(1);
        let connections = config.dedup.writers + OTHER_CONNECTIONS + more_sinks * SINK_CONNECTIONS;
        let store = store::open(&config.store, connections).map_err(unavailable)?;
        let mut health = self.health.component("store");
        // Other errors are the keeper's: it reports them, and tries again.
        if let Err(StoreError::Unfit(why)) = store.hold() {
            return Err(ServeError::Unavailable(why));
        }
        let spool = config.spool.path.as_deref().map(|path| {
            Spool::open(
                path,
                &config.spool,
                config.store.allow_unsafe_durability,
                self.metrics.clone(),
                self.health.component("spool"),
            )
        });
        if let Some((able, instead)) = spool.as_ref().map(Spool::availability) {
            health = health.or_else(able, instead);
        }
        let windows = sources.iter().map(|source| source.dedup_window);
        let kept = Kept {
            store: store.clone(),
            instance: self.instance,
            known: Reached::beside(config.spool.path.as_deref(), &config.store.url),
            longest_window: windows.max().unwrap_or(config.dedup.window),
            metrics: self.metrics.clone(),
            health,
            outbox: self.health.component("outbox"),
            sinks: self.sinks.clone(),
            pauses: PauseWatch::new(store.clone(), self.pauses.clone()),
        };
        let keeper = Keeper::start(kept, &config.store, self.lifeline).map_err(unavailable)?;
        let lease = keeper.lease();
        let spool = match spool {
            Some(spool) => {
                let drain = self.drain(&spool, &store, &lease)?;
                Some((spool, drain))
            }
            None => None,
        };
        Ok(Stored {
            store,
            keeper,
            lease,
            spool,
        })
    }

    fn drain(
        &self,
        spool: &Spool,
        store: &Arc<dyn Store>,
        lease: &Lease,
    ) -> Result<RunningDrain, ServeError> {
        let drain = Drain {
            spool: spool.clone(),
            store: store.clone(),
            instance: self.instance,
            sinks: self.sinks.clone(),
            lease: lease.clone(),
            room: Room {
                events: self.config.dedup.batch_events,
                bytes: self.config.dedup.batch_bytes,
            },
        };
        drain.start(self.lifeline).map_err(unavailable)
    }

    /// Starts a publisher for each sink.
    fn publishers(&self, stored: &Stored) -> Result<Vec<publish::RunningPublisher>, ServeError> {
        let sinks = self.config.sinks.iter();
        sinks.map(|sink| self.publisher(sink, stored)).collect()
    }

    fn publisher(
        &self,
        sink: &Publisher,
        stored: &Stored,
    ) -> Result<publish::RunningPublisher, ServeError> {
        let config = self.config;
        let (lease, held) = (stored.lease.clone(), stored.lease.clone());
        let (pauses, name) = (self.pauses.pauses.clone(), sink.name.clone());
        let is_paused = move || pauses.has(PauseKind::Sink, name.as_str());
        let gives_way = config.server.respond_after == RespondAfter::Stored;
        publish::start(
            sink,
            &config.sources,
            publish::PublisherDeps {
                sink: sink.name.clone(),
                store: stored.store.clone(),
                instance: self.instance,
                holds_lease: Arc::new(move || held.is_held()),
                may_publish: Arc::new(move || lease.is_held() && !is_paused()),
                ingest: gives_way.then(|| self.budget.clone()),
                metrics: self.metrics.clone(),
                health: self.health.component(sink.name.name_part("publisher")),
                lifeline: self.lifeline.clone(),
                roster: self.roster.clone(),
            },
        )
        .map_err(unavailable)
    }

    fn jobs(&self, stored: &Stored) -> Result<(JobWaker, JobRunner), ServeError> {
        let (waker, woken) = JobWaker::new();
        let (store, sinks) = (stored.store.clone(), self.sinks.clone());
        let jobs = JobRunner::start(store, sinks, woken, self.lifeline).map_err(unavailable)?;
        Ok((waker, jobs))
    }

    fn lakehouse(&self) -> Result<Option<RunningLakehouse>, ServeError> {
        let health = self.health.aside("lakehouse");
        if !lakehouse::runs_in_serve(self.config) {
            health.set(State::Off(lakehouse::why_off(self.config).into()));
            return Ok(None);
        }
        health.set(State::Off("the table is not open yet".into()));
        let started = lakehouse::start(self.config, self.metrics.clone(), health);
        started.map(Some).map_err(ServeError::Unavailable)
    }

    fn dedup(
        &self,
        stored: &Stored,
        publishers: &[publish::RunningPublisher],
    ) -> Result<dedup::RunningDedup, ServeError> {
        let spool = stored.spool.as_ref().map(|(spool, _)| dedup::Fallback {
            spool: spool.clone(),
            lease: stored.lease.clone(),
            after: self.config.spool.after,
        });
        let outboxes = publishers.iter().map(|publisher| publisher.outbox.clone());
        dedup::start(
            &self.config.dedup,
            dedup::DedupDeps {
                store: stored.store.clone(),
                instance: self.instance,
                sinks: self.sinks.clone(),
                outboxes: outboxes.collect(),
                metrics: self.metrics.clone(),
                respond_after: self.config.server.respond_after,
                spool,
                lifeline: self.lifeline.clone(),
            },
        )
        .map_err(unavailable)
    }

    fn front(&self, keys: KeyService, dedup: &dedup::RunningDedup) -> VerifierFactory {
        let capacity = self.config.dedup.mailbox_capacity;
        VerifierFactory {
            verifiers: Verifiers {
                capacity: self.config.verifier.mailbox_capacity,
                keys,
                quarantine: self.quarantine.clone(),
                lifeline: self.lifeline.clone(),
                roster: self.roster.clone(),
            },
            dedups: dedup.actors(capacity, self.lifeline, &self.roster),
        }
    }

    fn edge(&self, sources: Sources, front: &VerifierFactory) -> Arc<http::IngestService> {
        let verifiers = (0..self.config.verifier.threads())
            .map(|n| front.start(&Arbiter::new().handle(), &n.to_string()))
            .collect();
        let in_force = |of: &Arc<Source>| of.put_in_force(&self.metrics);
        sources.iter().for_each(in_force);
        // Needed by no source now, perhaps, but by one that a reload adds.
        let unpacker = front.start(&Arbiter::new().handle(), "unpack");
        http::IngestService::new(
            sources,
            verifiers,
            Some(unpacker),
            self.budget.clone(),
            (
                self.config.limits.max_header_bytes,
                self.config.server.trusted_proxies.clone(),
            ),
            (self.metrics.clone(), self.pauses.pauses.clone()),
            self.quarantine.clone(),
        )
    }
}

fn unavailable(error: impl Display) -> ServeError {
    ServeError::Unavailable(error.to_string())
}
