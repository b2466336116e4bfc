//! Rig of the publisher's tests: an outbox in memory that can fail, and a publisher around it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hookweir::config::model::{
    Compression, FileSinkOptions, KafkaOptions, Publisher, PublisherUrl, QueueType,
    RabbitmqOptions, SaslMechanism,
};
use hookweir::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, InstanceId, Marks, MessageKey, SourceName, wall_clock,
};
use hookweir::domain::event_order::EventOrder;
use hookweir::domain::sink::SinkName;
use hookweir::in_flight::Budget;
use hookweir::outbox::InFlightEvents;
use hookweir::publish::{PublisherDeps, RunningPublisher, Sink, start, start_sink};
use hookweir::runtime::mailbox::ActorRegistry;
use hookweir::runtime::shutdown::{CriticalTask, DeathWatch};
use hookweir::store::{
    self, FromKey, InMemory, NewEvent, OrderedRows, Room, Seq, StoreError, StoredEvent,
};
use hookweir::telemetry::Metrics;
use hookweir::telemetry::health::Health;

/// An outbox in memory.
#[derive(Default)]
pub struct Outbox {
    rows: Mutex<BTreeMap<i64, Row>>,
    pub parked: Mutex<HashMap<String, String>>,
    /// Every call fails.
    pub away: AtomicBool,
}

struct Row {
    event: Arc<NewEvent>,
    attempts: u32,
    due: Instant,
}

impl Outbox {
    fn rows(&self) -> Result<std::sync::MutexGuard<'_, BTreeMap<i64, Row>>, StoreError> {
        if self.away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("away".into()));
        }
        Ok(self.rows.lock().expect("no panic"))
    }

    /// Adds a row.
    pub fn put(&self, event: NewEvent) -> StoredEvent {
        let mut rows = self.rows.lock().expect("no panic");
        let seq = rows.last_key_value().map_or(1, |(seq, _)| seq + 1);
        let event = Arc::new(event);
        rows.insert(
            seq,
            Row {
                event: event.clone(),
                attempts: 0,
                due: Instant::now(),
            },
        );
        StoredEvent {
            seq: Seq(seq),
            attempts: 0,
            republished: None,
            event,
        }
    }

    /// Rows left.
    pub fn len(&self) -> usize {
        self.rows.lock().expect("no panic").len()
    }

    /// Attempts of the rows left, by event id.
    pub fn attempts(&self) -> BTreeMap<String, u32> {
        self.rows
            .lock()
            .expect("no panic")
            .values()
            .map(|row| (row.event.event_id.as_str().to_owned(), row.attempts))
            .collect()
    }
}

impl store::Outbox for Outbox {
    fn claim(
        &self,
        _: InstanceId,
        _: &SinkName,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let (rows, now) = (self.rows()?, Instant::now());
        let mut bytes = 0;
        let due = rows
            .iter()
            .filter(|(_, row)| row.due <= now && !skip(&row.event.message))
            .take(room.events);
        let fits = due.take_while(|(_, row)| {
            let first = bytes == 0;
            bytes += row.event.body.len();
            first || bytes <= room.bytes
        });
        Ok(fits
            .map(|(seq, row)| StoredEvent {
                seq: Seq(*seq),
                attempts: row.attempts,
                republished: None,
                event: row.event.clone(),
            })
            .collect())
    }

    fn claim_in_order(
        &self,
        _: InstanceId,
        _: &SinkName,
        _: Room,
        _: FromKey,
        _: &dyn Fn(&MessageKey) -> InMemory,
    ) -> Result<OrderedRows, StoreError> {
        unreachable!()
    }

    fn claim_without_order(
        &self,
        _: InstanceId,
        _: &SinkName,
        _: Room,
        _: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        unreachable!()
    }

