//! One row on stage: instances of the real program, a load on them, and the faults with the times at which they were.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::options::Options;
use crate::verdict::ON_ITS_WAY;
use crate::world::{Place, Servers, Topics, blocking, by_way_of};
use hookweir_testkit::app::{App, Launch, LogTo, five_sources};
use hookweir_testkit::disk::SmallDisk;
use hookweir_testkit::kafka::unique;
use hookweir_testkit::ledger::Ledger;
use hookweir_testkit::load::{Load, Running};
use hookweir_testkit::log_reader::LogReader;
use hookweir_testkit::oracle::Account;
use hookweir_testkit::ports::free_address;
use hookweir_testkit::provider::Provider;
use hookweir_testkit::proxy::Proxy;
use hookweir_testkit::servers::{Server, address};

/// For how long something may be left over in the outbox or a spool before a row is over.
const PATIENCE: Duration = Duration::from_secs(300);

/// User and password of the service at Kafka.
const LOGIN: &str = "hookweir:secret-of-hookweir";

/// Name of a sink beside RabbitMQ.
pub const SECOND: &str = "second";

/// A Kafka of one row's own, in place of RabbitMQ or beside it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KafkaSink {
    /// One node.
    Node,
    /// One node, reached by way of a proxy.
    Proxied,
    /// Three nodes, of which two must have an event before it is confirmed.
    Cluster,
    /// The same, and the first node leads every partition.
    Led,
    /// One node, a second sink beside RabbitMQ.
    Beside,
    /// One node, at which the service logs in.
    LoggedIn,
}

/// Setup of a row.
pub struct Setup {
    options: BTreeMap<String, String>,
    /// Environment of every instance.
    pub environment: Vec<(&'static str, String)>,
    /// Instances on the same database and broker.
    pub instances: usize,
    /// Every delivery goes to all instances at the same time.
    pub everywhere: bool,
    /// Per cent of the events that are sent again with another body.
    pub other_body: u8,
    /// Providers that send.
    pub providers: Vec<Provider>,
    /// The listening socket outlives the process.
    pub activated: bool,
    /// Events a second; what the options say if left out, 0 is as fast as it goes.
    pub rate: Option<f64>,
    /// Exchange and queues are the operator's: no alternate exchange keeps what no queue is bound for.
    pub own_topology: bool,
    /// PostgreSQL has a disk of this many megabytes of its own.
    pub small_disk: Option<u32>,
    /// The log goes to a file on a disk of so many kilobytes of its own.
    pub log_disk: Option<u32>,
    /// PostgreSQL, or RabbitMQ, is reached by way of a proxy: one for each instance.
    pub proxy_postgres: bool,
    pub proxy_rabbitmq: bool,
    /// The sink is Kafka, or a second one is.
    pub kafka: Option<KafkaSink>,
    /// RabbitMQ has three nodes, of this row alone.
    pub rabbitmq_cluster: bool,
    /// PostgreSQL has a standby that each commit waits for; both are this row's alone.
    pub postgres_pair: bool,
    /// PostgreSQL is reached by way of a transaction pooler.
    pub pooler: bool,
    /// The service has a PostgreSQL role of its own, which owns its schema and has no other right.
    pub plain_role: bool,
    /// The store is a SQLite file. One instance at most.
    pub sqlite: bool,
    /// Every event is sent once more when the load ends.
    pub redeliver_all: bool,
    /// The operator of the row makes the mistake of its control, or the row brings it out.
    pub careless: bool,
}

impl Default for Setup {
    fn default() -> Self {
        let mut setup = Self {
            options: BTreeMap::new(),
            environment: Vec::new(),
            instances: 1,
            everywhere: false,
            other_body: 1,
            providers: Provider::ALL.to_vec(),
            activated: false,
            rate: None,
            own_topology: false,
            small_disk: None,
            log_disk: None,
            proxy_postgres: false,
            proxy_rabbitmq: false,
            kafka: None,
            rabbitmq_cluster: false,
            postgres_pair: false,
            pooler: false,
            plain_role: false,
            sqlite: false,
            redeliver_all: false,
            careless: false,
        };
        // What is waited for after a fault is shortened, so that a short run is; all else is the default.
        setup.set("store.lease_secs", 5);
        setup.set("publisher.retry_max_ms", 5000);
        setup
    }
}

impl Setup {
    /// Sets an option of the configuration (in TOML: text needs quotes).
    pub fn set(&mut self, option: &str, value: impl Display) {
        self.options.insert(option.into(), value.to_string());
    }

