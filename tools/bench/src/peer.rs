//! A do-it-yourself service under the same load, on the same servers (`benches/peers/fastify`).

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::generator::{self, Load, Mix, Pace};
use super::pipeline::{Row, Sending, World};
use super::requests::{Requests, SECRET};
use super::servers::{Postgres, Rabbit};
use super::{pipeline, say};

/// Figures of a peer under a load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerRow {
    pub(crate) peer: &'static str,
    pub(crate) accepted: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) odd: u64,
}

/// The peer in its two forms and Hookweir, in turn under the same closed loop.
pub(crate) fn compare(
    world: &World,
    body: usize,
    connections: usize,
    time: Duration,
) -> Result<(Vec<PeerRow>, Row), Box<dyn Error>> {
    let Some((postgres, queue)) = &world.servers else {
        return Err("compare needs --backend servers".into());
    };
    let rabbit = queue.rabbit()?;
    let installed = install()?;
    say(format_args!(
        "compare: {connections} connections, bodies of {body} bytes"
    ));
    let mut peers = Vec::new();
    for (form, name) in [
        ("safe", "fastify, key and confirm before the answer"),
        ("forget", "fastify, fire and forget"),
    ] {
        let row = measure(
            &installed,
            (postgres, rabbit),
            form,
            name,
            body,
            connections,
            time,
        )?;
        say(format_args!(
            "  {name:<44} {:>7.0}/s accepted, p50 {:.1} ms, p99 {:.1} ms, {} odd",
            row.accepted, row.p50_ms, row.p99_ms, row.odd
        ));
        peers.push(row);
    }
    Row::heads();
    let ours = pipeline::measure(
        world,
        &[],
        Sending {
            pace: Pace::Closed(connections),
            mix: Mix::default(),
            body,
            time,
            drained: true,
            cold: false,
        },
    )?;
    for peer in &peers {
        say(format_args!(
            "  hookweir / {}: {:.1} x accepted, {:.1} x published until the queue had all, p99 {:.1} x",
            peer.peer,
            ours.accepted / peer.accepted,
            ours.sustained / peer.accepted,
            ours.p99_ms / peer.p99_ms
        ));
    }
    Ok((peers, ours))
}

/// Its packages, as its lock file names them, in a folder of the build.
fn install() -> Result<PathBuf, Box<dyn Error>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = repository.join("benches/peers/fastify");
    let folder = repository.join("target/peers/fastify");
    std::fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json", "server.js"] {
        std::fs::copy(source.join(file), folder.join(file))?;
    }
    let status = Command::new("npm")
        .args(["ci", "--no-audit", "--no-fund", "--silent"])
        .current_dir(&folder)
        .status();
    match status {
        Ok(status) if status.success() => Ok(folder),
        Ok(status) => Err(format!("npm ci for the peer ended with {status}").into()),
        Err(error) => Err(format!("npm: {error}; compare needs node and npm").into()),
    }
}

fn measure(
    installed: &Path,
    (postgres, rabbit): (&Postgres, &Rabbit),
    form: &str,
    peer: &'static str,
    body: usize,
    connections: usize,
    time: Duration,
) -> Result<PeerRow, Box<dyn Error>> {
    postgres.clear()?;
    rabbit.clear()?;
    let mut running = Running(
        Command::new("node")
            .args(["server.js", form])
            .current_dir(installed)
            .env("POSTGRES_URL", &postgres.server.url)
            .env("AMQP_URL", &rabbit.server.url)
            .env("SECRET", SECRET)
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().ok_or("no output")?).read_line(&mut line)?;
    let target: std::net::SocketAddr = line.trim().parse().map_err(|_| "the peer did not start")?;
    let start = Instant::now();
    let count_from = start + Duration::from_secs(2);
    let load = Load {
        target: target.into(),
        pace: Pace::Closed(connections),
        mix: Mix::default(),
        start,
        count_from,
        end: count_from + time,
    };
    let answers = generator::run(&load, &mut Requests::new(body))?;
    drop(running);
    let ms = |percent| answers.taken.value_at_percentile(percent) as f64 / 1000.0;
    let accepted = answers.accepted as f64 / time.as_secs_f64();
    Ok(PeerRow {
        peer,
        accepted,
        p50_ms: ms(50.0),
        p99_ms: ms(99.0),
        odd: answers.odd,
    })
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
