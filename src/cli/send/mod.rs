//! `hookweir send`: events signed as a provider would sign them, and whether they are answered as they should be.

mod client;
mod plan;
mod sign;
mod sink;
mod tally;

use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use bytes::Bytes;
use clap::Args;
use url::Url;

use super::who::Who;
use super::{Failure, say};
use crate::config::model::{Config, Publisher, Source};
pub(super) use client::root_cause;
use hookweir_signatures::presets;
use hookweir_signatures::sign::new_key;
use hookweir_signatures::spec::SchemeSpec;
use plan::Kind;
use sink::Arrivals;

/// Largest file that is read.
const MAX_FILE: u64 = 64 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  hookweir send --wait                       one event to the only source (or the demo), and see it arrive
  hookweir send --source stripe --duplicate  the same event twice: the second is answered \"duplicate\"
  hookweir send --source stripe --tamper     a changed body: must be refused, and the exit code says whether it was
  hookweir send --count 5000 --rate 500      a steady 500 events a second for ten seconds
  hookweir send --provider github --secret env:GITHUB_SECRET --url https://your.host/ingest/github";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    #[command(flatten)]
    who: Who,
    /// File with a PKCS#8 private key, PEM or DER, for providers that sign with a key pair.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// URL to send to; the configured listener and the source's path if left out.
    #[arg(long)]
    url: Option<Url>,
    /// Send each event twice; the second must be answered "duplicate".
    #[arg(long, group = "kind")]
    duplicate: bool,
    /// Change each body after signing it; must be refused.
    #[arg(long, group = "kind")]
    tamper: bool,
    /// Sign each event a day longer ago than the provider's scheme accepts; must be refused. Only for providers that sign the time.
    #[arg(long, group = "kind")]
    stale: bool,
    /// Sign with another secret; must be refused.
    #[arg(long, group = "kind")]
    wrong_secret: bool,
    /// Send half of each body after signing it; must be refused.
    #[arg(long, group = "kind")]
    truncate: bool,
    /// Send two events in the other order than they were made in; both must be accepted.
    #[arg(long, group = "kind")]
    reorder: bool,
    /// Make a key pair for a provider that signs with one: write the private key to FILE, print the public one, and send nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "private_key", "url"])]
    new_key: Option<PathBuf>,
    /// Number of events.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    count: u64,
    /// Events a second, whether or not the answers keep up; as fast as the answers come if left out.
    #[arg(long, value_name = "R", value_parser = rate)]
    rate: Option<f64>,
    /// Requests under way at the same time, at most.
    #[arg(long, value_name = "N", default_value_t = 1, default_value_if("rate", clap::builder::ArgPredicate::IsPresent, "256"), value_parser = clap::value_parser!(u32).range(1..=4096))]
    parallel: u32,
    /// File with the body to send, - for standard input; a small event of the provider's form if left out.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The event's id; a new one for each event if left out. Ignored where the body is given and holds the id.
    #[arg(long)]
    id: Option<String>,
    /// Seconds to wait for an answer.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Wait until the event has arrived in the sink of the configuration, and print it. With RabbitMQ, a temporary queue takes a copy; with Kafka, the topic is read.
    #[arg(long)]
    wait: bool,
}

/// Destination of the events, and the scheme that signs them.
struct Target {
    source: Source,
    url: Url,
    /// Configuration of the sink; `None` if only a provider is given.
    publisher: Option<Publisher>,
}

pub(super) fn run(
    options: &Options,
    load: impl Fn() -> Result<Config, Failure>,
) -> Result<(), Failure> {
    if let Some(path) = &options.new_key {
        return make_key(&options.who, path);
    }
    if options.who.provider.is_some() && options.url.is_none() {
        return Err(Failure::Usage("--provider needs --url".to_owned()));
    }
    let target = target(options, load)?;
    let source = target.source.clone();
    let (plan, kind) = plan(options, target.source)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::Internal(format!("no runtime: {error}")))?;
    let arrivals = match (options.wait, &target.publisher) {
        (false, _) => None,
        (true, None) => {
            return Err(Failure::Usage(
                "--wait needs a configured source, whose sink shows the event arriving".to_owned(),
            ));
        }
        (true, Some(publisher)) => Some(runtime.block_on(Arrivals::of(publisher, &source))?),
    };
    let tally = runtime.block_on(client::send(plan, &target.url, &pace(options)))?;
    if options.count > 1 || kind == Kind::Duplicate {
        say::note(&tally);
    }
    if tally.is_silence() {
        say::note(format_args!(
            "nothing answers at {}: is `hookweir serve` running there?",
            target.url
        ));
    } else if let Some(arrivals) = arrivals {
        runtime.block_on(arrivals.show(tally.last_id(), options.timeout))?;
    }
    if tally.is_as_expected() {
        Ok(())
    } else {
        Err(Failure::NotAsExpected)
    }
}

