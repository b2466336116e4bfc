//! Services with different settings under the same load, in turn, so that a machine that changes meanwhile changes all of them.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hookweir_testkit::proxy::{Line, Proxy};
use hookweir_testkit::servers::{Server, address};
use rustls::ClientConfig;
use serde::Serialize;
use tokio::runtime::Runtime;

use super::edge::{self, Certified};
use super::generator::{Mix, Pace};
use super::looking::Listeners;
use super::pipeline::{self, Row, Sending, World};
use super::say;

/// Names of the sinks that stand beside the measured one: nobody listens, the broker takes nothing, the line is slow.
pub(crate) const HINDERED: [&str; 3] = ["dead", "blocked", "slow"];

/// The first variant once more: its ratio to itself is what chance does.
const AGAIN: &str = "the first, again";

/// Kilobytes a second that the slow line passes, in each direction of each connection.
const SLOW: u32 = 256;

/// A service, and the settings that make it.
struct Variant {
    service: &'static str,
    settings: Vec<String>,
    /// Clients that read the live stream of the page.
    listeners: usize,
    /// TLS that senders speak.
    tls: Option<Arc<ClientConfig>>,
}

impl Variant {
    fn new(service: &'static str, settings: &[&str]) -> Self {
        let settings = settings.iter().copied().map(str::to_owned).collect();
        Self {
            service,
            settings,
            listeners: 0,
            tls: None,
        }
    }

    fn listening(service: &'static str, listeners: usize) -> Self {
        Self {
            listeners,
            ..Self::new(service, &[])
        }
    }
}

/// A broker that takes nothing, and one behind a slow line. They run while each variant is measured.
struct Beside {
    blocked: Server,
    slow: Server,
    proxy: Proxy,
    /// Runs the proxy.
    #[expect(dead_code, reason = "held for its drop")]
    runtime: Runtime,
}

impl Beside {
    fn start() -> Result<Self, Box<dyn Error>> {
        let (blocked, slow) = (Server::rabbitmq(), Server::rabbitmq());
        blocked.ctl(&["set_vm_memory_high_watermark", "0"]);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let proxy = runtime.block_on(Proxy::to(address(&slow.url)));
        proxy.set(Line::Slow(SLOW));
        Ok(Self {
            blocked,
            slow,
            proxy,
            runtime,
        })
    }

    /// One sink, and the same with another sink beside it.
    fn variants(&self) -> Vec<Variant> {
        let through = self.proxy.address.to_string();
        let slow = self
            .slow
            .url
            .replace(&address(&self.slow.url).to_string(), &through);
        let blocked = format!("sink.blocked.url={}", self.blocked.url);
        let slow = format!("sink.slow.url={slow}");
        vec![
            Variant::new("one sink", &[]),
            Variant::new(
                "a dead sink beside it",
                &["sink.dead.url=kafka://127.0.0.1:1"],
            ),
            Variant::new("a blocked sink beside it", &[&blocked]),
            Variant::new("a slow sink beside it", &[&slow]),
        ]
    }
}

/// Orders of a sink. Each event has an id of its own, so that `{json:/id}` is as many keys as events.
fn orders() -> Vec<Variant> {
    vec![
        Variant::new("none", &["spool.path="]),
        Variant::new(
            "a key for each event",
            &["spool.path=", "publisher.ordered={json:/id}"],
        ),
        Variant::new(
            "one key (source)",
            &["spool.path=", "publisher.ordered=source"],
        ),
    ]
}

/// Parts of what the service keeps, one more in each.
fn parts_kept() -> Vec<Variant> {
    let off = "quarantine.enabled=false";
    vec![
        Variant::new("no quarantine, no deletion", &[off]),
        Variant::new("with the quarantine", &[]),
        Variant::new(
            "and events deleted at once",
            &["store.keep_events_days=0", "store.prune_interval_secs=1"],
        ),
        Variant::new(AGAIN, &[off]),
    ]
}

/// Connections that stay, in plain text and with TLS; and traces of no, of some and of all deliveries.
fn at_the_edge(certified: &Certified, collector: SocketAddr) -> Vec<Variant> {
    let tls = certified.settings();
    let endpoint = format!("traces.endpoint=http://{collector}");
    let traced = |service, ratio: &str| {
        let ratio = format!("traces.sample_ratio={ratio}");
        Variant::new(service, &[&endpoint, &ratio])
    };
    vec![
        Variant::new("plain text, no traces", &[]),
        Variant {
            tls: Some(certified.senders()),
            ..Variant::new("TLS", &[&tls[0], &tls[1]])
        },
        traced("traces, none sampled", "0"),
        traced("traces, 1 % sampled", "0.01"),
        traced("traces, all sampled", "1"),
        Variant::new(AGAIN, &[]),
    ]
}

/// Medians of a service under a load, and their ratios to those of the first service.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Median {
    load: String,
    service: &'static str,
    accepted: f64,
    sustained: f64,
    p50_ms: f64,
    p99_ms: f64,
    service_us: f64,
    postgres_us: f64,
    queue_us: f64,
    of_accepted: f64,
    of_sustained: f64,
    of_p99: f64,
    /// Each measurement.
    rows: Vec<Row>,
}

/// Services that are measured in turn, and the load of each.
pub(crate) struct Turns<'w> {
    pub(crate) world: &'w World,
    pub(crate) repeat: usize,
    pub(crate) connections: usize,
    /// Deliveries a second of an open loop.
    pub(crate) rate: f64,
    /// Percent of deliveries with a wrong signature, for [`kept`](Self::kept).
    pub(crate) forged: u8,
    pub(crate) body: usize,
    pub(crate) time: Duration,
}