    fn confirmed(&self, _: &SinkName, confirmed: &[Seq]) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        confirmed.iter().for_each(|seq| drop(rows.remove(&seq.0)));
        Ok(())
    }

    fn postpone(&self, _: &SinkName, postponed: &[Seq], delay: Duration) -> Result<(), StoreError> {
        let mut rows = self.rows()?;
        for seq in postponed {
            let row = rows
                .get_mut(&seq.0)
                .expect("a row that is postponed is there");
            row.attempts += 1;
            row.due = Instant::now() + delay;
        }
        Ok(())
    }

    fn park(&self, _: &SinkName, row: Seq, reason: &str) -> Result<(), StoreError> {
        if let Some(row) = self.rows()?.remove(&row.0) {
            self.parked
                .lock()
                .expect("no panic")
                .insert(row.event.event_id.as_str().to_owned(), reason.to_owned());
        }
        Ok(())
    }

    fn retry_parked(&self, _: &SinkName, _: &[Seq]) -> Result<u64, StoreError> {
        unreachable!()
    }

    fn discard_parked(&self, _: &SinkName, _: &[Seq]) -> Result<u64, StoreError> {
        unreachable!()
    }

    fn move_waiting(&self, _: &SinkName, _: &SinkName, _: usize) -> Result<u64, StoreError> {
        unreachable!()
    }

    fn discard_waiting(&self, _: &SinkName, _: usize) -> Result<u64, StoreError> {
        unreachable!()
    }
}

/// An event of a source, told from others by its id.
pub fn event(source: &str, id: &str, body: &[u8]) -> NewEvent {
    let source = SourceName::parse(source).expect("a source name");
    NewEvent {
        key: DedupKey::new(&source, "id", &[id.as_bytes()]),
        message: MessageKey::of(&DedupKey::new(&source, "id", &[id.as_bytes()])),
        class: IdClass::Signed,
        bytes_key: None,
        drop_same_bytes: None,
        replay: None,
        marks: Marks::default(),
        digest: BodyDigest::of(body),
        event_id: EventId::new(id),
        source,
        event_type: Some("test.event".into()),
        content_type: Some("application/json".into()),
        headers: vec![("user-agent".into(), "test/1".into())],
        body: body.to_vec().into(),
        received_at: wall_clock(),
        verified_by: None,
        window: Duration::from_secs(60),
        sinks: None,
    }
}

/// The configuration of tests: as delivered, with short delays.
pub fn config(url: PublisherUrl) -> Publisher {
    Publisher {
        name: SinkName::default(),
        section: "publisher".into(),
        ordered: EventOrder::None,
        event_types: Vec::new(),
        except_event_types: Vec::new(),
        forward_headers: Vec::new(),
        url,
        mailbox_capacity: 4096,
        queue_events: 4096,
        queue_bytes: 16 << 20,
        channels: 4,
        window: 256,
        confirm_timeout: Duration::from_secs(10),
        retry_min: Duration::from_millis(100),
        retry_max: Duration::from_secs(1),
        relay_interval: Duration::from_millis(50),
        yield_longest: Duration::from_secs(10),
        routing_key: "{source}.{type}".into(),
        rabbitmq: RabbitmqOptions {
            max_message_bytes: 0,
            certificate_file: None,
            key_file: None,
            connect_timeout: Duration::from_secs(3),
            heartbeat: Duration::from_secs(30),
            exchange: "hookweir".into(),
            declare: true,
            queue: Some("hookweir.events".into()),
            queue_type: QueueType::Quorum,
            unrouted_queue: "hookweir.unrouted".into(),
        },
        kafka: KafkaOptions {
            largest_body: 1_000_000,
            topic: "hookweir.{source}".into(),
            record_key: "{message_id}".into(),
            compression: Compression::Lz4,
            partitions: 3,
            replication: 0,
            sasl_mechanism: SaslMechanism::ScramSha512,
            ca_file: None,
            give_up: Duration::from_secs(120),
            properties: BTreeMap::new(),
        },
        file: FileSinkOptions {
            max_bytes: 1 << 30,
            max_age: Duration::from_secs(3600),
            mode: 0o600,
            group: None,
        },
    }
}

/// The file sink in `folder`.
pub fn file(folder: &Path) -> Publisher {
    config(PublisherUrl::File(folder.to_owned()))
}

/// The broker at `url`, with names of its own.
pub fn amqp(url: &str, exchange: &str) -> Publisher {
    let mut config = config(PublisherUrl::parse(url).expect("a URL"));
    config.rabbitmq.exchange = exchange.into();
    config.rabbitmq.queue = Some(format!("{exchange}.events"));
    config.rabbitmq.unrouted_queue = format!("{exchange}.unrouted");
    config
}

/// `config` with other options of RabbitMQ.
pub fn with_rabbitmq(
    mut config: Publisher,
    change: impl FnOnce(&mut RabbitmqOptions),
) -> Publisher {
    change(&mut config.rabbitmq);
    config
}

