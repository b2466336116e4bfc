//! Speed of Hookweir, beside the limits of its parts on the same machine. `benches/run` starts this
//! program, and `benches/run --help` explains it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "it is a command line program"
)]

mod ceiling;
mod edge;
mod generator;
mod growth;
mod in_turn;
mod instructions;
mod knobs;
mod looking;
mod outage;
mod peer;
mod pipeline;
mod plot;
mod queue;
mod report;
mod requests;
mod restart;
mod servers;
mod service;
mod steady;
mod wire;

use std::error::Error;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};

use ceiling::Ceiling;
use generator::{Mix, Pace};
use in_turn::{Median, Turns};
use pipeline::{Row, Sending, World};
use queue::{Kafka, Queue};
use servers::{Postgres, Rabbit};

/// Kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// The parts alone.
    Ceiling,
    /// The whole of it.
    Pipeline,
    /// The whole of it beside a do-it-yourself service; needs node and npm.
    Compare,
    /// The same load on a store with ever more keys (--keys).
    Growth,
    /// The queue is away until many events wait (--rows), and comes back.
    Outage,
    /// Each option of the tuning guide (or --knob) with several values, under the load where it matters; 13 minutes.
    Knobs,
    /// A steady load (--rate) for long (--minutes), and what it does to the tables.
    Steady,
    /// A start on many stored events (--stored) beside one on none, in turn (--repeat), with PostgreSQL as it comes.
    Restart,
    /// A sink alone, and with a dead, a blocked and a slow one beside it, in turn (--repeat): as fast as it goes, and at --rate.
    Beside,
    /// The cost of publisher.ordered at --rate: none, a key for each event, one key; in turn (--repeat).
    Order,
    /// The cost of looking: nobody, one and ten live pages, in turn (--repeat); and clicks in a tab of Chromium at --rate.
    Looking,
    /// The cost of the quarantine (with --forged percent) and of the deletion of events, in turn (--repeat).
    Kept,
    /// The cost of TLS and of traces, in turn (--repeat).
    Edge,
    /// The cost of the lakehouse's writer in the service, in turn (--repeat): as fast as it goes, and at --rate.
    Lake,
    /// Instructions for one delivery; needs valgrind. Each of its five runs takes half a minute.
    Instructions,
}

/// Store and sink of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// PostgreSQL and RabbitMQ.
    Servers,
    /// PostgreSQL and Kafka.
    Kafka,
    /// SQLite and files.
    Embedded,
}

impl Backend {
    /// In names of files.
    fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Kafka => "kafka",
            Self::Embedded => "embedded",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Servers => "PostgreSQL + RabbitMQ",
            Self::Kafka => "PostgreSQL + Kafka",
            Self::Embedded => "SQLite + files",
        })
    }
}

#[derive(Debug, Parser)]
#[command(name = "benches/run")]
struct Args {
    /// Measurements; ceiling and pipeline if left out.
    what: Vec<What>,
    /// Seconds that each measurement takes.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Back ends.
    #[arg(long, value_delimiter = ',', default_value = "servers,embedded")]
    backend: Vec<Backend>,
    /// Type of the queue: quorum, classic or stream.
    #[arg(long, default_value = "quorum")]
    queue: String,
    /// Bytes of a body.
    #[arg(long, value_delimiter = ',', default_value = "1200")]
    body: Vec<usize>,
    /// Percent of deliveries that are duplicates.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    duplicates: Vec<u8>,
    /// Percent of deliveries with a wrong signature.
    #[arg(long, default_value_t = 0)]
    forged: u8,
    /// Connections of the closed loops; the last one tells the capacity.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    connections: Vec<usize>,
    /// Offered load of the open loops, in percent of the capacity; 0 is none.
    #[arg(long, value_delimiter = ',', default_value = "25,50,75,100,150")]
    open: Vec<u32>,
    /// growth: keys in the store.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "0,1000000,10000000,30000000"
    )]
    keys: Vec<u64>,
    /// outage: events that wait when the queue comes back.
    #[arg(long, default_value_t = 500_000)]
    rows: u64,
    /// restart: events in the store when the service starts.
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
    /// restart, beside, order, looking, kept, edge, lake: how often; medians are told.
    #[arg(long, default_value_t = 5)]
    repeat: usize,
    /// PostgreSQL with no setting of ours.
    #[arg(long)]
    as_it_comes: bool,
    /// knobs: an option, or a part of its name; all of them if left out; may be repeated.
    #[arg(long = "knob", value_name = "NAME")]
    knobs: Vec<String>,
    /// steady, beside, order, looking, lake: deliveries a second.
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// steady: for how long.
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// An option of the service, such as dedup.writers=3; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A sink of --set that is expected to be down; may be repeated.
    #[arg(long, value_name = "NAME")]
    down: Vec<String>,
    /// The program to measure; the one beside this if left out.
    #[arg(long)]
    program: Option<PathBuf>,
    /// Folder for the results.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Measures nothing: makes tables and charts of the results in --out again.
    #[arg(long)]
    report: bool,
}

