//! Puts the stages together, and takes them apart in order. The only file that sees all of them.

mod checks;
pub mod demo;
mod memory;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use actix::{Arbiter, ArbiterHandle};

use crate::admin::Admin;
use crate::config::model::RespondAfter;
use crate::config::{Config, model};
use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::in_flight::Budget;
use crate::keys::KeyService;
use crate::runtime::listener::{self, StopMode};
use crate::runtime::mailbox::{ActorRegistry, Mailbox};
use crate::runtime::shutdown::{CriticalTask, DeathWatch};
use crate::runtime::signals::Signals;
use crate::source::Sources;
use crate::spool::{Drain, RunningDrain, Spool};
use crate::store::keeper::{Keeper, Kept};
use crate::store::{Reached, Room, Secrets, Store, StoreError};
use crate::telemetry::{Health, Metrics, systemd};
use crate::verify::{Received, Verifiers};
use crate::{admin, dedup, http, publish, store};

pub use checks::load;
pub use memory::MemoryBound;

/// Why the service did not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A port, a disk, a folder or a thread is not to be had now: exit code 75. A later start may find it.
    #[error("{0}")]
    Unavailable(String),
    /// An actor or thread that the service cannot do without has died: exit code 70.
    #[error(
        "the {0} has died (its panic is in the log above); the service ends so that its manager can start it again"
    )]
    Died(&'static str),
}

/// Where the service listens.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    /// Where providers POST.
    pub ingest: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// Connections beyond the writers': settle, relay, the keeper's two, the one that drains the spool, and those for learned secrets and fetched keys.
const OTHER_CONNECTIONS: usize = 7;
/// How long a start waits for its store before it takes deliveries all the same.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at whether a stop can go on.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the service until SIGTERM or SIGINT. `listening` is called once its sockets are bound; by then connections are taken.
pub fn serve(
    config: &Config,
    sources: Sources,
    metrics: Arc<Metrics>,
    signals: Signals,
    listening: impl FnOnce(Listening),
) -> Result<(), ServeError> {
    let sockets = Sockets::bind(&config.server)?;
    listening(sockets.addresses()?);
    actix::System::new().block_on(async {
        let (lifeline, vigil) = CriticalTask::new();
        let service = Service::start(config, sources, metrics, &lifeline)?;
        drop(lifeline);
        service.run(config, sockets, End { vigil, signals }).await
    })
}

struct Sockets {
    ingest: TcpListener,
    admin: TcpListener,
}

impl Sockets {
    /// Those of the service manager where it passed any on (ingest first, then admin), else those of the configuration.
    fn bind(config: &model::Server) -> Result<Self, ServeError> {
        let inherited = listener::inherited().map_err(|error| {
            ServeError::Unavailable(format!(
                "cannot take the service manager's sockets: {error}"
            ))
        })?;
        let mut inherited = inherited.into_iter();
        let mut next = |key: &str, addr: SocketAddr| match inherited.next() {
            Some(socket) => Ok(socket),
            None => listener::bind(addr).map_err(|error| {
                ServeError::Unavailable(format!(
                    "cannot listen on {addr}: {error}; {}server.{key} sets another address",
                    listener::bind_advice(&error)
                ))
            }),
        };
        Ok(Self {
            ingest: next("listen", config.listen)?,
            admin: next("admin_listen", config.admin_listen)?,
        })
    }

    fn addresses(&self) -> Result<Listening, ServeError> {
        let of = |socket: &TcpListener| {
            socket.local_addr().map_err(|error| {
                ServeError::Unavailable(format!("cannot read a socket's address: {error}"))
            })
        };
        Ok(Listening {
            ingest: of(&self.ingest)?,
            admin: of(&self.admin)?,
        })
    }
}

/// The admin listener's server, while the service drains.
struct AdminServer {
    server: tokio::task::JoinHandle<std::io::Result<()>>,
    asked_to_stop: Instant,
}

/// Starts verifiers with what is behind them.
#[derive(Clone)]
struct VerifierFactory {
    verifiers: Verifiers,
    dedups: dedup::DedupActors,
}

impl VerifierFactory {
    /// A verifier, and behind it a dedup actor, on the same thread; `place` is that thread's name in metrics.
    fn start(&self, arbiter: &ArbiterHandle, place: &str) -> Mailbox<Received> {
        let dedup = self.dedups.start(arbiter, format!("dedup-{place}"));
        self.verifiers
            .start(arbiter, format!("verifier-{place}"), dedup)
    }
}

/// All stages, running, but for HTTP.
struct Service {
    store: Arc<dyn Store>,
    keeper: Keeper,
    spool: Option<(Spool, RunningDrain)>,
    publisher: publish::RunningPublisher,
    dedup: dedup::RunningDedup,
    edge: Arc<http::IngestService>,
    front: VerifierFactory,
    admin: Arc<Admin>,
    budget: Arc<Budget>,
    roster: ActorRegistry,
}

