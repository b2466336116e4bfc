//! Putting the publisher together, and taking it apart in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, Arbiter};
use crossbeam_channel::bounded;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::actor::{Halt, PublisherActor};
use super::file::{Access, FileTarget, Rotation};
use super::lanes::{self, Report};
use super::rabbitmq::RabbitTarget;
use super::routing_key::{RoutingKey, RoutingKeys};
use super::window::{Limits, Window};
use super::yielding::Yielding;
use super::{PublishError, Target};
use crate::config::model::{Publisher, PublisherUrl, Source};
use crate::domain::delivery::InstanceId;
use crate::in_flight::Budget;
use crate::outbox::{
    ConfirmWriter, InFlightEvents, MayPublish, Pending, PendingConfirms, Relay, SinkHealth,
};
use crate::runtime::mailbox::{Mailbox, Roster};
use crate::runtime::shutdown::Lifeline;
use crate::store::{Room, Store};
use crate::telemetry::Metrics;
use crate::telemetry::health::Component;

/// Bytes of bodies in one batch: each channel holds as much once more while it sends. A batch has one time limit, so its size is bounded
/// too; larger gains no throughput.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Between two looks at whether a stop can go on.
const LOOK: Duration = Duration::from_millis(5);

/// What the publisher needs of the rest.
pub struct PublisherDeps {
    /// Holds the outbox.
    pub store: Arc<dyn Store>,
    /// This process's name in it.
    pub instance: InstanceId,
    /// Which events this process has in memory.
    pub in_flight: InFlightEvents,
    /// Whether this instance's lease is held. Without it nothing is published: the rows may be another instance's by now.
    pub may_publish: MayPublish,
    /// What is in hand before its answer; the publisher stands aside while there is little room in it. None: it never does.
    pub ingest: Option<Arc<Budget>>,
    /// Where it says how it is.
    pub health: Component,
    /// Where it counts.
    pub metrics: Arc<Metrics>,
    /// Reports the death of its actor and threads.
    pub lifeline: Lifeline,
    /// Where its actor enters.
    pub roster: Roster,
}

/// A publisher at work.
pub struct Running {
    /// For hints: rows just committed.
    pub mailbox: Mailbox<Pending>,
    /// Room for hints. The relay has as much of its own: half of `queue_events` and `queue_bytes`.
    pub budget: Arc<Budget>,
    /// What the queue has confirmed, for the next commit to take along.
    pub confirms: PendingConfirms,
    /// Whether the queue takes events.
    pub health: SinkHealth,
    relay_budget: Arc<Budget>,
    halt: Arc<Halt>,
    arbiter: Arbiter,
    io: Runtime,
    stop_io: watch::Sender<bool>,
    supervisor: tokio::task::JoinHandle<()>,
    /// Dropped, the relay ends.
    relay_stop: crossbeam_channel::Sender<()>,
    /// Dropped, the confirm_writer thread gives up what the store does not take.
    confirms_give_up: crossbeam_channel::Sender<()>,
    relay: JoinHandle<()>,
    confirm_writer: JoinHandle<()>,
}

/// The target that the configuration names.
fn target(config: &Publisher) -> Result<Arc<dyn Target>, PublishError> {
    match &config.url {
        PublisherUrl::File(folder) => {
            let access = Access {
                mode: config.file_mode,
                group: config.file_group.clone(),
            };
            let rotation = Rotation {
                bytes: config.file_max_bytes,
                age: config.file_max_age,
            };
            Ok(Arc::new(FileTarget::new(
                folder.clone(),
                rotation,
                access,
                config.confirm_timeout,
            )))
        }
        PublisherUrl::Amqp(url) => Ok(Arc::new(RabbitTarget::new(url, config)?)),
    }
}

/// Compiles the routing keys of the configuration.
pub fn routing_keys(config: &Publisher, sources: &[Source]) -> Result<RoutingKeys, PublishError> {
    let default = RoutingKey::parse(&config.routing_key).map_err(PublishError)?;
    let mut own = HashMap::new();
    for source in sources {
        if let Some(template) = &source.routing_key {
            let key = RoutingKey::parse(template)
                .map_err(|why| PublishError(format!("source {}: {why}", source.name)))?;
            own.insert(source.name.clone(), key);
        }
    }
    Ok(RoutingKeys::new(default, own))
}

/// Tries to reach the target without changing anything there; what it found, in sentences.
pub async fn check(config: &Publisher) -> Result<Vec<String>, PublishError> {
    target(config)?.check().await
}

/// Starts the publisher; call it within an actix system. It starts with the target away as well, and says so in its health.
pub fn start(
    config: &Publisher,
    sources: &[Source],
    deps: PublisherDeps,
) -> Result<Running, PublishError> {
    start_at(target(config)?, config, sources, deps)
}

