//! Dedup: each event is stored once.
//!
//! [`batch`] is the pure state, with [`route`] for where batches go, [`recent`] the keys in memory. `dispatch` is the thin shell around
//! them that the [`actor`] and the threads that commit, [`writer`], share.

pub mod actor;
pub mod batch;
mod dispatch;
pub mod recent;
pub mod route;
pub mod writer;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Arbiter};

use self::actor::DedupActor;
use self::batch::{BatchLimits, Batcher};
use self::dispatch::{Dispatch, Work};
use self::recent::Recent;
use self::route::Places;
use self::writer::{Target, Writer, Writers};
use crate::config::model::{self, RespondAfter};
use crate::delivery::InstanceId;
use crate::in_flight::Budget;
use crate::mailbox::{Mailbox, Pulse};
use crate::messages::{Pending, Verified};
use crate::publish::in_hand::InHand;
use crate::publish::unsettled::Unsettled;
use crate::shutdown::Lifeline;
use crate::spool::Spool;
use crate::store::Store;
use crate::store::keeper::Lease;
use crate::telemetry::Metrics;

/// What dedup needs of the rest.
pub struct Surroundings {
    /// Where events are stored.
    pub store: Arc<dyn Store>,
    /// Who stores them.
    pub instance: InstanceId,
    /// The events in memory.
    pub in_hand: InHand,
    /// What the queue has confirmed, to go along with the next commit.
    pub unsettled: Unsettled,
    /// Where committed events are announced.
    pub publisher: Mailbox<Pending>,
    /// The publisher's room.
    pub publisher_budget: Arc<Budget>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// When a sender is answered.
    pub respond_after: RespondAfter,
    /// What takes the store's place while that is away, if anything does.
    pub spool: Option<Fallback>,
    /// Whom a death is reported to.
    pub lifeline: Lifeline,
}

/// What takes the store's place while that is away.
pub struct Fallback {
    /// Where events go instead.
    pub spool: Spool,
    /// Tells that the store is back.
    pub lease: Lease,
    /// How long the store may take for a batch.
    pub after: Duration,
}

/// Dedup, running.
pub struct Running {
    /// Where verified deliveries go.
    pub mailbox: Mailbox<Verified>,
    /// Whether it works.
    pub pulse: Pulse,
    /// Ends, and can be waited for, once the actor is stopped.
    pub writers: Writers,
}

/// Starts the actor on a thread of its own, and its writers. `shortest_window` bounds how long a key may stay in memory.
pub fn start(config: &model::Dedup, shortest_window: Duration, arbiter: &Arbiter, around: Surroundings) -> std::io::Result<Running> {
    let count = around.store.writers(config.writers);
    let (store_work, spool_work) = (crossbeam_channel::bounded(count), crossbeam_channel::bounded(1));
    let limits = BatchLimits { events: config.batch_events, bytes: config.batch_bytes };
    let places = Places { writers: count, spool_after: around.spool.as_ref().map(|fallback| fallback.after) };
    // What is remembered is answered at once, and so must not be an event that senders wait for.
    let looks_for_unpublished = around.respond_after == RespondAfter::Published;
    let cache_entries = if looks_for_unpublished { 0 } else { config.cache_entries };
    let recent = Recent::new(cache_entries, config.cache_ttl.min(shortest_window));
    let (metrics, lifeline) = (around.metrics.clone(), around.lifeline.clone());
    let store = Target::Store {
        store: around.store.clone(),
        instance: around.instance,
        unsettled: around.unsettled.clone(),
        looks_for_unpublished,
    };
    let spool = around.spool.as_ref().map(|fallback| Target::Spool(fallback.spool.clone()));
    let batcher = Batcher::new(limits, places);
    let batcher = if looks_for_unpublished { batcher.listing_unpublished() } else { batcher };
    let dispatch = Dispatch::new(batcher, recent, Work { store: store_work.0, spool: spool_work.0 }, around);
    let actor = DedupActor { dispatch: dispatch.clone(), _lifeline: lifeline.of("dedup") };
    let addr = DedupActor::start_in_arbiter(&arbiter.handle(), move |_| actor);
    let mut writers = Writers::new();
    let writer = |target| Writer { target, dispatch: dispatch.clone(), metrics: metrics.clone(), failing: false };
    for _ in 0..count {
        writers.add(writer(store.clone()), &store_work.1, &lifeline)?;
    }
    if let Some(spool) = spool {
        writers.add(writer(spool), &spool_work.1, &lifeline)?;
    }
    Ok(Running { mailbox: Mailbox::new(&addr, config.mailbox_capacity), pulse: Pulse::new("dedup", &addr), writers })
}