/// A publisher and what is around it.
pub struct Rig {
    pub outbox: Arc<Outbox>,
    pub in_flight: InFlightEvents,
    pub health: Health,
    pub metrics: Arc<Metrics>,
    pub vigil: DeathWatch,
    /// True while the lease is held.
    pub lease: Arc<AtomicBool>,
    /// True while the sink is paused.
    pub paused: Arc<AtomicBool>,
    /// Ingest budget: room for a hundred deliveries.
    pub ingest: Arc<Budget>,
    running: Option<RunningPublisher>,
}

impl Rig {
    pub fn start(config: &Publisher) -> Self {
        Self::around(Arc::default(), |deps| {
            start(config, &[], deps).expect("the publisher starts")
        })
    }

    pub fn start_sink(sink: Arc<dyn Sink>, config: &Publisher) -> Self {
        Self::around(Arc::default(), |deps| {
            start_sink(sink, config, &[], deps).expect("the publisher starts")
        })
    }

    /// A publisher on an outbox that has rows already.
    pub fn restart(outbox: Arc<Outbox>, config: &Publisher) -> Self {
        Self::around(outbox, |deps| {
            start(config, &[], deps).expect("the publisher starts")
        })
    }

    fn around(outbox: Arc<Outbox>, start: impl FnOnce(PublisherDeps) -> RunningPublisher) -> Self {
        let system = actix::System::new();
        let health = Health::default();
        let metrics = Metrics::new().expect("metrics");
        let (lifeline, vigil) = CriticalTask::new();
        let lease = Arc::new(AtomicBool::new(true));
        let (held, holds) = (lease.clone(), lease.clone());
        let paused = Arc::new(AtomicBool::new(false));
        let pauses = paused.clone();
        let ingest = Budget::new(100, 0);
        let deps = PublisherDeps {
            sink: SinkName::default(),
            store: outbox.clone(),
            instance: InstanceId::random(),
            holds_lease: Arc::new(move || holds.load(Ordering::SeqCst)),
            may_publish: Arc::new(move || {
                held.load(Ordering::SeqCst) && !pauses.load(Ordering::SeqCst)
            }),
            ingest: Some(ingest.clone()),
            health: health.component("publisher"),
            metrics: metrics.clone(),
            lifeline,
            roster: ActorRegistry::default(),
        };
        let running = system.block_on(async { start(deps) });
        // Its arbiters end with the publisher; the rest of it may not leave this thread, and a test may.
        std::mem::forget(system);
        Self {
            outbox,
            in_flight: running.outbox.in_flight.clone(),
            health,
            metrics,
            vigil,
            lease,
            paused,
            ingest,
            running: Some(running),
        }
    }

    pub fn running(&self) -> &RunningPublisher {
        self.running.as_ref().expect("not stopped yet")
    }

    /// Commits an event and sends the hint, as the dedup actor does: taken or not, the row is in the outbox.
    pub fn accept(&self, event: NewEvent) {
        let guard = self.in_flight.begin(event.message).expect("a new event");
        let row = self.outbox.put(event);
        self.running().outbox.hint([(row, guard)]);
    }

    /// The outbox is empty, and nothing is in memory.
    pub fn drained(&self) {
        let end = Instant::now() + PATIENCE;
        while self.outbox.len() > 0 || !self.in_flight.is_empty() {
            let (left, in_flight, why) = (self.outbox.len(), self.in_flight.len(), self.why_not());
            assert!(
                Instant::now() < end,
                "{left} rows are left, {in_flight} in hand; {why}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn up(&self) {
        wait("the queue to be up", || self.running().health.is_up());
    }

    /// Returns the state of the first component in health, as text.
    pub fn why_not(&self) -> String {
        format!("{:?}", self.health.all()[0].1)
    }

    pub fn published(&self, result: &str) -> u64 {
        self.metrics.published.with_label_values(&[result]).get()
    }

    /// Stops the publisher; returns the number of events left in memory.
    pub fn stop(mut self, limit: Duration) -> usize {
        self.vigil.stopping();
        self.running.take().expect("stopped once").stop(limit)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.vigil.stopping();
            running.stop(Duration::from_secs(1));
        }
    }
}

/// After this long only a fault can explain that something has not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what must come; panics after a time that only a fault can explain.
pub fn wait(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