/// Starts a publisher that publishes to `target`.
pub fn start_at(
    target: Arc<dyn Target>,
    config: &Publisher,
    sources: &[Source],
    deps: PublisherDeps,
) -> Result<Running, PublishError> {
    let PublisherDeps {
        store,
        instance,
        in_flight,
        may_publish,
        ingest,
        health,
        metrics,
        lifeline,
        roster,
    } = deps;
    let keys = routing_keys(config, sources)?;
    let count = target.channels(config.channels).max(1);
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| PublishError(format!("cannot start {what}: {error}"))
    };

    // The relay's rows and the hints have half each, and none starves the other.
    let half = Room {
        events: config.queue_events.div_ceil(2),
        bytes: config.queue_bytes.div_ceil(2),
    };
    let (budget, relay_budget) = (
        Budget::new(half.events, half.bytes),
        Budget::new(half.events, half.bytes),
    );
    let health = SinkHealth::new(health, metrics.publisher_up.clone());
    let halt = Arc::new(Halt::default());

    let (room_sender, room) = bounded(1);
    let (confirms_give_up, give_up) = bounded(0);
    let confirms = PendingConfirms::new(room_sender);
    let writer = ConfirmWriter {
        store: store.clone(),
        metrics: metrics.clone(),
        confirms: confirms.clone(),
        give_up,
        failing: false,
    };
    let confirm_writer = spawn("confirm-writer", lifeline.of("confirm writer"), move || {
        writer.run()
    })
    .map_err(failed("a thread"))?;

    let (senders, receivers): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(1)).unzip();
    let actor = PublisherActor {
        window: Window::new(Limits {
            lanes: count,
            batch_events: config.window,
            batch_bytes: BATCH_BYTES,
            retry_min: config.retry_min,
            retry_max: config.retry_max,
        }),
        keys,
        lanes: senders,
        confirms: confirms.clone(),
        halt: halt.clone(),
        may_publish: may_publish.clone(),
        yielding: ingest.map(|ingest| Yielding::new(ingest, config.yield_longest, Instant::now())),
        stands_aside: metrics.publisher_yielding.clone(),
        looks_again: false,
        _lifeline: lifeline.of("publisher"),
    };
    let arbiter = Arbiter::new();
    let addr = PublisherActor::start_in_arbiter(&arbiter.handle(), |_| actor);
    let mailbox = roster.mailbox("publisher", &addr, config.mailbox_capacity);

    let io = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("publish-io")
        .enable_all()
        .build()
        .map_err(failed("the publisher's runtime"))?;
    let (stop_io, stop) = watch::channel(false);
    let (link_sender, links) = watch::channel(None);
    let supervisor = io.spawn(alive(
        lifeline.of("publisher connection"),
        lanes::supervise(target, link_sender, health.clone(), stop),
    ));
    for (lane, batches) in receivers.into_iter().enumerate() {
        // Each lane has one report under way.
        let reports: Mailbox<Report> = Mailbox::new(&addr, 2);
        let work = lanes::lane(
            lane,
            batches,
            links.clone(),
            reports,
            may_publish.clone(),
            metrics.clone(),
            health.clone(),
        );
        io.spawn(alive(lifeline.of("publisher lane"), work));
    }

    let (relay_stop, stop) = bounded(0);
    let relay = Relay {
        store,
        instance,
        in_flight,
        health: health.clone(),
        may_publish,
        publisher: mailbox.clone(),
        budget: relay_budget.clone(),
        max: half,
        interval: config.relay_interval,
        metrics,
        room,
        stop,
    };
    let relay =
        spawn("relay", lifeline.of("relay"), move || relay.run()).map_err(failed("a thread"))?;

    Ok(Running {
        mailbox,
        budget,
        confirms,
        health,
        relay_budget,
        halt,
        arbiter,
        io,
        stop_io,
        supervisor,
        relay_stop,
        confirms_give_up,
        relay,
        confirm_writer,
    })
}

/// `work`, whose end is reported: a panic in a task would otherwise only be heard of when its lane is missed.
async fn alive(lifeline: Lifeline, work: impl Future<Output = ()>) {
    let _lifeline = lifeline;
    work.await;
}

fn spawn(
    name: &str,
    lifeline: Lifeline,
    work: impl FnOnce() + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _lifeline = lifeline;
            work();
        })
}

impl Running {
    /// Events in memory now.
    pub fn in_memory(&self) -> usize {
        self.budget.used().0 + self.relay_budget.used().0
    }

    /// Stops in order, within about `limit`: the relay first, then what is in memory is published, then batches that are out are
    /// awaited, then the connection is closed and the store told. What is not done by then stays in the outbox; how many events that
    /// is. Blocks: call it on a thread of its own. Nothing may send hints any more.
    pub fn stop(self, limit: Duration) -> usize {
        let began = Instant::now();
        drop(self.relay_stop);
        wait_until(began + limit, || self.relay.is_finished());

        // With the queue away there is nothing to wait for: the outbox holds the rows.
        let in_memory = || self.budget.used().0 + self.relay_budget.used().0;
        wait_until(began + limit.mul_f64(0.7), || {
            in_memory() == 0 || !self.health.is_up()
        });
        self.halt.halted.store(true, Ordering::Release);
        wait_until(began + limit.mul_f64(0.9), || {
            self.halt.under_way.load(Ordering::Acquire) == 0 || !self.health.is_up()
        });

        self.stop_io.send_replace(true);
        wait_until(began + limit, || self.supervisor.is_finished());
        self.io.shutdown_timeout(Duration::from_millis(100));
        let left = in_memory();

        // Without the actor nothing comes any more, and the confirm_writer thread works off what it has.
        self.arbiter.stop();
        // An arbiter ends when its actor's current message is done.
        let _ = self.arbiter.join();
        self.confirms.close();
        wait_until(began + limit, || self.confirm_writer.is_finished());
        drop(self.confirms_give_up);
        wait_until(began + limit, || self.confirm_writer.is_finished());
        left
    }
}

fn wait_until(end: Instant, done: impl Fn() -> bool) {
    while !done() && Instant::now() < end {
        std::thread::sleep(LOOK);
    }
}