impl Service {
    /// Starts the stages from the back, so that each finds the next one.
    fn start(
        config: &Config,
        sources: Sources,
        metrics: Arc<Metrics>,
        lifeline: &CriticalTask,
    ) -> Result<Self, ServeError> {
        let setup = |error: &dyn std::fmt::Display| ServeError::Unavailable(error.to_string());
        let instance = InstanceId::random();
        let health = Health::default();
        let roster = ActorRegistry::default();
        let largest = sources
            .iter()
            .map(|source| source.max_body_bytes)
            .max()
            .unwrap_or_default();
        let budget = Budget::for_bodies(
            config.limits.in_flight_requests,
            config.limits.in_flight_bytes,
            largest,
        );

        let store = store::open(&config.store, config.dedup.writers + OTHER_CONNECTIONS)
            .map_err(|error| setup(&error))?;
        let mut store_health = health.component("store");
        // What else can be wrong with it the keeper says, and tries on.
        if let Err(StoreError::Unfit(other)) = store.hold() {
            return Err(ServeError::Unavailable(other));
        }
        let unsafely = config.store.allow_unsafe_durability;
        let open_spool = |path| {
            Spool::open(
                path,
                &config.spool,
                unsafely,
                metrics.clone(),
                health.component("spool"),
            )
        };
        let spool = config.spool.path.as_deref().map(open_spool);
        if let Some((able, instead)) = spool.as_ref().map(Spool::availability) {
            store_health = store_health.or_else(able, instead);
        }
        let windows = || sources.iter().map(|source| source.dedup_window);
        let kept = Kept {
            store: store.clone(),
            instance,
            known: Reached::beside(config.spool.path.as_deref(), &config.store.url),
            longest_window: windows().max().unwrap_or(config.dedup.window),
            metrics: metrics.clone(),
            health: store_health,
            outbox: health.component("outbox"),
        };
        let keeper = Keeper::start(kept, &config.store, lifeline).map_err(|error| setup(&error))?;
        let lease = keeper.lease();
        let spool = match spool {
            Some(spool) => {
                let room = Room {
                    events: config.dedup.batch_events,
                    bytes: config.dedup.batch_bytes,
                };
                let drain = Drain {
                    spool: spool.clone(),
                    store: store.clone(),
                    instance,
                    lease: lease.clone(),
                    room,
                };
                Some((spool, drain.start(lifeline).map_err(|error| setup(&error))?))
            }
            None => None,
        };
        let fallback = spool.as_ref().map(|(spool, _)| dedup::Fallback {
            spool: spool.clone(),
            lease: lease.clone(),
            after: config.spool.after,
        });
        let publisher = publish::start(
            &config.publisher,
            &config.sources,
            publish::PublisherDeps {
                sink: SinkName::default(),
                store: store.clone(),
                instance,
                may_publish: Arc::new(move || lease.is_held()),
                ingest: (config.server.respond_after == RespondAfter::Stored)
                    .then(|| budget.clone()),
                metrics: metrics.clone(),
                health: health.component("publisher"),
                lifeline: lifeline.clone(),
                roster: roster.clone(),
            },
        )
        .map_err(|error| setup(&error))?;

        // A spool cannot tell a redelivery of what is in the store: what comes before the store was tried had better wait at the socket.
        keeper.until_tried(START_PATIENCE);
        let secrets: Arc<dyn Secrets> = store.clone();
        let keys =
            KeyService::start(&sources, &secrets, lifeline).map_err(|error| setup(&error))?;
        let dedup = dedup::start(
            &config.dedup,
            dedup::DedupDeps {
                store: store.clone(),
                instance,
                outboxes: vec![publisher.outbox.clone()],
                metrics: metrics.clone(),
                respond_after: config.server.respond_after,
                spool: fallback,
                lifeline: lifeline.clone(),
            },
        )
        .map_err(|error| setup(&error))?;

        let front = VerifierFactory {
            verifiers: Verifiers {
                capacity: config.verifier.mailbox_capacity,
                keys,
                lifeline: lifeline.clone(),
                roster: roster.clone(),
            },
            dedups: dedup.actors(config.dedup.mailbox_capacity, lifeline, &roster),
        };
        let verifiers = (0..config.verifier.threads())
            .map(|n| front.start(&Arbiter::new().handle(), &n.to_string()))
            .collect();
        let unpacks = sources.iter().any(|source| source.scheme.unpacks());
        let unpacker = unpacks.then(|| front.start(&Arbiter::new().handle(), "unpack"));
        let sources = Arc::new(sources);
        let edge = http::IngestService::new(
            sources,
            verifiers,
            unpacker,
            budget.clone(),
            config.limits.clone(),
            metrics.clone(),
        );
        let admin = Arc::new(Admin {
            metrics,
            health,
            actors: roster.clone(),
            budget: budget.clone(),
            started: Instant::now(),
        });
        Ok(Self {
            store,
            keeper,
            spool,
            publisher,
            dedup,
            edge,
            front,
            admin,
            budget,
            roster,
        })
    }

