//! A start on a store with many events, beside one on an empty store, with PostgreSQL as it comes; counted from the first second on.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use super::generator::{Mix, Pace};
use super::pipeline::{self, Row, Sending, World};
use super::say;
use super::servers::Postgres;

/// Events that are made by one statement.
const CHUNK: u64 = 200_000;
/// Patience with a service that stops.
const STOP: Duration = Duration::from_secs(60);

/// Medians of some starts.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Started {
    /// Events in the store when the service started.
    pub(crate) stored: u64,
    /// Medians.
    pub(crate) accepted: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) service_us: f64,
    pub(crate) postgres_us: f64,
    /// Of each start.
    pub(crate) rows: Vec<Row>,
}

/// `repeat` starts on an empty store and on `stored` events in turn, with the same load for `sending.time` each.
pub(crate) fn measure(
    world: &World,
    stored: u64,
    repeat: usize,
    connections: usize,
    body: usize,
    time: Duration,
) -> Result<Vec<Started>, Box<dyn Error>> {
    let Some((postgres, queue)) = &world.servers else {
        return Err("restart needs --backend servers".into());
    };
    say(format_args!(
        "restart: {connections} connections, {} s each from the start on, {repeat} times",
        time.as_secs()
    ));
    let sending = Sending {
        pace: Pace::Closed(connections),
        mix: Mix::default(),
        body,
        time,
        drained: true,
        cold: true,
    };
    let (mut empty, mut full) = (Vec::new(), Vec::new());
    Row::heads();
    for _ in 0..repeat {
        empty.push(pipeline::measure(world, &[], sending)?);
        // What the load has left is a part of what is stored; its outbox is idle when it is analyzed.
        fill(
            postgres,
            stored.saturating_sub(postgres.number("SELECT count(*) AS value FROM hookweir.event")?),
            body,
        )?;
        queue.clear()?;
        let service = world.service_again(&[])?;
        full.push(pipeline::measure_on(world, &service, sending)?);
        service.stop(STOP)?;
    }
    let found = vec![Started::of(0, empty), Started::of(stored, full)];
    for started in &found {
        say(format_args!(
            "  {:>9} stored: {:.0}/s, p99 {:.1} ms, service {:.1} us, PostgreSQL {:.1} us an event (medians of {repeat})",
            started.stored,
            started.accepted,
            started.p99_ms,
            started.service_us,
            started.postgres_us
        ));
    }
    say(format_args!(
        "  {:.3} of an empty store",
        found[1].accepted / found[0].accepted
    ));
    Ok(found)
}

impl Started {
    fn of(stored: u64, rows: Vec<Row>) -> Self {
        let median = |figure: fn(&Row) -> f64| {
            let mut figures: Vec<f64> = rows.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or_default()
        };
        Self {
            stored,
            accepted: median(|row| row.accepted),
            p50_ms: median(|row| row.p50_ms),
            p99_ms: median(|row| row.p99_ms),
            service_us: median(|row| row.cpu_us.get("service").copied().unwrap_or_default()),
            postgres_us: median(|row| row.cpu_us.get("postgres").copied().unwrap_or_default()),
            rows,
        }
    }
}

/// Published events as a service would have left them, analyzed while nothing waits.
fn fill(postgres: &Postgres, events: u64, body: usize) -> Result<(), Box<dyn Error>> {
    let mut next = 0;
    while next < events {
        let last = (next + CHUNK).min(events);
        postgres.run(&[&format!(
            "WITH input AS MATERIALIZED (
                 SELECT nextval('hookweir.event_seq') AS seq, sha256(int8send(n)) AS key FROM generate_series({}::bigint, {last}) AS n
             ), keys AS (
                 INSERT INTO hookweir.dedup (key, digest, source, seq, expires_at)
                 SELECT key, key, 'stripe', seq, now() + random() * interval '7 days' FROM input ORDER BY random()
             ), told AS (
                 INSERT INTO hookweir.published (seq, at) SELECT seq, now() - random() * interval '1 hour' FROM input
             )
             INSERT INTO hookweir.event (seq, key, source, event_id, event_type, content_type, headers, received_at, body)
             SELECT seq, key, 'stripe', seq, 'ping', 'application/json', '[]', 0, convert_to(repeat('x', {body}), 'UTF8') FROM input",
            next + 1
        )])?;
        next = last;
        say(format_args!("  {next} of {events} events"));
    }
    postgres.run(&["VACUUM (ANALYZE)", "CHECKPOINT"])
}