fn plan(options: &Options, source: Source) -> Result<(plan::Plan, Kind), Failure> {
    let kind = match options {
        Options {
            duplicate: true, ..
        } => Kind::Duplicate,
        Options { tamper: true, .. } => Kind::Tampered,
        Options { stale: true, .. } => Kind::Stale,
        Options {
            wrong_secret: true, ..
        } => Kind::WrongSecret,
        Options { truncate: true, .. } => Kind::Truncated,
        Options { reorder: true, .. } => Kind::Reordered,
        _ => Kind::Plain,
    };
    let body = options
        .body
        .as_deref()
        .map(|path| read_file("--body", path))
        .transpose()?
        .map(Bytes::from);
    let private_key = options
        .private_key
        .as_deref()
        .map(read_private_key)
        .transpose()?;
    let signer = sign::Signer {
        source,
        private_key,
        body,
    };
    let plan = plan::Plan::new(signer, kind, options.id.clone()).map_err(Failure::Usage)?;
    Ok((plan, kind))
}

fn pace(options: &Options) -> client::Pace {
    client::Pace {
        count: options.count,
        rate: options.rate,
        parallel: options.parallel as usize,
        timeout: Duration::from_secs(options.timeout),
        each_line: options.count <= client::MAX_LINES,
        progress: std::io::stderr().is_terminal() || options.count > client::MAX_LINES,
    }
}

/// For trials of providers whose private key nobody else has.
fn make_key(who: &Who, path: &Path) -> Result<(), Failure> {
    let Some(provider) = &who.provider else {
        return Err(Failure::Usage("--new-key needs --provider".to_owned()));
    };
    let spec = presets::table(provider)
        .and_then(SchemeSpec::from_table)
        .map_err(Failure::Usage)?;
    let (private, public) =
        new_key(&spec).map_err(|why| Failure::Usage(format!("--new-key: {why}")))?;
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| file.write_all(&private))
        .map_err(|error| {
            Failure::Usage(format!(
                "--new-key: cannot write {}: {error}",
                path.display()
            ))
        })?;
    say::out(format_args!("public_keys = [\"plain:{public}\"]"));
    Ok(())
}

fn target(
    options: &Options,
    load: impl Fn() -> Result<Config, Failure>,
) -> Result<Target, Failure> {
    let (config, source) = options.who.find(load)?;
    let url = match &options.url {
        Some(url) => url.clone(),
        None => config.local_url(&source).map_err(Failure::Usage)?,
    };
    // Of several sinks the first one is watched.
    let mut sinks = config.sinks.into_iter().filter(|sink| sink.gets(&source));
    let publisher = sinks.next().filter(|_| options.who.provider.is_none());
    Ok(Target {
        source,
        url,
        publisher,
    })
}

fn read_file(option: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_FILE + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| {
        Failure::Usage(format!("{option}: cannot read {}: {error}", path.display()))
    })?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Failure::Usage(format!(
            "{option}: {} is larger than {MAX_FILE} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

fn read_private_key(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read_file("--private-key", path)?;
    let Some(pem) = std::str::from_utf8(&bytes)
        .ok()
        .filter(|text| text.contains("-----BEGIN"))
    else {
        return Ok(bytes);
    };
    let base64: String = pem
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("-----"))
        .collect();
    base64::engine::general_purpose::STANDARD
        .decode(base64)
        .map_err(|_| {
            Failure::Usage(format!(
                "--private-key: {} is not PEM; expected \"-----BEGIN PRIVATE KEY-----\"",
                path.display()
            ))
        })
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.001..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected events a second, from 0.001 to 100000".to_owned()),
    }
}