    async fn run(self, config: &Config, sockets: Sockets, mut end: End) -> Result<(), ServeError> {
        let (stop_admin, admin_stopped) = tokio::sync::oneshot::channel::<()>();
        let admin = match self
            .serve_http(config, sockets, admin_stopped, &mut end)
            .await
        {
            Ok(admin) => admin,
            Err(error) => {
                // The process ends now. A stage whose actor is dead has no orderly drop, and nothing here may wait for one.
                std::mem::forget(self);
                return Err(error);
            }
        };
        end.vigil.stopping();
        self.drain(admin.asked_to_stop + config.shutdown.drain)
            .await;
        drop(stop_admin);
        // It stops within a second, or the process ends without it.
        let _ = admin.server.await;
        Ok(())
    }

    /// Serves until a signal comes, and until what was in hand then is answered. The admin listener goes on for the drain.
    async fn serve_http(
        &self,
        config: &Config,
        sockets: Sockets,
        admin_stopped: tokio::sync::oneshot::Receiver<()>,
        end: &mut End,
    ) -> Result<AdminServer, ServeError> {
        let cannot =
            |error: std::io::Error| ServeError::Unavailable(format!("cannot serve HTTP: {error}"));
        let (front, started) = (self.front.clone(), Arc::new(AtomicUsize::new(0)));
        let verifier = move || {
            front.start(
                &Arbiter::current(),
                &format!("http-{}", started.fetch_add(1, Ordering::Relaxed)),
            )
        };
        let ingest = http::serve(
            sockets.ingest,
            self.edge.clone(),
            verifier,
            &config.server,
            config.shutdown.drain,
        )
        .map_err(cannot)?;
        let admin = admin::serve(sockets.admin, self.admin.clone()).map_err(cannot)?;
        let server = actix::spawn(admin.until(async {
            // The sender is dropped when the service ends.
            let _ = admin_stopped.await;
            StopMode::Graceful
        }));
        actix::spawn(tell_when_ready(self.admin.health.clone()));
        actix::spawn(keep_watchdog_quiet(self.roster.clone()));

        let (mut died, mut asked_to_stop) = (None, Instant::now());
        let stop = async {
            died = end.wait().await;
            asked_to_stop = Instant::now();
            if died.is_some() {
                StopMode::Immediate
            } else {
                StopMode::Graceful
            }
        };
        let ended = ingest.until(stop).await;
        match died {
            Some(name) => Err(ServeError::Died(name)),
            None => ended
                .map(|()| AdminServer {
                    server,
                    asked_to_stop,
                })
                .map_err(cannot),
        }
    }

    /// From the front to the back: what was taken is stored and answered, what is in memory is published, the rest stays in the outbox.
    async fn drain(self, end: Instant) {
        let in_time = until(end, || self.budget.used() == (0, 0)).await;
        self.dedup.close();
        let written = until(end, || self.dedup.is_finished()).await;
        if !in_time || !written {
            tracing::warn!(
                "the store did not finish within shutdown.drain_secs; senders that got no answer will try again"
            );
        }
        let (publisher, keeper, spool, store) =
            (self.publisher, self.keeper, self.spool, self.store);
        let left = end.saturating_duration_since(Instant::now());
        let stopped = tokio::task::spawn_blocking(move || {
            if let Some((spool, draining)) = spool {
                draining.stop(Instant::now() + left / 4);
                if !spool.is_empty() {
                    tracing::warn!(
                        left = spool.len(),
                        "{} events stay in the spool, on this machine's disk, for the next start here",
                        spool.len()
                    );
                }
                spool.close();
            }
            let left = publisher.stop(left);
            // With a commit under way its row would be nobody's; the lease runs out by itself then.
            keeper.stop(written);
            store.close();
            left
        });
        match stopped.await {
            Ok(0) => tracing::info!("stopped; nothing was left in memory"),
            Ok(left) => tracing::info!(
                left,
                "stopped; {left} events stay in the outbox for the next start or another instance"
            ),
            Err(error) => {
                tracing::error!(%error, "the publisher's stop failed; what it had stays in the outbox")
            }
        }
    }
}

/// What ends the service.
struct End {
    vigil: DeathWatch,
    signals: Signals,
}

impl End {
    /// Resolves when the service should end: with the name of who died, or with nothing at a signal.
    async fn wait(&mut self) -> Option<&'static str> {
        tokio::select! {
            name = self.vigil.death() => return Some(name),
            _ = self.signals.stop() => {}
        }
        systemd::stopping("finishing what is in hand");
        None
    }
}

async fn until(end: Instant, done: impl Fn() -> bool) -> bool {
    while !done() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}

/// READY is what the service manager gets when deliveries can be accepted; until then its patience is asked for.
async fn tell_when_ready(health: Health) {
    while let Err(why) = health.accepting() {
        systemd::still_starting(&why);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    match health.ready() {
        Ok(()) => systemd::ready("serving"),
        Err(why) => systemd::ready(&format!("taking deliveries; not ready: {why}")),
    }
}

/// Tells the watchdog that all is well, but only after a message has gone through every actor's own queue.
async fn keep_watchdog_quiet(roster: ActorRegistry) {
    let Some(interval) = systemd::watchdog_interval() else {
        return;
    };
    loop {
        for entry in roster.entries() {
            if entry.liveness.check().await.is_err() {
                return;
            }
        }
        systemd::alive();
        tokio::time::sleep(interval).await;
    }
}