/// Progress, on standard error.
pub(crate) fn say(what: impl fmt::Display) {
    eprintln!("{what}");
}

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args()
        .nth(1)
        .is_some_and(|argument| argument == ceiling::SERVE)
    {
        return ceiling::serve();
    }
    let mut args = Args::parse();
    if args.report {
        for entry in fs::read_dir(&args.out)? {
            let path = entry?.path();
            if let Some(name) = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".json"))
            {
                report::write(&args.out, name)?;
            }
        }
        return Ok(());
    }
    if std::env::var_os("HOOKWEIR_TEST_FOLDER").is_none() {
        println!("benches/run starts this with servers of its own; see benches/run --help");
        return Ok(());
    }
    if args.what.is_empty() {
        args.what = vec![What::Ceiling, What::Pipeline];
    }
    fs::create_dir_all(&args.out)?;
    for backend in &args.backend {
        let mut world = world(&args, *backend)?;
        let commit_ms = match &world.servers {
            Some((postgres, _)) => Some(postgres.commit_seconds()? * 1000.0),
            None => None,
        };
        if let Some(ms) = commit_ms {
            say(format_args!("one flushed commit: {ms:.2} ms"));
        }
        if args
            .what
            .iter()
            .any(|what| matches!(what, What::Ceiling | What::Pipeline | What::Compare))
        {
            for body in &args.body {
                let mut found = one(&args, &world, *body)?;
                found["commit_ms"] = json!(commit_ms);
                keep(&args, &format!("{}-{body}", world.backend.name()), &found)?;
            }
        }
        for what in &args.what {
            if let Some((name, found)) = special(&args, &mut world, *what)? {
                keep(&args, &name, &found)?;
            }
        }
    }
    Ok(())
}

/// Writes a result, and what is made of it.
fn keep(args: &Args, name: &str, found: &Value) -> Result<(), Box<dyn Error>> {
    fs::write(
        args.out.join(format!("{name}.json")),
        serde_json::to_vec_pretty(found)?,
    )?;
    report::write(&args.out, name)
}

/// Makes a measurement of which there is one, with bodies of the first size and the last number of
/// connections.
fn special(
    args: &Args,
    world: &mut World,
    what: What,
) -> Result<Option<(String, Value)>, Box<dyn Error>> {
    let (body, connections) = (
        args.body[0],
        args.connections.last().copied().unwrap_or(256),
    );
    let time = Duration::from_secs(args.seconds);
    if world.servers.is_none()
        && matches!(
            what,
            What::Growth | What::Outage | What::Steady | What::Restart
        )
    {
        say(format_args!(
            "{what:?} is left out: it is for PostgreSQL and a broker (--backend servers or kafka)"
        ));
        return Ok(None);
    }
    Ok(match what {
        What::Growth => Some((
            "growth".into(),
            json!({ "growth": growth::measure(world, &args.keys, connections, body, time)? }),
        )),
        What::Outage => Some((
            match world.backend {
                Backend::Kafka => "outage-kafka".into(),
                _ => "outage".into(),
            },
            json!({ "outage": outage::measure(world, args.rows, connections, body, time)? }),
        )),
        What::Steady => Some((
            "steady".into(),
            json!({ "rate": args.rate, "steady": steady::measure(world, args.rate, args.minutes, body)? }),
        )),
        What::Restart => {
            let found = restart::measure(world, args.stored, args.repeat, connections, body, time)?;
            Some((
                format!("restart-{}", args.stored),
                json!({ "restart": found }),
            ))
        }
        What::Beside => Some(in_turn(world, "beside", turns(args, world).beside()?)),
        What::Order => Some(in_turn(world, "order", turns(args, world).order()?)),
        What::Kept => Some(in_turn(world, "kept", turns(args, world).kept()?)),
        What::Edge => Some(in_turn(world, "edge", turns(args, world).edge()?)),
        What::Lake => Some(in_turn(world, "lake", turns(args, world).lake()?)),
        What::Looking => {
            let found = turns(args, world).looking()?;
            let (name, mut found) = in_turn(world, "looking", found);
            found["clicks"] = json!(looking::clicks(world, args.rate, (body, time))?);
            Some((name, found))
        }
        What::Instructions => Some((
            "instructions".into(),
            json!({ "instructions": instructions::measure(world, body, &args.out)? }),
        )),
        What::Knobs => {
            let curves = knobs::measure(world, &args.knobs, body, time)?;
            Some((
                format!("knobs-{}", world.backend.name()),
                json!({ "backend": world.backend.to_string(), "knobs": curves }),
            ))
        }
        What::Ceiling | What::Pipeline | What::Compare => None,
    })
}

