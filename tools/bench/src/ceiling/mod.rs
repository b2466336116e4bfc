//! Throughput of each part alone, on the same servers and with the same bodies. The pipeline runs
//! all three parts for each event on the same cores. The limit of the pipeline is therefore about
//! `1 / (1/http + 1/store + 1/queue)`.

mod broker;
mod embedded;
mod http;
mod kafka;
mod store;

use std::error::Error;
use std::time::Duration;

use serde::Serialize;

use super::queue::Queue;
use super::servers::Postgres;
use super::{Backend, say};

pub(crate) use http::{SERVE, serve};

/// Throughput of one part alone.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) per_second: f64,
}

impl Part {
    fn new(name: impl Into<String>, per_second: f64) -> Self {
        let part = Self {
            name: name.into(),
            per_second,
        };
        say(format_args!(
            "  {:<44} {:>8.0}/s",
            part.name, part.per_second
        ));
        part
    }
}

/// The parts, and what follows from them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ceiling {
    pub(crate) parts: Vec<Part>,
    pub(crate) http: f64,
    pub(crate) store: f64,
    pub(crate) queue: f64,
    /// 1 / (1/http + 1/store): what can be accepted.
    pub(crate) accepted: f64,
    /// 1 / (1/http + 1/store + 1/queue): what can be accepted and published.
    pub(crate) published: f64,
}

/// Settings for measuring the parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options<'o> {
    pub(crate) body: usize,
    pub(crate) connections: usize,
    pub(crate) time: Duration,
    /// "quorum", "classic" or "stream": the queue that counts.
    pub(crate) queue: &'o str,
    /// True to measure the other kinds of queue, too.
    pub(crate) all_queues: bool,
}

/// Measures the parts of one back end.
pub(crate) fn measure(
    backend: Backend,
    servers: Option<(&Postgres, &Queue)>,
    options: Options<'_>,
) -> Result<Ceiling, Box<dyn Error>> {
    say(format_args!(
        "ceiling: the parts of {backend} alone, bodies of {} bytes, {} s each",
        options.body,
        options.time.as_secs()
    ));
    let mut parts = vec![Part::new(
        format!(
            "http: actix-web + HMAC, {} connections",
            options.connections
        ),
        http::measure(options)?,
    )];
    let http = parts[0].per_second;
    let (store, queue) = match servers {
        Some((postgres, queue)) => {
            let mut best: f64 = 0.0;
            for (connections, batch) in [(2, 256), (2, 512), (4, 512)] {
                let rate = store::measure(postgres, connections, batch, options)?;
                parts.push(Part::new(
                    format!("store: PostgreSQL, {connections} connections, batches of {batch}"),
                    rate,
                ));
                best = best.max(rate);
            }
            (best, measure_queue(queue, options, &mut parts)?)
        }
        None => {
            let store = embedded::store(options)?;
            parts.push(Part::new(
                format!("store: SQLite, batches of {}", embedded::BATCH),
                store,
            ));
            let queue = embedded::file(options)?;
            parts.push(Part::new(
                format!("queue: file, synced every {} lines", embedded::LINES),
                queue,
            ));
            (store, queue)
        }
    };
    let accepted = 1.0 / (1.0 / http + 1.0 / store);
    let published = 1.0 / (1.0 / accepted + 1.0 / queue);
    say(format_args!(
        "  ceiling: {accepted:.0}/s accepted, {published:.0}/s accepted and published"
    ));
    Ok(Ceiling {
        parts,
        http,
        store,
        queue,
        accepted,
        published,
    })
}

/// Adds the kinds of the queue to `parts`. Returns the rate of the one that counts.
fn measure_queue(
    queue: &Queue,
    options: Options<'_>,
    parts: &mut Vec<Part>,
) -> Result<f64, Box<dyn Error>> {
    let mut counts: f64 = 0.0;
    match queue {
        Queue::Rabbit(rabbit) => {
            for kind in ["quorum", "classic", "stream"] {
                if kind == options.queue || options.all_queues {
                    let rate = broker::measure(rabbit, kind, options)?;
                    let name = format!("queue: RabbitMQ, {kind}, window of {}", broker::WINDOW);
                    parts.push(Part::new(name, rate));
                    if kind == options.queue {
                        counts = rate;
                    }
                }
            }
        }
        // The bodies differ in their ends only, so that lz4 is far too kind. What counts is without.
        Queue::Kafka(kafka) => {
            for compression in ["lz4", "none"] {
                let rate = kafka::measure(kafka, compression, options)?;
                let name = format!("queue: Kafka, {compression}, window of {}", kafka::WINDOW);
                parts.push(Part::new(name, rate));
                if compression == "none" {
                    counts = rate;
                }
            }
        }
    }
    Ok(counts)
}
