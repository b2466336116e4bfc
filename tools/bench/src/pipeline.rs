//! The whole of it: signed deliveries into the real program, until they are in the queue.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::generator::{self, Load, Mix, Pace};
use super::queue::Queue;
use super::requests::Requests;
use super::servers::Postgres;
use super::service::Service;
use super::{Backend, say};
use hookweir_testkit::processes::{self, Processes, Watch};

/// Load before a measurement: caches fill, statements are prepared, connections open.
const WARM_UP: Duration = Duration::from_secs(2);
/// Longest wait after a load until the queue has everything.
const DRAIN: Duration = Duration::from_secs(240);
/// Longest wait until the service has stopped.
pub(crate) const STOP: Duration = Duration::from_secs(60);
/// Past this an answer came too late.
const DEADLINE: Duration = Duration::from_millis(2500);

/// Surroundings of the service: program, settings and servers.
pub(crate) struct World {
    pub(crate) backend: Backend,
    pub(crate) program: PathBuf,
    pub(crate) settings: Vec<String>,
    pub(crate) queue: String,
    pub(crate) servers: Option<(Postgres, Queue)>,
    /// Names of sinks that are expected to be down, if they are configured.
    pub(crate) down: Vec<String>,
}

impl World {
    /// A service on empty storage, with some options besides those of all.
    pub(crate) fn service(&self, settings: &[&str]) -> Result<Service, Box<dyn Error>> {
        self.clear()?;
        self.service_again(settings)
    }

    /// A service on storage as it is.
    pub(crate) fn service_again(&self, settings: &[&str]) -> Result<Service, Box<dyn Error>> {
        Service::start(&[], &self.program, &self.settings(settings), &self.down)
    }

    /// A service on empty storage, run by another program.
    pub(crate) fn service_under(&self, wrapper: &[&str]) -> Result<Service, Box<dyn Error>> {
        self.clear()?;
        Service::start(wrapper, &self.program, &self.settings(&[]), &self.down)
    }

    fn clear(&self) -> Result<(), Box<dyn Error>> {
        if let Some((postgres, queue)) = &self.servers {
            postgres.clear()?;
            queue.clear()?;
        }
        Ok(())
    }

    fn settings(&self, further: &[&str]) -> Vec<String> {
        let mut settings = Vec::new();
        if let Some((postgres, queue)) = &self.servers {
            settings.push(format!("store.url={}", postgres.server.url));
            settings.extend(queue.settings(&self.queue));
        }
        settings.extend(further.iter().map(|setting| (*setting).to_owned()));
        settings.extend(self.settings.iter().cloned());
        settings
    }

    pub(crate) fn processes(&self, service: &Service) -> Processes {
        let mut processes = Processes {
            service: service.pid(),
            ..Processes::default()
        };
        if let Some((postgres, queue)) = &self.servers {
            processes.postgres = Some(postgres.pid);
            queue.add_to(&mut processes);
        }
        processes
    }

    /// Events that are in the queue, as the queue says: a broker counts them, files have a line for each.
    pub(crate) fn in_queue(&self, service: &Service) -> Result<Option<u64>, Box<dyn Error>> {
        match &self.servers {
            Some((_, queue)) => queue.messages(&self.queue),
            None => {
                let mut lines = 0;
                for entry in std::fs::read_dir(service.folder().join("data/events"))? {
                    let path = entry?.path();
                    if path
                        .extension()
                        .is_some_and(|extension| extension == "jsonl")
                    {
                        lines += std::fs::read(path)?
                            .iter()
                            .filter(|byte| **byte == b'\n')
                            .count() as u64;
                    }
                }
                Ok(Some(lines))
            }
        }
    }
}

