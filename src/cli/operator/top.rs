//! `hookweir top`: rates of the running service, and what to turn.

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use serde::Serialize;

use super::client::AdminClient;
use super::table::Table;
use super::trace::json;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{Advice, Observed, PartOf, TopView, advise};

/// Moves the cursor home, and clears the screen.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Show one interval, and end.
    #[arg(long)]
    once: bool,
    /// Seconds between two looks.
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print each interval as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// An interval: the figures at its end, rates in it, and advice.
#[derive(Serialize)]
struct Report<'a> {
    rates: Rates,
    advice: &'a [Advice],
    figures: &'a TopView,
}

/// Rates of an interval, in a second, and means.
#[derive(Serialize)]
struct Rates {
    seconds: f64,
    accepted: f64,
    duplicate: f64,
    rejected: f64,
    shed: f64,
    failed: f64,
    confirmed: f64,
    commits: f64,
    commit_ms: Option<f64>,
    batch_events: Option<f64>,
    confirm_ms: Option<f64>,
    cache_hits: f64,
    cache_misses: f64,
}

impl Rates {
    fn between(before: &TopView, after: &TopView) -> Self {
        let elapsed = after.uptime_ms.saturating_sub(before.uptime_ms).max(1);
        let seconds = elapsed as f64 / 1000.0;
        let rate = |count: &dyn Fn(&TopView) -> u64| {
            count(after).saturating_sub(count(before)) as f64 / seconds
        };
        let mean = |observed: fn(&TopView) -> Observed, unit: f64| {
            let (before, after) = (observed(before), observed(after));
            let count = after.count.saturating_sub(before.count);
            let sum = after.sum.saturating_sub(before.sum);
            (count > 0).then(|| sum as f64 / count as f64 / unit)
        };
        Self {
            seconds,
            accepted: rate(&|view| view.sources.iter().map(|of| of.accepted).sum()),
            duplicate: rate(&|view| view.sources.iter().map(|of| of.duplicate).sum()),
            rejected: rate(&|view| view.sources.iter().map(|of| of.rejected).sum()),
            shed: rate(&|view| view.sources.iter().map(|of| of.shed).sum()),
            failed: rate(&|view| view.sources.iter().map(|of| of.failed).sum()),
            confirmed: rate(&|view| view.sinks.iter().map(|of| of.confirmed).sum()),
            commits: rate(&|view| view.commits.count),
            commit_ms: mean(|view| view.commits, 1000.0),
            batch_events: mean(|view| view.batches, 1.0),
            confirm_ms: mean(|view| view.confirms, 1000.0),
            cache_hits: rate(&|view| view.cache_hits),
            cache_misses: rate(&|view| view.cache_misses),
        }
    }
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let mut before = look(config)?;
    loop {
        thread::sleep(Duration::from_secs(options.interval));
        let after = look(config)?;
        if after.instance != before.instance {
            say::note("the service was restarted: rates begin anew");
            before = after;
            continue;
        }
        let report = Report {
            rates: Rates::between(&before, &after),
            advice: &advise(&before, &after),
            figures: &after,
        };
        match options.json {
            true => say::out(json(&report)?),
            false => print(&report, options.once),
        }
        if options.once {
            return Ok(());
        }
        before = after;
    }
}

/// Returns the figures of the service, which is on this machine: it is asked by a Unix socket.
fn look(config: &Config) -> Result<TopView, Failure> {
    let figures: TopView = AdminClient::new(config)?.get("top", &[])?;
    Ok(figures.with_processors())
}

fn print(report: &Report<'_>, once: bool) {
    if !once && std::io::stdout().is_terminal() {
        say::out(CLEAR);
    }
    let (rates, figures) = (&report.rates, report.figures);
    say::out(format_args!(
        "instance {}  up {} s  {}",
        figures.instance,
        figures.uptime_ms / 1000,
        figures.at
    ));
    say::out(format_args!(
        "in a second: accepted {:.1}  duplicate {:.1}  rejected {:.1}  shed {:.1}  failed {:.1}  published {:.1}",
        rates.accepted, rates.duplicate, rates.rejected, rates.shed, rates.failed, rates.confirmed
    ));
    let mean = |mean: Option<f64>| mean.map_or_else(|| "-".to_owned(), |mean| format!("{mean:.1}"));
    say::out(format_args!(
        "commits {:.1}/s of {} events in {} ms  confirms in {} ms  cache {:.1} hits/s {:.1} misses/s {} keys",
        rates.commits,
        mean(rates.batch_events),
        mean(rates.commit_ms),
        mean(rates.confirm_ms),
        rates.cache_hits,
        rates.cache_misses,
        figures.cache_entries
    ));
    let part = |of: PartOf| format!("{}/{}", of.part, of.whole);
    say::out(format_args!(
        "in flight: requests {}  bytes {}  connections {}{}",
        part(figures.in_flight_requests),
        part(figures.in_flight_bytes),
        part(figures.connections),
        if figures.yielding {
            "  publishing pauses for a burst"
        } else {
            ""
        }
    ));
    tables(figures);
    if report.advice.is_empty() {
        say::out("what to turn: nothing");
    }
    for advice in report.advice {
        say::out(line(advice));
    }
}

fn tables(figures: &TopView) {
    let mut sinks = Table::new(&["SINK", "UP", "WAITING", "OLDEST S", "PARKED", "UNROUTED"]);
    for sink in &figures.sinks {
        let up = match sink.up {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not configured",
        };
        sinks.row([
            sink.sink.clone(),
            up.to_owned(),
            sink.waiting.to_string(),
            sink.oldest_seconds.to_string(),
            sink.parked.to_string(),
            sink.unrouted.to_string(),
        ]);
    }
    sinks.print();
    let mut mailboxes = Table::new(&["MAILBOX", "WAITING", "HIGH", "CAPACITY"]);
    for mailbox in &figures.mailboxes {
        mailboxes.row([
            mailbox.actor.clone(),
            mailbox.depth.to_string(),
            mailbox.high.to_string(),
            mailbox.capacity.to_string(),
        ]);
    }
    mailboxes.print();
}

fn line(advice: &Advice) -> String {
    let turn = match (advice.now, advice.to) {
        (Some(now), Some(to)) => format!("{} from {now} to {to}", advice.turn),
        _ => advice.turn.clone(),
    };
    format!("what to turn: {turn}: {}", advice.because)
}