fn turns<'w>(args: &Args, world: &'w World) -> Turns<'w> {
    Turns {
        world,
        repeat: args.repeat,
        connections: args.connections.last().copied().unwrap_or(256),
        rate: args.rate,
        forged: args.forged,
        body: args.body[0],
        time: Duration::from_secs(args.seconds),
    }
}

/// Returns the name of a result, and the result.
fn in_turn(world: &World, name: &str, found: Vec<Median>) -> (String, Value) {
    let name = format!("{name}-{}", world.backend.name());
    (name, json!({ "in_turn": found }))
}

fn world(args: &Args, backend: Backend) -> Result<World, Box<dyn Error>> {
    // The service runs in a folder of its own, where a relative path leads nowhere.
    let program = args
        .program
        .clone()
        .unwrap_or_else(hookweir_testkit::program);
    let program = program
        .canonicalize()
        .map_err(|error| format!("--program {}: {error}", program.display()))?;
    let servers = match backend {
        Backend::Embedded => None,
        Backend::Servers => {
            say("starting PostgreSQL and RabbitMQ");
            let plain = args.as_it_comes || args.what.contains(&What::Restart);
            Some((Postgres::start(plain)?, Queue::Rabbit(Rabbit::start()?)))
        }
        Backend::Kafka => {
            say("starting PostgreSQL and Kafka");
            let plain = args.as_it_comes || args.what.contains(&What::Restart);
            Some((Postgres::start(plain)?, Queue::Kafka(Kafka::start()?)))
        }
    };
    let mut down = args.down.clone();
    down.extend(in_turn::HINDERED.map(str::to_owned));
    Ok(World {
        backend,
        program,
        settings: args.settings.clone(),
        queue: args.queue.clone(),
        servers,
        down,
    })
}

fn one(args: &Args, world: &World, body: usize) -> Result<Value, Box<dyn Error>> {
    let time = Duration::from_secs(args.seconds);
    let ceiling = if args.what.contains(&What::Ceiling) {
        let options = ceiling::Options {
            body,
            connections: args.connections.last().copied().unwrap_or(256),
            time,
            queue: &args.queue,
            all_queues: body == args.body[0],
        };
        let servers = world
            .servers
            .as_ref()
            .map(|(postgres, queue)| (postgres, queue));
        Some(ceiling::measure(world.backend, servers, options)?)
    } else {
        None
    };
    let mut rows = Vec::new();
    if args.what.contains(&What::Pipeline) {
        for duplicates in &args.duplicates {
            rows.extend(pipeline(
                args,
                world,
                body,
                Mix {
                    duplicates: *duplicates,
                    forged: args.forged,
                },
                time,
            )?);
        }
    }
    if let (Some(ceiling), Some(best)) = (&ceiling, best(&rows)) {
        compare(ceiling, best);
    }
    let compared = if args.what.contains(&What::Compare) && world.servers.is_some() {
        Some(peer::compare(
            world,
            body,
            args.connections.last().copied().unwrap_or(256),
            time,
        )?)
    } else {
        None
    };
    Ok(
        json!({ "compared": compared, "backend": world.backend.to_string(), "queue": args.queue, "body": body, "ceiling": ceiling, "rows": rows }),
    )
}

fn pipeline(
    args: &Args,
    world: &World,
    body: usize,
    mix: Mix,
    time: Duration,
) -> Result<Vec<Row>, Box<dyn Error>> {
    say(format_args!(
        "pipeline: {}, queue {}, {} s each",
        world.backend,
        args.queue,
        time.as_secs()
    ));
    Row::heads();
    let mut rows = Vec::new();
    for connections in &args.connections {
        rows.push(pipeline::measure(
            world,
            &[],
            Sending {
                pace: Pace::Closed(*connections),
                mix,
                body,
                time,
                drained: true,
                cold: false,
            },
        )?);
    }
    let capacity = rows
        .last()
        .map(|row| row.accepted + row.duplicate)
        .unwrap_or_default();
    for percent in args.open.iter().filter(|percent| **percent > 0) {
        let pace = Pace::Open(capacity * f64::from(*percent) / 100.0);
        rows.push(pipeline::measure(
            world,
            &[],
            Sending {
                pace,
                mix,
                body,
                time,
                drained: true,
                cold: false,
            },
        )?);
    }
    Ok(rows)
}

/// The closed loop that accepted most.
fn best(rows: &[Row]) -> Option<&Row> {
    rows.iter()
        .filter(|row| row.offered.is_none() && row.duplicates_percent == 0)
        .max_by(|a, b| a.accepted.total_cmp(&b.accepted))
}

fn compare(ceiling: &Ceiling, row: &Row) {
    say(format_args!(
        "  accepted {:.2} x its ceiling, published {:.2} x (while the load ran) and {:.2} x (until the queue had all)",
        row.accepted / ceiling.accepted,
        row.published / ceiling.published,
        row.sustained / ceiling.published
    ));
}