/// Figures of the service under one load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) load: String,
    pub(crate) body: usize,
    pub(crate) duplicates_percent: u8,
    pub(crate) forged_percent: u8,
    /// Requests a second that were meant to be sent; none for a closed loop.
    pub(crate) offered: Option<f64>,
    pub(crate) accepted: f64,
    pub(crate) duplicate: f64,
    pub(crate) rejected: f64,
    pub(crate) shed: f64,
    /// Other answers and broken connections, in all.
    pub(crate) odd: u64,
    pub(crate) unsent: u64,
    /// Accepted from the first request to the last answer, warm-up and all.
    pub(crate) accepted_in_all: u64,
    /// Confirmed by the queue while the load ran, a second.
    pub(crate) published: f64,
    /// Events a second from the first request until the last one was in the queue.
    pub(crate) sustained: f64,
    /// Seconds from the end of the load until the queue had everything.
    pub(crate) drain_seconds: f64,
    /// True if the queue has as many events as were accepted; none if that was not waited for or
    /// cannot be asked.
    pub(crate) all_in_queue: Option<bool>,
    pub(crate) p50_ms: f64,
    pub(crate) p90_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
    /// Of answers other than 2xx.
    pub(crate) refused_p99_ms: f64,
    pub(crate) over_deadline: u64,
    /// Events in one commit.
    pub(crate) batch: f64,
    /// CPU microseconds for each answer while the load ran, by process.
    pub(crate) cpu_us: BTreeMap<&'static str, f64>,
    pub(crate) rss_peak_mib: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rss_mib: Vec<(f64, f64)>,
}

/// Load of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) pace: Pace,
    pub(crate) mix: Mix,
    pub(crate) body: usize,
    pub(crate) time: Duration,
    /// True to wait until the queue has everything that was accepted.
    pub(crate) drained: bool,
    /// Counted from the first request on, without a warm-up.
    pub(crate) cold: bool,
}

/// Sends a load to a service on empty storage, with some options besides those of all, and waits until the queue has all of it.
pub(crate) fn measure(
    world: &World,
    settings: &[&str],
    sending: Sending,
) -> Result<Row, Box<dyn Error>> {
    let service = world.service(settings)?;
    let row = measure_on(world, &service, sending)?;
    // In order: a build that counts its branches (profile-guided optimisation) writes down at its end what it counted.
    service.stop(STOP)?;
    Ok(row)
}

