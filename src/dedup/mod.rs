//! Dedup: stores each event once.
//!
//! [`batch`] is the pure state. [`router`] chooses the destination of each batch, and [`cache`] has
//! recent keys. `dispatch` is the thin shell around them, shared by the [`actor`]s and the
//! [`writer`] threads.

pub mod actor;
pub mod batch;
pub mod cache;
mod dispatch;
pub mod router;
mod spans;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ArbiterHandle};
use tokio::time::{MissedTickBehavior, interval};

use self::actor::DedupActor;
use self::batch::{BatchLimits, Batcher};
use self::cache::DedupCache;
use self::dispatch::{Dispatch, WriterQueues};
use self::router::Destinations;
use self::writer::{Writer, WriterTarget, Writers};
use crate::config::model::{self, RespondAfter};
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::in_flight::Ticket;
use crate::outbox::SinkOutbox;
use crate::runtime::mailbox::{ActorRegistry, Mailbox};
use crate::runtime::shutdown::CriticalTask;
use crate::spool::Spool;
use crate::store::keeper::Lease;
use crate::store::{Intake, NewEvent};
use crate::telemetry::Metrics;

/// Message verifier → dedup: a delivery with a proven sender.
#[derive(Debug)]
pub struct Verified {
    /// Events of the delivery: one for most providers, never none.
    pub events: Vec<NewEvent>,
    /// Claim of the delivery to exactly one outcome.
    pub ticket: Ticket,
}

/// Everything that dedup needs from the service.
pub struct DedupDeps {
    /// Store of the events.
    pub store: Arc<dyn Intake>,
    /// Name of this process in the store.
    pub instance: InstanceId,
    /// Names of the sinks.
    pub sinks: Sinks,
    /// Outboxes of the sinks, in the same order.
    pub outboxes: Vec<SinkOutbox>,
    /// Metrics of the service.
    pub metrics: Arc<Metrics>,
    /// Time at which a sender is answered.
    pub respond_after: RespondAfter,
    /// Spool that takes batches while the store is away. None: they are answered 503.
    pub spool: Option<Fallback>,
    /// Reports the death of an actor or a thread.
    pub lifeline: CriticalTask,
}

/// Spool that takes batches while the store is away.
pub struct Fallback {
    /// The spool.
    pub spool: Spool,
    /// Lease in the store. Its renewal shows that the store is back.
    pub lease: Lease,
    /// Longest time of the store for a batch.
    pub after: Duration,
}

/// Interval at which abandoned deliveries and overdue batches are looked for.
const TICK: Duration = Duration::from_millis(100);

/// Running dedup: its writers, and the state that the actors share.
pub struct RunningDedup {
    dispatch: Arc<Dispatch>,
    writers: Writers,
}

impl RunningDedup {
    /// Ends the input. The writers finish the batches that they have, and end.
    pub fn close(&self) {
        self.dispatch.close();
    }

    /// Returns `true` if the writers have ended.
    pub fn is_finished(&self) -> bool {
        self.writers.are_finished()
    }

    /// Returns the starter of actors with mailboxes of `capacity` deliveries.
    pub fn actors(
        &self,
        capacity: usize,
        lifeline: &CriticalTask,
        roster: &ActorRegistry,
    ) -> DedupActors {
        DedupActors {
            dispatch: self.dispatch.clone(),
            capacity,
            lifeline: lifeline.clone(),
            roster: roster.clone(),
        }
    }
}

/// Starter of dedup actors.
#[derive(Clone)]
pub struct DedupActors {
    dispatch: Arc<Dispatch>,
    capacity: usize,
    lifeline: CriticalTask,
    roster: ActorRegistry,
}

impl DedupActors {
    /// Starts an actor on `arbiter`, with `name` in the metrics.
    pub fn start(&self, arbiter: &ArbiterHandle, name: String) -> Mailbox<Verified> {
        let actor = DedupActor {
            dispatch: self.dispatch.clone(),
            _lifeline: self.lifeline.of("dedup"),
        };
        self.roster.mailbox(
            name,
            &DedupActor::start_in_arbiter(arbiter, move |_| actor),
            self.capacity,
        )
    }
}

/// Starts the writers, and a timer on this thread.
pub fn start(config: &model::Dedup, deps: DedupDeps) -> std::io::Result<RunningDedup> {
    let count = deps.store.writers(config.writers);
    let (store_work, spool_work) = (
        crossbeam_channel::bounded(count),
        crossbeam_channel::bounded(1),
    );
    let looks_for_unpublished = deps.respond_after == RespondAfter::Published;
    // A cached event is answered at once. It must not be an event that senders wait for.
    let cache_entries = if looks_for_unpublished {
        0
    } else {
        config.cache_entries
    };
    let cache = DedupCache::new(cache_entries, config.cache_ttl);
    let batcher = batcher(config, &deps, count);
    let (metrics, lifeline) = (deps.metrics.clone(), deps.lifeline.clone());
    let store = WriterTarget::Store {
        store: deps.store.clone(),
        instance: deps.instance,
        outboxes: deps.outboxes.clone(),
        sinks: deps.sinks.clone(),
        looks_for_unpublished,
    };
    let spool = deps
        .spool
        .as_ref()
        .map(|fallback| WriterTarget::Spool(fallback.spool.clone()));
    let dispatch = Dispatch::new(
        batcher,
        cache,
        WriterQueues {
            store: store_work.0,
            spool: spool_work.0,
        },
        deps,
    );
    let mut writers = Writers::new();
    let writer = |target| Writer {
        target,
        dispatch: dispatch.clone(),
        metrics: metrics.clone(),
        failing: false,
    };
    for _ in 0..count {
        writers.add(writer(store.clone()), &store_work.1, &lifeline)?;
    }
    if let Some(spool) = spool {
        writers.add(writer(spool), &spool_work.1, &lifeline)?;
    }
    actix::spawn(tick(dispatch.clone(), lifeline.of("dedup's clock")));
    Ok(RunningDedup { dispatch, writers })
}

/// Returns the batcher of `writers` writers to the store, and of the spool's if there is one.
fn batcher(config: &model::Dedup, deps: &DedupDeps, writers: usize) -> Batcher<Ticket> {
    let limits = BatchLimits {
        events: config.batch_events,
        bytes: config.batch_bytes,
    };
    let destinations = Destinations {
        writers,
        spool_after: deps.spool.as_ref().map(|fallback| fallback.after),
    };
    let batcher = Batcher::new(limits, destinations);
    match deps.respond_after {
        RespondAfter::Published => batcher.listing_unpublished(deps.sinks.clone()),
        RespondAfter::Stored => batcher,
    }
}

async fn tick(dispatch: Arc<Dispatch>, _lifeline: CriticalTask) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        dispatch.tick();
    }
}