impl Turns<'_> {
    /// A live sink without another one, and with a dead, a blocked and a slow one beside it: as fast as it goes, and at `rate`.
    pub(crate) fn beside(&self) -> Result<Vec<Median>, Box<dyn Error>> {
        let beside = Beside::start()?;
        self.measure(
            &beside.variants(),
            &[self.closed(), self.open()],
            Mix::default(),
        )
    }

    /// Nobody, one client and ten that read the live stream of the page, as fast as it goes.
    pub(crate) fn looking(&self) -> Result<Vec<Median>, Box<dyn Error>> {
        let variants = [
            Variant::new("nobody looks", &[]),
            Variant::listening("one live page", 1),
            Variant::listening("ten live pages", 10),
            Variant::new(AGAIN, &[]),
        ];
        self.measure(&variants, &[self.closed()], Mix::default())
    }

    /// The cost of the quarantine, with forged deliveries for it, and of deletion, as fast as it goes.
    pub(crate) fn kept(&self) -> Result<Vec<Median>, Box<dyn Error>> {
        let mix = Mix {
            forged: self.forged,
            ..Mix::default()
        };
        self.measure(&parts_kept(), &[self.closed()], mix)
    }

    /// The cost of TLS and of traces, as fast as it goes.
    pub(crate) fn edge(&self) -> Result<Vec<Median>, Box<dyn Error>> {
        // Its files are there until the end.
        let certified = Certified::create()?;
        let variants = at_the_edge(&certified, edge::collector()?);
        self.measure(&variants, &[self.closed()], Mix::default())
    }

    /// The cost of the lakehouse's writer in the service, as fast as it goes and at `rate`.
    pub(crate) fn lake(&self) -> Result<Vec<Median>, Box<dyn Error>> {
        let variants = [
            Variant::new("no lakehouse", &["lakehouse.in_serve=off"]),
            Variant::new("with the lakehouse", &["lakehouse.in_serve=on"]),
        ];
        self.measure(&variants, &[self.closed(), self.open()], Mix::default())
    }

    /// The cost of an order at `rate`.
    pub(crate) fn order(&self) -> Result<Vec<Median>, Box<dyn Error>> {
        self.measure(&orders(), &[self.open()], Mix::default())
    }

    fn closed(&self) -> Pace {
        Pace::Closed(self.connections)
    }

    fn open(&self) -> Pace {
        Pace::Open(self.rate)
    }

    fn measure(
        &self,
        variants: &[Variant],
        paces: &[Pace],
        mix: Mix,
    ) -> Result<Vec<Median>, Box<dyn Error>> {
        let mut found = Vec::new();
        for pace in paces {
            say(format_args!("in turn, {} times:", self.repeat));
            Row::heads();
            let mut rows: Vec<Vec<Row>> = variants.iter().map(|_| Vec::new()).collect();
            for _ in 0..self.repeat {
                for (variant, rows) in variants.iter().zip(&mut rows) {
                    rows.push(self.row(variant, *pace, mix)?);
                }
            }
            let mut first = None;
            for (variant, rows) in variants.iter().zip(rows) {
                let median = Median::of(variant.service, rows, first.as_ref());
                first.get_or_insert_with(|| median.clone());
                median.tell();
                found.push(median);
            }
        }
        Ok(found)
    }

    /// Returns the figures of a service of its own.
    fn row(&self, variant: &Variant, pace: Pace, mix: Mix) -> Result<Row, Box<dyn Error>> {
        say(format_args!("  {}", variant.service));
        let sending = Sending {
            pace,
            mix,
            body: self.body,
            time: self.time,
            drained: true,
            cold: false,
        };
        let settings: Vec<&str> = variant.settings.iter().map(String::as_str).collect();
        let service = self.world.service(&settings)?;
        let service = service.with_tls(variant.tls.clone());
        let listening = Listeners::start(&service, variant.listeners)?;
        let row = pipeline::measure_on(self.world, &service, sending)?;
        drop(listening);
        service.stop(pipeline::STOP)?;
        Ok(row)
    }
}

impl Median {
    fn tell(&self) {
        say(format_args!(
            "  {:<24} accepted {:.0}/s ({:.3}), sustained {:.0}/s ({:.3}), p99 {:.2} ms ({:.3}): medians, and of the first",
            self.service,
            self.accepted,
            self.of_accepted,
            self.sustained,
            self.of_sustained,
            self.p99_ms,
            self.of_p99
        ));
    }

    fn of(service: &'static str, rows: Vec<Row>, first: Option<&Self>) -> Self {
        let median = |figure: &dyn Fn(&Row) -> f64| {
            let mut figures: Vec<f64> = rows.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        let cpu =
            |name: &str| median(&|row: &Row| row.cpu_us.get(name).copied().unwrap_or_default());
        let [accepted, sustained, p99_ms] = [
            median(&|row| row.accepted),
            median(&|row| row.sustained),
            median(&|row| row.p99_ms),
        ];
        let of = |figure: f64, first: Option<f64>| first.map_or(1.0, |first| figure / first);
        Self {
            load: rows.first().map(|row| row.load.clone()).unwrap_or_default(),
            service,
            accepted,
            sustained,
            p50_ms: median(&|row| row.p50_ms),
            p99_ms,
            service_us: cpu("service"),
            postgres_us: cpu("postgres"),
            queue_us: cpu("rabbitmq") + cpu("kafka"),
            of_accepted: of(accepted, first.map(|first| first.accepted)),
            of_sustained: of(sustained, first.map(|first| first.sustained)),
            of_p99: of(p99_ms, first.map(|first| first.p99_ms)),
            rows,
        }
    }
}