    /// Leaves the spool out. A slow store alone has it answer, and it cannot ask whether an event is known.
    pub fn without_spool(&mut self) {
        self.set("spool.path", "\"\"");
    }

    fn config(&self) -> String {
        let lines: Vec<_> = self
            .options
            .iter()
            .map(|(option, value)| format!("{option} = {value}"))
            .collect();
        format!("{}\n{}", lines.join("\n"), five_sources())
    }
}

/// Time window of a fault.
#[derive(Clone, Debug)]
pub struct Window {
    pub from: Instant,
    /// Time at which the fault was over.
    pub healed: Instant,
    /// Time at which everything that had waited because of the fault was gone.
    pub until: Instant,
    /// Time from the end of the last fault of the round to `until`.
    pub drained: Duration,
    /// Rows that waited at the end of the last fault of the round.
    pub waiting: i64,
}

/// Evidence that a fault reached the service.
#[derive(Clone, Copy)]
pub enum Felt {
    /// It sees to it itself, or there is no fault.
    Itself,
    /// These counters of the service rose by so much in each round.
    Counter(&'static str, &'static [&'static str], usize),
    /// So many events waited when it was healed.
    Waiting(i64),
}

/// Something that a row itself asks for beside the figures that all have.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Demand {
    pub what: String,
    pub held: bool,
    pub saw: String,
}

/// Sizes of bodies: 1 to 64 KB, most of them small.
pub fn sizes(rng: &mut Rng) -> usize {
    (1024.0 * 2f64.powf(6.0 * rng.f64().powi(6))) as usize
}

/// A row under way.
pub struct Scene<'a> {
    pub options: &'a Options,
    pub servers: &'a mut Servers,
    pub rng: Rng,
    pub place: Place,
    pub apps: Vec<App>,
    /// In front of PostgreSQL and RabbitMQ, if asked for; one for each instance.
    pub to_postgres: Vec<Proxy>,
    pub to_rabbitmq: Vec<Proxy>,
    pub to_kafka: Option<Proxy>,
    pub kafka: Option<Server>,
    pub rabbitmq_cluster: Option<Server>,
    pub postgres_pair: Option<Server>,
    /// Times that a standby was promoted.
    pub promotions: usize,
    /// Channels that were closed in fault windows, beyond all of an instance once in each.
    pub further_closings: usize,
    pub pooler: Option<Server>,
    load: Option<Running>,
    /// Ledgers of further loads.
    pub further: Vec<Ledger>,
    pub windows: Vec<Window>,
    pub demands: Vec<Demand>,
    /// The most memory that any process held, and the least bound that any told.
    pub memory: (u64, u64),
    /// Longest wait until nothing is left over.
    pub patience: Duration,
    /// Time from its answer for which an event may still be on its way.
    pub on_its_way: Duration,
    /// Disk of the log, if it has one of its own.
    pub log_disk: Option<SmallDisk>,
    /// The operator of the row makes the mistake of its control, or the row brings it out.
    pub careless: bool,
    closed: usize,
    noted_waiting: i64,
}

impl<'a> Scene<'a> {
    /// Starts the instances, and the load once they are ready.
    pub async fn begin(
        options: &'a Options,
        servers: &'a mut Servers,
        setup: &Setup,
        seed: u64,
    ) -> Self {
        let rabbitmq_cluster = setup
            .rabbitmq_cluster
            .then(|| blocking(Server::rabbitmq_cluster));
        let postgres_pair = setup.postgres_pair.then(|| blocking(Server::postgres_pair));
        let url_of = |own: &Option<Server>, shared: &Server| {
            own.as_ref().map_or(&shared.url, |own| &own.url).clone()
        };
        let (postgres_url, rabbitmq_url) = (
            url_of(&postgres_pair, &servers.postgres),
            url_of(&rabbitmq_cluster, &servers.rabbitmq),
        );
        let mut place = Place::on(&postgres_url, &rabbitmq_url);
        let role = setup.plain_role.then(|| place.plain_role());
        if setup.own_topology {
            place.declare().await;
        }
        let (mut apps, mut to_postgres, mut to_rabbitmq) = (Vec::new(), Vec::new(), Vec::new());
        let log_disk = setup.log_disk.map(|kilobytes| {
            SmallDisk::mount(kilobytes).expect("a mount was possible a moment ago")
        });
        let pooler = setup
            .pooler
            .then(|| blocking(|| Server::pooler(&servers.postgres.url)));
        let (kafka, to_kafka) = match setup.kafka {
            None => (None, None),
            Some(kind) => start_kafka(kind, &mut place).await,
        };
        for _ in 0..setup.instances {
            let (mut postgres, mut rabbitmq) = (postgres_url.clone(), rabbitmq_url.clone());
            if let Some(pooler) = &pooler {
                postgres.clone_from(&pooler.url);
            }
            if let Some(role) = &role {
                postgres = postgres.replace("postgres@", &format!("{role}@"));
            }
            if setup.proxy_postgres {
                to_postgres.push(Proxy::to(address(&postgres)).await);
                postgres = by_way_of(&postgres, to_postgres[to_postgres.len() - 1].address);
            }
            if setup.proxy_rabbitmq {
                to_rabbitmq.push(Proxy::to(address(&rabbitmq)).await);
                rabbitmq = by_way_of(&rabbitmq, to_rabbitmq[to_rabbitmq.len() - 1].address);
            }
            let mut own = Setup {
                options: setup.options.clone(),
                ..Setup::default()
            };
            let quoted = |text: &str| format!("\"{text}\"");
            if setup.sqlite {
                own.set("store.url", quoted("sqlite://data/hookweir.db"));
            } else {
                own.set("store.url", quoted(&postgres));
                own.set("store.schema", quoted(&place.schema));
            }
            if let Some(topics) = &place.second {
                let (url, prefix) = (&topics.url, &topics.prefix);
                own.set(
                    "sink",
                    format!("[{{ name = \"{SECOND}\", url = \"{url}\", topic = \"{prefix}.{{source}}\", declare = false }}]"),
                );
            }
            if let Some(topics) = &place.topics {
                let url = topics.login.as_ref().unwrap_or(&topics.url);
                own.set("publisher.url", quoted(url));
                own.set(
                    "publisher.topic",
                    quoted(&format!("{}.{{source}}", topics.prefix)),
                );
                own.set("publisher.declare", false);
            } else {
                own.set("publisher.url", quoted(&rabbitmq));
                own.set("publisher.exchange", quoted(&place.queues.exchange));
                own.set("publisher.queue", quoted(&place.queues.events));
                own.set("publisher.unrouted_queue", quoted(&place.queues.unrouted));
                own.set("publisher.declare", !setup.own_topology);
            }
            apps.push(match setup.activated {
                true => App::launch_activated(&own.config()).await,
                false => {
                    let log_to = log_disk
                        .as_ref()
                        .map(|disk| LogTo::File(disk.path().join("log")));
                    let log_to = log_to.unwrap_or_else(|| LogTo::Reader(LogReader::default()));
                    let launch = Launch {
                        environment: setup.environment.clone(),
                        log_to,
                        ..Launch::default()
                    };
                    App::launch_as(&own.config(), launch).await
                }
            });
        }
        for app in &apps {
            app.ready().await;
            app.until_healthy().await;
        }
        if setup.sqlite {
            place.sqlite = Some(apps[0].folder().join("data/hookweir.db"));
        }
        let targets: Vec<_> = apps.iter().map(|app| app.listen).collect();
        let rate = setup.rate.unwrap_or(options.rate);
        let load = Load {
            providers: setup.providers.clone(),
            everywhere: setup.everywhere,
            connections: options.connections,
            rate: (rate > 0.0).then_some(rate),
            at_once: 5,
            later: if setup.redeliver_all { 100 } else { 5 },
            set_aside: if setup.redeliver_all { usize::MAX } else { 100 },
            forged: 2,
            other_body: setup.other_body,
            sizes,
            patience: Duration::from_secs(300),
            seed,
            ..Load::on(&targets)
        };
        let rng = Rng::with_seed(seed ^ 0x6661_756c_7473);
        let memory = (0, u64::MAX);
        let (further, windows, demands, load) =
            (Vec::new(), Vec::new(), Vec::new(), Some(load.start()));
        Self {
            options,
            servers,
            rng,
            place,
            apps,
            to_postgres,
            to_rabbitmq,
            to_kafka,
            kafka,
            rabbitmq_cluster,
            postgres_pair,
            promotions: 0,
            further_closings: 0,
            pooler,
            load,
            further,
            windows,
            demands,
            memory,
            patience: PATIENCE,
            on_its_way: if options.no_timing {
                10 * ON_ITS_WAY
            } else {
                ON_ITS_WAY
            },
            log_disk,
            careless: setup.careless,
            closed: 0,
            noted_waiting: 0,
        }
    }

