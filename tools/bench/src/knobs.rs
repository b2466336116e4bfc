//! Effect of each option of the tuning guide: one option at a time, several values each, under the
//! load where it matters.

use std::error::Error;
use std::time::Duration;

use serde::Serialize;
use toml::Table;

use super::generator::{Mix, Pace};
use super::pipeline::{self, Row, Sending, World};
use super::{Backend, say};

/// An option, and how it is looked at.
struct Knob {
    option: &'static str,
    /// From little to much; the default is one of them.
    values: &'static [&'static str],
    load: Under,
    /// Bytes of a body; none is that of the run.
    body: Option<usize>,
    /// Percent of deliveries that are duplicates.
    duplicates: u8,
    /// Options that have to go along.
    with: &'static [&'static str],
    /// Nothing of it is used with SQLite and files.
    servers_only: bool,
    /// It is Kafka's.
    kafka_only: bool,
}

#[derive(Clone, Copy)]
enum Under {
    /// So many connections, each as soon as it has its last answer.
    Closed(usize),
    /// So many percent of what 256 connections are answered with the defaults, whether or not answers come.
    Open(f64),
}

impl Knob {
    const fn new(option: &'static str, values: &'static [&'static str], load: Under) -> Self {
        Self {
            option,
            values,
            load,
            body: None,
            duplicates: 0,
            with: &[],
            servers_only: false,
            kafka_only: false,
        }
    }

    const fn body(self, bytes: usize) -> Self {
        Self {
            body: Some(bytes),
            ..self
        }
    }

    const fn duplicates(self, percent: u8) -> Self {
        Self {
            duplicates: percent,
            ..self
        }
    }

    const fn with(self, options: &'static [&'static str]) -> Self {
        Self {
            with: options,
            ..self
        }
    }

    const fn servers_only(self) -> Self {
        Self {
            servers_only: true,
            ..self
        }
    }

    const fn kafka_only(self) -> Self {
        Self {
            kafka_only: true,
            ..self
        }
    }

    fn default(&self, config: &Table) -> Result<String, Box<dyn Error>> {
        let value = self
            .option
            .split_once('.')
            .and_then(|(table, key)| config.get(table)?.get(key));
        Ok(value
            .ok_or_else(|| format!("config.toml has no {}", self.option))?
            .to_string()
            .trim_matches('"')
            .to_owned())
    }
}

/// As much as fits beside publishing.
const BUSY: Under = Under::Closed(256);
/// So much that publishing stands aside, and lags behind.
const BURST: Under = Under::Closed(2000);
/// So much that a part has to be refused.
const OVERLOAD: Under = Under::Open(300.0);

const KNOBS: &[Knob] = &[
    Knob::new(
        "limits.in_flight_requests",
        &["128", "512", "1024", "2048", "4096"],
        OVERLOAD,
    ),
    Knob::new(
        "limits.in_flight_bytes",
        &["2097152", "8388608", "33554432", "134217728"],
        BURST,
    )
    .body(16_384)
    .with(&["limits.max_body_bytes=1048576"]),
    Knob::new(
        "verifier.mailbox_capacity",
        &["16", "64", "256", "1024", "2048", "4096"],
        OVERLOAD,
    ),
    Knob::new(
        "dedup.mailbox_capacity",
        &["16", "64", "256", "1024", "4096"],
        OVERLOAD,
    ),
    Knob::new("server.workers", &["1", "0", "4"], BUSY),
    Knob::new("verifier.actors", &["0", "1", "2"], BUSY),
    Knob::new(
        "dedup.batch_events",
        &["1", "8", "32", "128", "512", "2048"],
        BUSY,
    ),
    Knob::new(
        "dedup.batch_bytes",
        &["65536", "262144", "1048576", "8388608"],
        BUSY,
    )
    .body(16_384),
    Knob::new("dedup.writers", &["1", "2", "4", "8"], BUSY).servers_only(),
    Knob::new(
        "dedup.cache_entries",
        &["0", "1000", "10000", "100000"],
        Under::Closed(64),
    )
    .duplicates(50),
    Knob::new("publisher.channels", &["1", "2", "4", "8", "16"], BUSY).servers_only(),
    Knob::new("publisher.window", &["1", "16", "64", "256", "1024"], BUSY),
    Knob::new(
        "publisher.compression",
        &["none", "lz4", "snappy", "gzip"],
        BUSY,
    )
    .kafka_only(),
    Knob::new(
        "publisher.queue_events",
        &["256", "1024", "4096", "16384", "65536"],
        BURST,
    ),
    Knob::new(
        "publisher.queue_bytes",
        &["524288", "4194304", "16777216", "67108864"],
        BURST,
    ),
    Knob::new(
        "publisher.mailbox_capacity",
        &["2", "16", "64", "256", "1024"],
        BURST,
    ),
    Knob::new("publisher.yield_secs", &["0", "1", "3", "10"], BURST),
];

