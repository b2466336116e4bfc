//! Start of a sink's publisher.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use actix::{Actor, Arbiter};
use arc_swap::ArcSwap;
use crossbeam_channel::bounded;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::actor::{Halt, PublisherActor};
use super::envelope::{ForwardedHeaders, Message, MessageOptions};
use super::publish_task::{PublishTask, Report};
use super::routing_key::{RoutingKey, RoutingKeys};
use super::sinks::{PublishError, Sink, configured};
use super::supervisor::supervise;
use super::throttle::PublishThrottle;
use super::window::{Window, WindowLimits};
use crate::config::model::{Publisher, Source};
use crate::domain::delivery::{InstanceId, SourceName};
use crate::domain::sink::SinkName;
use crate::in_flight::Budget;
use crate::outbox::{
    ConfirmWriter, InFlightEvents, MayPublish, OrderedScan, Pending, PendingConfirms, Relay,
    SinkHealth, SinkOutbox,
};
use crate::runtime::mailbox::{ActorRegistry, Mailbox};
use crate::runtime::shutdown::CriticalTask;
use crate::store::{Outbox, Room};
use crate::telemetry::Metrics;
use crate::telemetry::health::Component;

/// Most bytes of bodies in one batch. Each channel holds as much once more while it sends. A batch
/// has one time limit, so its size is bounded too; a larger one gains no throughput.
pub const BATCH_BYTES: usize = 4 * 1024 * 1024;

/// Everything that the publisher of a sink needs from the service.
#[derive(Clone)]
pub struct PublisherDeps {
    /// Name of the sink, by which its rows are known in the outbox.
    pub sink: SinkName,
    /// Store with the outbox.
    pub store: Arc<dyn Outbox>,
    /// Name of this process in the store.
    pub instance: InstanceId,
    /// Check of the instance's lease. If the lease is lost, a batch under way is given up: the rows
    /// may be another instance's by now.
    pub holds_lease: MayPublish,
    /// Check before a batch is sent: the lease is held, and the sink is not paused. A batch under way
    /// is finished in spite of a pause: it may be at the sink already.
    pub may_publish: MayPublish,
    /// Budget of deliveries that are not answered yet. While it is more than half full, publishing
    /// is paused. None: it is never paused.
    pub ingest: Option<Arc<Budget>>,
    /// Health of the sink in `/readyz`.
    pub health: Component,
    /// Metrics of the service.
    pub metrics: Arc<Metrics>,
    /// Reports the death of the actor, its tasks and its threads.
    pub lifeline: CriticalTask,
    /// Registry of the actor.
    pub roster: ActorRegistry,
}

/// A running publisher of one sink.
pub struct RunningPublisher {
    /// The outbox of the sink, for the writers of new events. The relay has a budget of its own, as
    /// large as this one: half of `queue_events` and `queue_bytes`.
    pub outbox: SinkOutbox,
    /// State of the connection to the sink.
    pub health: SinkHealth,
    /// Options of its messages.
    pub options: SharedOptions,
    pub(super) relay_budget: Arc<Budget>,
    pub(super) halt: Arc<Halt>,
    pub(super) arbiter: Arbiter,
    pub(super) io: PublisherIo,
    /// Ends the relay when it is dropped.
    pub(super) relay_stop: crossbeam_channel::Sender<()>,
    /// Makes the confirm writer give up what the store does not take, when it is dropped.
    pub(super) confirms_give_up: crossbeam_channel::Sender<()>,
    pub(super) relay: JoinHandle<()>,
    pub(super) confirm_writer: JoinHandle<()>,
}