    /// The load, which goes on until the oracle ends it.
    pub fn load(&self) -> &Running {
        self.load.as_ref().expect("the load goes on")
    }

    /// Begins no further event, and waits until what was begun is taken.
    pub async fn end_load(&mut self) -> Ledger {
        let mut ledger = self.load.take().expect("the load goes on").finish().await;
        ledger
            .entries
            .extend(self.further.drain(..).flat_map(|further| further.entries));
        ledger
    }

    /// A while without a fault: longer than an event is on its way, so that most of those sent meanwhile have nothing to do with any.
    pub async fn calm(&mut self) {
        self.wait(2800..3600).await;
    }

    /// Waits a drawn number of milliseconds.
    pub async fn wait(&mut self, millis: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.rng.u64(millis))).await;
    }

    /// Does harm and undoes it: a fault from beginning to end.
    pub async fn fault(&mut self, harm: impl AsyncFnOnce(&mut Self)) {
        let from = Instant::now();
        harm(self).await;
        let healed = Instant::now();
        self.windows.push(Window {
            from,
            healed,
            until: healed,
            drained: Duration::ZERO,
            waiting: 0,
        });
    }

    /// Notes the rows of the outbox before a fault is healed: a sink that goes on at once has them before they are counted.
    pub fn note_waiting(&mut self) {
        self.noted_waiting = self.noted_waiting.max(self.place.waiting(i64::MAX));
    }

    /// Waits until nothing is left of what waited because of a fault, in spools and in the outbox.
    pub async fn recovered(&mut self) {
        let (mut newest, since) = (self.place.newest(), Instant::now());
        let noted = std::mem::take(&mut self.noted_waiting);
        let waiting = (self.place.waiting(newest) + self.spooled().await as i64).max(noted);
        let mut spooled = waiting > 0;
        while since.elapsed() < self.patience {
            if self.spooled().await > 0.0 {
                spooled = true;
            } else {
                // What has left a spool is new in the outbox.
                if std::mem::take(&mut spooled) {
                    newest = self.place.newest();
                }
                if self.place.waiting(newest) == 0 {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let (until, healed) = (
            Instant::now(),
            self.windows.last().map(|window| window.healed),
        );
        for window in &mut self.windows[self.closed..] {
            (window.until, window.waiting) = (until, waiting);
            window.drained = healed.map(|healed| until - healed).unwrap_or_default();
        }
        self.closed = self.windows.len();
    }

    /// Returns the sum of the counters that `felt` names; 0 for other evidence.
    pub async fn felt(&self, felt: Felt) -> usize {
        let mut count = 0;
        if let Felt::Counter(name, labels, _) = felt {
            for app in &self.apps {
                count += app.metrics().await.sum(name, labels);
            }
        }
        count
    }

    /// Demands that the round that is over was felt.
    pub async fn demand_felt(&mut self, felt: Felt, before: usize) {
        match felt {
            Felt::Itself => {}
            Felt::Counter(name, labels, least) => {
                let rose = self.felt(felt).await.saturating_sub(before);
                self.demand(
                    format!("felt: {name}{{{}}} rises by {least}", labels.join(",")),
                    rose >= least,
                    rose.to_string(),
                );
            }
            Felt::Waiting(least) => {
                let waiting = self.windows.last().map_or(0, |window| window.waiting);
                self.demand(
                    format!("felt: {least} events wait when it is healed"),
                    waiting >= least,
                    waiting.to_string(),
                );
            }
        }
    }

    /// Events in the spools.
    pub async fn spooled(&self) -> f64 {
        let mut rows = 0.0;
        for app in &self.apps {
            rows += app.metrics().await.get("hookweir_spool_rows");
        }
        rows
    }

    /// Kills an instance.
    pub fn kill(&mut self, instance: usize) {
        self.weigh(instance);
        self.apps[instance].kill();
    }

    /// Notes how much memory an instance has taken; its process is about to end.
    pub fn weigh(&mut self, instance: usize) {
        let app = &self.apps[instance];
        let (peak, bound) = self.memory;
        // On a slow day, a kill comes before the banner.
        let printed = app.memory_bound().unwrap_or(bound);
        self.memory = (peak.max(app.peak_memory()), bound.min(printed));
    }

    /// Notes whether something was as fast as this row demands it.
    pub fn demand_in_time(&mut self, what: impl Into<String>, held: bool, saw: impl Into<String>) {
        let judged = !self.options.no_timing;
        self.demand(what, held || !judged, saw);
    }

    /// Demands that the second sink has what was taken, each event once.
    pub fn demand_second(&mut self, account: &Account) {
        let Account {
            lost,
            copies,
            corrupt,
            strangers,
            exchanged: _,
        } = account;
        let counts = [lost.len(), copies.len(), corrupt.len(), strangers.len()];
        self.demand(
            "the second sink has each event once (lost, copies, corrupt, strangers)",
            counts == [0; 4],
            format!("{counts:?}"),
        );
    }

    /// Notes whether something was as this row demands it.
    pub fn demand(&mut self, what: impl Into<String>, held: bool, saw: impl Into<String>) {
        self.demands.push(Demand {
            what: what.into(),
            held,
            saw: saw.into(),
        });
    }
}

/// Starts a Kafka, and makes the topics of the row.
async fn start_kafka(kind: KafkaSink, place: &mut Place) -> (Option<Server>, Option<Proxy>) {
    let (server, proxy) = match kind {
        KafkaSink::Node | KafkaSink::Beside | KafkaSink::LoggedIn => {
            (blocking(Server::kafka), None)
        }
        KafkaSink::Cluster | KafkaSink::Led => (blocking(Server::kafka_cluster), None),
        KafkaSink::Proxied => {
            let own = free_address();
            let proxy = Proxy::to(own).await;
            (
                blocking(|| Server::kafka_behind(proxy.address, own)),
                Some(proxy),
            )
        }
    };
    let topics = Topics {
        url: proxy.as_ref().map_or_else(
            || server.url.clone(),
            |proxy| by_way_of(&server.url, proxy.address),
        ),
        login: (kind == KafkaSink::LoggedIn)
            .then(|| format!("kafka://{LOGIN}@127.0.0.1:{}", server.listener("sasl"))),
        prefix: unique(),
    };
    let two: &[(&str, &str)] = &[("min.insync.replicas", "2")];
    blocking(|| match kind {
        KafkaSink::Cluster => topics.create(two),
        KafkaSink::Led => topics.create_led(two),
        _ => topics.create(&[]),
    });
    match kind {
        KafkaSink::Beside => place.second = Some(topics),
        _ => place.topics = Some(topics),
    }
    (Some(server), proxy)
}
