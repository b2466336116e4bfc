//! An hour of the same load: whether tables grow by what is long gone.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::generator::{Mix, Pace};
use super::pipeline::{self, Row, Sending, World};
use super::servers::Table;
use hookweir_testkit::processes;

use super::say;

/// Events leave the store as soon as they are published: as many rows go as come.
const SETTINGS: [&str; 1] = ["store.keep_events_days=0"];
/// Length of the load of one sample.
const STRETCH: Duration = Duration::from_secs(58);

/// The tables after some time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) minute: f64,
    pub(crate) accepted: u64,
    pub(crate) rss_mib: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) tables: BTreeMap<String, Table>,
}

pub(crate) fn measure(
    world: &World,
    rate: f64,
    minutes: u64,
    body: usize,
) -> Result<Vec<Sample>, Box<dyn Error>> {
    let Some((postgres, queue)) = &world.servers else {
        return Err("steady needs --backend servers".into());
    };
    let rabbit = queue.rabbit()?;
    say(format_args!(
        "steady: {rate:.0} deliveries/s for {minutes} minutes; events are deleted once they are published"
    ));
    let service = world.service(&SETTINGS)?;
    let since = Instant::now();
    let mut samples: Vec<Sample> = Vec::new();
    let (mut accepted, mut consumed) = (0, 0);
    Row::heads();
    while since.elapsed() < Duration::from_secs(minutes * 60) {
        let sending = Sending {
            pace: Pace::Open(rate),
            mix: Mix::default(),
            body,
            time: STRETCH,
            drained: false,
            cold: false,
        };
        let row = pipeline::measure_on(world, &service, sending)?;
        accepted += row.accepted_in_all;
        // Nobody else consumes, and it is not the queue that is looked at.
        consumed += rabbit.purge("hookweir.events")?;
        let sample = Sample {
            minute: since.elapsed().as_secs_f64() / 60.0,
            accepted,
            rss_mib: processes::resident(service.pid()) as f64 / f64::from(1 << 20),
            p50_ms: row.p50_ms,
            p99_ms: row.p99_ms,
            tables: postgres.tables()?,
        };
        let tables = sample
            .tables
            .iter()
            .filter(|(_, table)| table.bytes > 1 << 20);
        let tables: Vec<_> = tables
            .map(|(name, table)| format!("{name} {} MiB, {} dead", table.bytes >> 20, table.dead))
            .collect();
        say(format_args!(
            "  minute {:.0}: {}; {:.0} MiB of memory",
            sample.minute,
            tables.join("; "),
            sample.rss_mib
        ));
        samples.push(sample);
    }
    let left = Instant::now();
    while postgres.number("SELECT count(*) AS value FROM hookweir.outbox")? > 0
        && left.elapsed() < Duration::from_secs(60)
    {
        std::thread::sleep(Duration::from_millis(100));
    }
    consumed += rabbit.purge("hookweir.events")?;
    say(format_args!(
        "  {accepted} events were accepted, {consumed} came out of the queue"
    ));
    Ok(samples)
}