/// The connection to the sink, and the publish tasks, on a runtime of their own.
pub(super) struct PublisherIo {
    pub(super) runtime: Runtime,
    pub(super) stop: watch::Sender<bool>,
    pub(super) supervisor: tokio::task::JoinHandle<()>,
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

/// Options of the messages of one sink, which a reload replaces.
pub type SharedOptions = Arc<ArcSwap<MessageOptions>>;

/// Returns the options of the messages of a configured sink.
pub fn message_options(
    config: &Publisher,
    sources: &[Source],
) -> Result<MessageOptions, PublishError> {
    let served = served(config, sources);
    Ok(MessageOptions {
        keys: routing_keys(config, &served)?,
        forwarded: forwarded_headers(config, &served),
    })
}

/// Returns the headers that this sink gets with the events of each source.
fn forwarded_headers(
    config: &Publisher,
    sources: &[Source],
) -> HashMap<SourceName, ForwardedHeaders> {
    let own: Option<ForwardedHeaders> =
        (!config.forward_headers.is_empty()).then(|| config.forward_headers.clone().into());
    let of = |source: &Source| {
        let headers = own.clone();
        let headers = headers.unwrap_or_else(|| source.forward_headers.clone().into());
        (source.name.clone(), headers)
    };
    sources.iter().map(of).collect()
}

/// Tries to reach the configured sink without changing anything there. Returns the findings as
/// sentences.
pub async fn check(config: &Publisher, sources: &[Source]) -> Result<Vec<String>, PublishError> {
    configured(config, &served(config, sources))?.check().await
}

/// Returns the sources whose events go to the sink.
fn served(config: &Publisher, sources: &[Source]) -> Vec<Source> {
    let served = sources.iter().filter(|source| config.gets(source));
    served.cloned().collect()
}

/// Starts the publisher of the configured sink, within an actix system. If the sink is away, the
/// publisher starts too, and its health says so.
pub fn start(
    config: &Publisher,
    sources: &[Source],
    deps: PublisherDeps,
) -> Result<RunningPublisher, PublishError> {
    let served = served(config, sources);
    start_sink(configured(config, &served)?, config, &served, deps)
}

/// Returns the room of the relay's rows, which is that of the hints, too: neither starves the other.
fn half_of_room(config: &Publisher) -> Room {
    Room {
        events: config.queue_events.div_ceil(2),
        bytes: config.queue_bytes.div_ceil(2),
    }
}

/// Starts the publisher of `sink`, as [`start`] does.
pub fn start_sink(
    sink: Arc<dyn Sink>,
    config: &Publisher,
    sources: &[Source],
    deps: PublisherDeps,
) -> Result<RunningPublisher, PublishError> {
    let options: SharedOptions = Arc::new(ArcSwap::from_pointee(message_options(config, sources)?));
    let tasks = sink.channels(config.channels).max(1);
    let half = half_of_room(config);
    let health = SinkHealth::new(deps.health.clone(), deps.metrics.clone(), &deps.sink);
    let halt = Arc::new(Halt::default());
    let (room_sender, room) = bounded(1);
    let confirms = PendingConfirms::new(room_sender);
    let (confirms_give_up, confirm_writer) = start_confirm_writer(&deps, confirms.clone())?;
    let (senders, batches): (Vec<_>, Vec<_>) = (0..tasks).map(|_| mpsc::channel(1)).unzip();
    let started = start_actor(config, &deps, options.clone(), senders, &confirms, &halt);
    let io = batches.into_iter().zip(started.reports);
    let io = PublisherIo::start(sink, io, &deps, &health)?;
    let outbox = SinkOutbox {
        sink: deps.sink.clone(),
        in_flight: InFlightEvents::default(),
        confirms,
        publisher: started.mailbox,
        budget: Budget::new(half.events, half.bytes),
        ordered: !config.ordered.is_none(),
    };
    let relay_budget = Budget::new(half.events, half.bytes);
    let (relay_stop, stop) = bounded(0);
    let relay = Relay {
        outbox: outbox.clone(),
        store: deps.store,
        instance: deps.instance,
        health: health.clone(),
        may_publish: deps.may_publish,
        budget: relay_budget.clone(),
        max: half,
        interval: config.relay_interval,
        metrics: deps.metrics,
        room,
        stop,
        ordered: outbox.ordered.then(OrderedScan::new),
    };
    let relay = spawn("relay", deps.lifeline.of("relay"), move || relay.run())?;
    Ok(RunningPublisher {
        outbox,
        health,
        options,
        relay_budget,
        halt,
        arbiter: started.arbiter,
        io,
        relay_stop,
        confirms_give_up,
        relay,
        confirm_writer,
    })
}

/// A running actor, with the mailboxes in front of it.
struct StartedActor {
    arbiter: Arbiter,
    mailbox: Mailbox<Pending>,
    /// One for each publish task, which has one report under way.
    reports: Vec<Mailbox<Report>>,
}

fn start_actor(
    config: &Publisher,
    deps: &PublisherDeps,
    options: SharedOptions,
    tasks: Vec<mpsc::Sender<Vec<Message>>>,
    confirms: &PendingConfirms,
    halt: &Arc<Halt>,
) -> StartedActor {
    let limits = WindowLimits {
        tasks: tasks.len(),
        batch_events: config.window,
        batch_bytes: BATCH_BYTES,
        retry_min: config.retry_min,
        retry_max: config.retry_max,
    };
    let throttle = |ingest| PublishThrottle::new(ingest, config.yield_longest, Instant::now());
    let actor = PublisherActor {
        sink: deps.sink.clone(),
        window: Window::new(limits),
        options,
        tasks,
        confirms: confirms.clone(),
        halt: halt.clone(),
        may_publish: deps.may_publish.clone(),
        throttle: deps.ingest.clone().map(throttle),
        paused: deps.metrics.publisher_yielding.clone(),
        checks_again: false,
        _lifeline: deps.lifeline.of("publisher"),
    };
    let arbiter = Arbiter::new();
    let addr = PublisherActor::start_in_arbiter(&arbiter.handle(), |_| actor);
    let name = deps.sink.name_part("publisher");
    StartedActor {
        arbiter,
        mailbox: deps.roster.mailbox(name, &addr, config.mailbox_capacity),
        reports: (0..limits.tasks).map(|_| Mailbox::new(&addr, 2)).collect(),
    }
}

/// Starts the confirm writer. Returns the sender that makes it give up, and its thread.
fn start_confirm_writer(
    deps: &PublisherDeps,
    confirms: PendingConfirms,
) -> Result<(crossbeam_channel::Sender<()>, JoinHandle<()>), PublishError> {
    let (sender, give_up) = bounded(0);
    let writer = ConfirmWriter {
        sink: deps.sink.clone(),
        store: deps.store.clone(),
        metrics: deps.metrics.clone(),
        confirms,
        give_up,
        failing: false,
    };
    let lifeline = deps.lifeline.of("confirm writer");
    let thread = spawn("confirm-writer", lifeline, move || writer.run())?;
    Ok((sender, thread))
}

impl PublisherIo {
    /// Starts the supervisor, and a publish task for each item of `work`.
    fn start(
        sink: Arc<dyn Sink>,
        work: impl Iterator<Item = (mpsc::Receiver<Vec<Message>>, Mailbox<Report>)>,
        deps: &PublisherDeps,
        health: &SinkHealth,
    ) -> Result<Self, PublishError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("publish-io")
            .enable_all()
            .build()
            .map_err(|error| {
                PublishError(format!("cannot start the publisher's runtime: {error}"))
            })?;
        let (stop, stopped) = watch::channel(false);
        let (current, connection) = watch::channel(None);
        let supervisor = runtime.spawn(alive(
            deps.lifeline.of("publisher connection"),
            supervise(sink, current, health.clone(), stopped),
        ));
        for (number, (batches, reports)) in work.enumerate() {
            let task = PublishTask {
                number,
                batches,
                connection: connection.clone(),
                reports,
                holds_lease: deps.holds_lease.clone(),
                may_publish: deps.may_publish.clone(),
                metrics: deps.metrics.clone(),
                health: health.clone(),
                sink: deps.sink.clone(),
            };
            runtime.spawn(alive(deps.lifeline.of("publish task"), task.run()));
        }
        Ok(Self {
            runtime,
            stop,
            supervisor,
        })
    }
}

/// Runs `work`, and reports its end. Otherwise a panic in a task would show only when the task is
/// missed.
async fn alive(lifeline: CriticalTask, work: impl Future<Output = ()>) {
    let _lifeline = lifeline;
    work.await;
}

fn spawn(
    name: &str,
    lifeline: CriticalTask,
    work: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, PublishError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let _lifeline = lifeline;
            work();
        })
        .map_err(|error| PublishError(format!("cannot start the thread {name}: {error}")))
}
