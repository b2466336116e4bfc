//! Dedup: each event is stored once.
//!
//! [`batch`] is the pure state, [`recent`] the keys in memory, [`actor`] the thin shell around both, [`writer`] the threads that commit.

pub mod actor;
pub mod batch;
pub mod recent;
pub mod writer;

use std::sync::Arc;

use actix::{Actor, Arbiter};

use self::actor::DedupActor;
use self::batch::{BatchLimits, Batcher};
use self::recent::Recent;
use self::writer::Writers;
use crate::config::model;
use crate::delivery::InstanceId;
use crate::in_flight::Budget;
use crate::mailbox::{Mailbox, Pulse};
use crate::messages::{BatchDone, Pending, Verified};
use crate::publish::in_hand::InHand;
use crate::shutdown::Lifeline;
use crate::store::Store;
use crate::telemetry::Metrics;

/// What dedup needs of the rest.
pub struct Surroundings {
    /// Where events are stored.
    pub store: Arc<dyn Store>,
    /// Who stores them.
    pub instance: InstanceId,
    /// The events in memory.
    pub in_hand: InHand,
    /// Where committed events are announced.
    pub publisher: Mailbox<Pending>,
    /// The publisher's room.
    pub publisher_budget: Arc<Budget>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Whom a death is reported to.
    pub lifeline: Lifeline,
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
pub fn start(
    config: &model::Dedup,
    shortest_window: std::time::Duration,
    arbiter: &Arbiter,
    around: Surroundings,
) -> std::io::Result<Running> {
    let (batches, work) = crossbeam_channel::bounded(config.writers);
    let limits = BatchLimits { events: config.batch_events, bytes: config.batch_bytes };
    let recent = Recent::new(config.cache_entries, config.cache_ttl.min(shortest_window));
    let writers = config.writers;
    let (metrics, lifeline) = (around.metrics.clone(), around.lifeline.clone());
    let (store, instance) = (around.store.clone(), around.instance);
    let addr =
        DedupActor::start_in_arbiter(&arbiter.handle(), move |_| DedupActor::new(Batcher::new(limits), recent, writers, batches, around));
    // A writer has one batch at a time, so more than one message of each can never wait.
    let done = Mailbox::<BatchDone>::new(&addr, writers);
    let writers = Writers::start(writers, &work, &store, instance, &done, &metrics, &lifeline)?;
    Ok(Running { mailbox: Mailbox::new(&addr, config.mailbox_capacity), pulse: Pulse::new("dedup", &addr), writers })
}