/// The same on a service that runs.
pub(crate) fn measure_on(
    world: &World,
    service: &Service,
    sending: Sending,
) -> Result<Row, Box<dyn Error>> {
    let processes = world.processes(service);
    let (confirmed_before, in_queue_before) =
        (service.metrics()?.confirmed(), world.in_queue(service)?);
    let memory = Watch::memory_of(service.pid());
    let (start, warm_up) = (
        Instant::now(),
        if sending.cold {
            Duration::ZERO
        } else {
            WARM_UP
        },
    );
    let load = Load {
        target: service.target(),
        pace: sending.pace,
        mix: sending.mix,
        start,
        count_from: start + warm_up,
        end: start + warm_up + sending.time,
    };
    let mut requests = Requests::new(sending.body);
    let sent = load.clone();
    let generator = thread::spawn(move || generator::run(&sent, &mut requests));
    thread::sleep(load.count_from.saturating_duration_since(Instant::now()));
    let (from, cpu, before) = (Instant::now(), processes.cpu(), service.metrics()?);
    thread::sleep(load.end.saturating_duration_since(Instant::now()));
    let (took, cpu_after, after) = (
        from.elapsed().as_secs_f64(),
        processes.cpu(),
        service.metrics()?,
    );
    let answers = generator.join().map_err(|_| "the generator died")??;
    let ended = Instant::now();
    let all = answers.accepted_in_all;
    while sending.drained
        && service.metrics()?.confirmed() < confirmed_before + all
        && ended.elapsed() < DRAIN
    {
        thread::sleep(Duration::from_millis(20));
    }
    let (drained, whole) = (ended.elapsed(), start.elapsed().as_secs_f64());
    let all_in_queue = match (in_queue_before, world.in_queue(service)?) {
        (Some(before), Some(after)) if sending.drained => Some(after == before + all),
        _ => None,
    };
    let seconds = sending.time.as_secs_f64();
    let answered = answers.all().max(1) as f64;
    let ms = |histogram: &Histogram<u64>, percent| {
        histogram.value_at_percentile(percent) as f64 / 1000.0
    };
    let late = |histogram: &Histogram<u64>| {
        histogram.len() - histogram.count_between(0, DEADLINE.as_micros() as u64)
    };
    let (offered, name) = match sending.pace {
        Pace::Closed(connections) => (None, format!("{connections} connections")),
        Pace::Open(rate) => (Some(rate), format!("{rate:.0}/s")),
    };
    let delta = |name: &str| after.get(name) - before.get(name);
    let row = Row {
        load: name,
        body: sending.body,
        duplicates_percent: sending.mix.duplicates,
        forged_percent: sending.mix.forged,
        offered,
        accepted: answers.accepted as f64 / seconds,
        duplicate: answers.duplicate as f64 / seconds,
        rejected: answers.rejected as f64 / seconds,
        shed: answers.shed as f64 / seconds,
        odd: answers.odd,
        unsent: answers.unsent,
        accepted_in_all: all,
        published: (after.confirmed() - before.confirmed()) as f64 / took,
        sustained: all as f64 / whole,
        drain_seconds: drained.as_secs_f64(),
        all_in_queue,
        p50_ms: ms(&answers.taken, 50.0),
        p90_ms: ms(&answers.taken, 90.0),
        p99_ms: ms(&answers.taken, 99.0),
        p999_ms: ms(&answers.taken, 99.9),
        max_ms: answers.taken.max() as f64 / 1000.0,
        refused_p99_ms: ms(&answers.refused, 99.0),
        over_deadline: late(&answers.taken) + late(&answers.refused),
        batch: delta("hookweir_batch_events_sum") / delta("hookweir_batch_events_count").max(1.0),
        cpu_us: cpu_after
            .iter()
            .map(|(name, after)| (*name, (after - cpu[name]) * 1e6 / answered))
            .collect(),
        rss_peak_mib: processes::peak(service.pid()) as f64 / f64::from(1 << 20),
        rss_mib: memory
            .seen()
            .into_iter()
            .map(|(at, bytes)| (at, bytes as f64 / f64::from(1 << 20)))
            .collect(),
    };
    row.tell();
    let log = service.log();
    if !log.is_empty() {
        say(format_args!(
            "  the service said:\n{}",
            log.lines().take(10).collect::<Vec<_>>().join("\n")
        ));
    }
    Ok(row)
}

impl Row {
    /// The heads of the columns of [`Self::tell`].
    pub(crate) fn heads() {
        say(format_args!(
            "  {:<16} {:>7} {:>5} {:>9} {:>8} {:>10} {:>9} {:>8} {:>8} {:>8} {:>6} {:>30} {:>7}",
            "load",
            "body",
            "dup %",
            "accepted",
            "503/s",
            "published",
            "sustained",
            "p50 ms",
            "p99 ms",
            "p99.9",
            "batch",
            "CPU us: svc pg queue gen",
            "MiB"
        ));
    }

    fn tell(&self) {
        let cpu = |name| self.cpu_us.get(name).copied().unwrap_or_default();
        let cpu = [
            cpu("service"),
            cpu("postgres"),
            cpu("rabbitmq") + cpu("kafka"),
            cpu("generator"),
        ];
        let cpu = cpu.map(|us| format!("{us:.1}")).join("  ");
        let mut odd = String::new();
        for (what, count) in [
            ("odd", self.odd),
            ("unsent", self.unsent),
            ("over the deadline", self.over_deadline),
        ] {
            if count > 0 {
                odd += &format!("  {count} {what}");
            }
        }
        if self.all_in_queue == Some(false) {
            odd += "  NOT ALL IN THE QUEUE";
        }
        say(format_args!(
            "  {:<16} {:>7} {:>5} {:>9.0} {:>8.0} {:>10.0} {:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>6.0} {cpu:>30} {:>7.0}{odd}",
            self.load,
            self.body,
            self.duplicates_percent,
            self.accepted,
            self.shed,
            self.published,
            self.sustained,
            self.p50_ms,
            self.p99_ms,
            self.p999_ms,
            self.batch,
            self.rss_peak_mib
        ));
    }
}