/// An option and what its values made of the service.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    option: &'static str,
    default: String,
    /// In words.
    load: String,
    rows: Vec<Valued>,
}

#[derive(Debug, Serialize)]
struct Valued {
    value: &'static str,
    #[serde(flatten)]
    row: Row,
}

/// The curves of the options whose names contain one of `wanted`, or of all.
pub(crate) fn measure(
    world: &World,
    wanted: &[String],
    body: usize,
    time: Duration,
) -> Result<Vec<Curve>, Box<dyn Error>> {
    let is_wanted = |knob: &&Knob| {
        (wanted.is_empty()
            || wanted
                .iter()
                .any(|part| knob.option.contains(part.as_str())))
            && !(knob.servers_only && world.backend == Backend::Embedded)
            && !(knob.kafka_only && world.backend != Backend::Kafka)
    };
    let knobs: Vec<&Knob> = KNOBS.iter().filter(is_wanted).collect();
    if knobs.is_empty() {
        let names: Vec<_> = KNOBS.iter().map(|knob| knob.option).collect();
        return Err(format!(
            "--knob: no option that is measured has that in its name; there are {}",
            names.join(", ")
        )
        .into());
    }
    let points: usize = knobs.iter().map(|knob| knob.values.len()).sum();
    say(format_args!(
        "knobs: {} options, {points} measurements of {} s and what it takes to publish all",
        knobs.len(),
        time.as_secs()
    ));
    let plain = |pace, body, duplicates| Sending {
        pace,
        mix: Mix {
            duplicates,
            forged: 0,
        },
        body,
        time,
        drained: true,
        cold: false,
    };
    let defaults: Table = include_str!("../../../config.toml").parse()?;
    let mut capacity = None;
    let mut curves = Vec::new();
    for knob in knobs {
        let body = knob.body.unwrap_or(body);
        let (pace, mut load) = match knob.load {
            Under::Closed(connections) => (
                Pace::Closed(connections),
                format!("{connections} connections"),
            ),
            Under::Open(percent) => {
                let capacity = match capacity {
                    Some(known) => known,
                    None => *capacity.insert(
                        pipeline::measure(world, &[], plain(Pace::Closed(256), body, 0))?.accepted,
                    ),
                };
                let rate = capacity * percent / 100.0;
                (Pace::Open(rate), format!("{rate:.0} deliveries/s offered"))
            }
        };
        if let Some(bytes) = knob.body {
            load += &format!(", bodies of {bytes} bytes");
        }
        if knob.duplicates > 0 {
            load += &format!(", {} % duplicates", knob.duplicates);
        }
        say(format_args!("{}: {load}", knob.option));
        Row::heads();
        let mut rows = Vec::new();
        for value in knob.values {
            let setting = format!("{}={value}", knob.option);
            say(format_args!("  {setting}"));
            let settings: Vec<&str> = knob
                .with
                .iter()
                .copied()
                .chain([setting.as_str()])
                .collect();
            rows.push(Valued {
                value,
                row: pipeline::measure(world, &settings, plain(pace, body, knob.duplicates))?,
            });
        }
        curves.push(Curve {
            option: knob.option,
            default: knob.default(&defaults)?,
            load,
            rows,
        });
    }
    Ok(curves)
}
