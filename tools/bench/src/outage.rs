//! The queue is away until many events wait, and comes back while deliveries go on.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::generator::{self, Load, Mix, Pace};
use super::pipeline::{self, Row, Sending, World};
use super::requests::Requests;
use super::service::Service;
use hookweir_testkit::processes;

use super::say;

/// Length of one stretch of the load. Rows that wait are counted between stretches.
const STRETCH: Duration = Duration::from_secs(5);
/// Longest wait until the backlog is gone.
const PATIENCE: Duration = Duration::from_secs(600);
/// Fewer rows than this are those of the load itself.
const FEW: u64 = 1000;

/// Figures of an outage.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outage {
    /// Without an outage, at a quarter of the capacity.
    pub(crate) calm: Row,
    /// Memory while rows gathered: how many waited, and the service's resident memory in MiB.
    pub(crate) waiting: Vec<(u64, f64)>,
    /// Rows that waited when the queue came back.
    pub(crate) backlog: u64,
    /// Until they were gone, with new deliveries at a quarter of the capacity; none if they were not.
    pub(crate) drained_seconds: Option<f64>,
    /// Confirmed by the queue a second meanwhile, old and new.
    pub(crate) published: f64,
    /// The load meanwhile, stretch by stretch.
    pub(crate) draining: Vec<Row>,
    /// Answered "accepted" in all, and what the queue has in the end.
    pub(crate) accepted: u64,
    pub(crate) in_queue: Option<u64>,
}

pub(crate) fn measure(
    world: &mut World,
    rows: u64,
    connections: usize,
    body: usize,
    time: Duration,
) -> Result<Outage, Box<dyn Error>> {
    if world.servers.is_none() {
        return Err("outage needs --backend servers".into());
    }
    say(format_args!("outage: until {rows} events wait"));
    let service = world.service(&[])?;
    Row::heads();
    let sending = Sending {
        pace: Pace::Closed(connections),
        mix: Mix::default(),
        body,
        time,
        drained: true,
        cold: false,
    };
    let capacity = pipeline::measure_on(world, &service, sending)?.accepted;
    // A closed loop accepts more than can be published on the same cores: half of that would leave nothing to drain a backlog with.
    let quarter = Sending {
        pace: Pace::Open(capacity / 4.0),
        ..sending
    };
    let calm = pipeline::measure_on(world, &service, quarter)?;
    let mut accepted = world.in_queue(&service)?.unwrap_or_default();

    servers(world)?.1.stop();
    let mut waiting = Vec::new();
    while waiting.last().is_none_or(|(waiting, _)| *waiting < rows) {
        accepted += load(&service, connections, body, STRETCH)?;
        waiting.push((
            waits(world)?,
            processes::resident(service.pid()) as f64 / f64::from(1 << 20),
        ));
        say(format_args!(
            "  {} events wait, {:.0} MiB",
            waiting[waiting.len() - 1].0,
            waiting[waiting.len() - 1].1
        ));
    }
    let backlog = waits(world)?;

    servers(world)?.1.start_again()?;
    let (since, before) = (Instant::now(), service.metrics()?.confirmed());
    let mut draining = Vec::new();
    let mut gone = None;
    let watched = servers(world)?.0.watch(
        "SELECT count(*) AS value FROM hookweir.outbox",
        FEW,
        PATIENCE,
    )?;
    while gone.is_none() && since.elapsed() < PATIENCE {
        let row = pipeline::measure_on(
            world,
            &service,
            Sending {
                drained: false,
                time: STRETCH,
                ..quarter
            },
        )?;
        draining.push(row);
        gone = watched.try_recv().ok();
    }
    let published =
        (service.metrics()?.confirmed() - before) as f64 / since.elapsed().as_secs_f64();
    while waits(world)? > 0 && since.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(100));
    }
    accepted += draining.iter().map(|row| row.accepted_in_all).sum::<u64>();
    let outage = Outage {
        calm,
        waiting,
        backlog,
        drained_seconds: gone.map(|at: Instant| (at - since).as_secs_f64()),
        published,
        draining,
        accepted,
        in_queue: world.in_queue(&service)?,
    };
    let went = outage.drained_seconds.map_or_else(
        || format!("were NOT gone after {} s", PATIENCE.as_secs()),
        |seconds| format!("were gone after {seconds:.0} s"),
    );
    say(format_args!(
        "  {} events {went} ({:.0}/s published, old and new); accepted {}, in the queue {:?}",
        outage.backlog, outage.published, outage.accepted, outage.in_queue
    ));
    Ok(outage)
}

fn servers(world: &mut World) -> Result<&mut (super::Postgres, super::Queue), Box<dyn Error>> {
    world.servers.as_mut().ok_or_else(|| "no servers".into())
}

fn waits(world: &mut World) -> Result<u64, Box<dyn Error>> {
    servers(world)?
        .0
        .number("SELECT count(*) AS value FROM hookweir.outbox")
}

/// Sends, and returns how many were accepted.
fn load(
    service: &Service,
    connections: usize,
    body: usize,
    time: Duration,
) -> Result<u64, Box<dyn Error>> {
    let start = Instant::now();
    let load = Load {
        target: service.target(),
        pace: Pace::Closed(connections),
        mix: Mix::default(),
        start,
        count_from: start,
        end: start + time,
    };
    Ok(generator::run(&load, &mut Requests::new(body))?.accepted_in_all)
}
