//! `hookweir sinks`: what waits for each sink, also for those that were taken out of the configuration.

use std::collections::BTreeMap;

use rustix::process::geteuid;

use super::service::RunningSinks;
use super::{Failure, say};
use crate::config::Config;
use crate::config::model::StoreUrl;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::store::{self, AuditAction, AuditEntry, Backlog, Store, StoreError};

/// Rows that are changed at a time.
const PAGE: usize = 1000;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Action on what waits for a sink.
    #[arg(value_enum, default_value_t = Verb::List)]
    verb: Verb,
    /// For move: the sink that was taken out, then a configured one. For discard: the sink that was taken out.
    #[arg(value_name = "SINK")]
    sinks: Vec<String>,
    /// Reason, printed and kept in the table audit with the number of events; needed for discard.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// List all sinks that are configured or have rows, with what waits for each.
    List,
    /// Move what waits for a sink to another one, under the same message ids.
    Move,
    /// Delete what waits for a sink: the sink never gets it. The events are kept like published ones.
    Discard,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let out_of_reach =
        |error: StoreError| Failure::Unreachable(format!("{}: {error}", config.store.url));
    // Before anything is done.
    let names = names(config, options)?;
    let running = RunningSinks::ask(config);
    if let (Some(from), Ok(running)) = (names.first(), &running)
        && running.publish_to(from)
    {
        return Err(Failure::Usage(format!(
            "the service on this machine still publishes to the sink {from}: restart it with this configuration first"
        )));
    }
    let reason = options.reason.as_deref().unwrap_or("no reason given");
    let store = store::open(&config.store, 1).map_err(out_of_reach)?;
    record(&*store, options, &names).map_err(|error| {
        Failure::Unreachable(format!(
            "{}: cannot record the reason in the table audit, so nothing was changed: {error}",
            config.store.url
        ))
    })?;
    match (options.verb, &names[..]) {
        (Verb::Move, [from, to]) => {
            let moved = until_none(|| store.move_waiting(from, to, PAGE)).map_err(out_of_reach)?;
            say::note(format_args!(
                "{moved} events moved from {from} to {to} ({reason}); a running service publishes them within seconds"
            ));
        }
        (Verb::Discard, [sink]) => {
            let gone = until_none(|| store.discard_waiting(sink, PAGE)).map_err(out_of_reach)?;
            say::note(format_args!(
                "{gone} events discarded for {sink} ({reason}); they are kept in the store for store.keep_events_days"
            ));
        }
        _ => {
            let backlogs = store.backlog().map_err(out_of_reach)?;
            if let Err(why) = &running {
                say::note(format_args!(
                    "health and published events are not known: {why}"
                ));
            }
            for (name, line) in lines(config, &backlogs, running.as_ref().ok()) {
                say::out(format_args!("{name}  {line}"));
            }
        }
    }
    Ok(())
}

/// Returns the names that the verb needs, or what is wrong with them.
fn names(config: &Config, options: &Options) -> Result<Vec<SinkName>, Failure> {
    let usage = |text: String| Err(Failure::Usage(text));
    let count = match options.verb {
        Verb::List => 0,
        Verb::Move => 2,
        Verb::Discard => 1,
    };
    if options.sinks.len() != count {
        return usage(match options.verb {
            Verb::List => "list takes no sink: it lists all".to_owned(),
            Verb::Move => "name the sink that was taken out, and the one that gets its events: hookweir sinks move OLD NEW".to_owned(),
            Verb::Discard => "name the sink that was taken out: hookweir sinks discard OLD --reason TEXT".to_owned(),
        });
    }
    let reason = options.reason.as_deref().unwrap_or_default();
    if options.verb == Verb::Discard && reason.trim().is_empty() {
        return usage("discard deletes what waits for good: give a --reason".to_owned());
    }
    let names = options.sinks.iter().map(|name| SinkName::parse(name));
    let names: Vec<SinkName> = names.collect::<Result<_, _>>().map_err(Failure::Usage)?;
    let is_configured = |name: &SinkName| config.sinks.iter().any(|sink| sink.name == *name);
    if let Some(from) = names.first().filter(|name| is_configured(name)) {
        return usage(format!(
            "the sink {from} is configured, and a service may be publishing to it: take it out of the configuration of all instances first"
        ));
    }
    if let Some(to) = names.get(1).filter(|name| !is_configured(name)) {
        return usage(format!("there is no sink {to} in the configuration"));
    }
    Ok(names)
}

/// Records a change in the table `audit` before it is made. The count is that of the events that wait.
fn record(store: &dyn Store, options: &Options, names: &[SinkName]) -> Result<(), StoreError> {
    let (action, sink, subject) = match (options.verb, names) {
        (Verb::Move, [from, to]) => (AuditAction::MoveWaiting, from, format!("{from} to {to}")),
        (Verb::Discard, [sink]) => (AuditAction::DiscardWaiting, sink, sink.to_string()),
        _ => return Ok(()),
    };
    let backlogs = store.backlog()?;
    let backlog = backlogs.iter().find(|backlog| backlog.sink == *sink);
    let (user, process) = (geteuid().as_raw(), std::process::id());
    store.record(&AuditEntry {
        instance: InstanceId::random(),
        caller: format!("user {user}, process {process}"),
        action,
        subject,
        count: backlog.map_or(0, |backlog| backlog.depth),
        reason: options.reason.clone(),
    })
}

/// Calls `change` until it has changed nothing. Returns the number of rows.
fn until_none(change: impl Fn() -> Result<u64, StoreError>) -> Result<u64, StoreError> {
    let mut all = 0;
    loop {
        match change()? {
            0 => return Ok(all),
            rows => all += rows,
        }
    }
}

/// Returns what waits for each sink, in sentences. Looks into a store that is there; changes nothing.
pub(super) fn waiting(config: &Config) -> Vec<(SinkName, String)> {
    if let StoreUrl::Sqlite(path) = &config.store.url
        && !path.exists()
    {
        return Vec::new();
    }
    // Why the store cannot be used was said before.
    let backlogs = store::open(&config.store, 1).and_then(|store| store.backlog());
    let running = RunningSinks::ask(config).ok();
    backlogs.map_or_else(
        |_| Vec::new(),
        |backlogs| lines(config, &backlogs, running.as_ref()),
    )
}

fn lines(
    config: &Config,
    backlogs: &[Backlog],
    running: Option<&RunningSinks>,
) -> Vec<(SinkName, String)> {
    let mut sinks: BTreeMap<&SinkName, String> = BTreeMap::new();
    let configured = config.sinks.iter();
    sinks.extend(configured.map(|sink| (&sink.name, sink.url.to_string())));
    for backlog in backlogs {
        sinks.entry(&backlog.sink).or_insert_with(|| {
            "NOT CONFIGURED: add it again, or move or discard what waits (hookweir sinks --help)"
                .to_owned()
        });
    }
    let line = |(name, place): (&SinkName, String)| {
        let none = Backlog::default();
        let backlog = backlogs.iter().find(|backlog| backlog.sink == *name);
        let backlog = backlog.unwrap_or(&none);
        let mut line = format!("{place}: {} events wait", backlog.depth);
        if backlog.depth > 0 {
            line.push_str(&format!(", the oldest for {} s", backlog.oldest.as_secs()));
        }
        line.push_str(&format!(", {} parked", backlog.parked));
        if let Some(words) = running.and_then(|running| running.words(name)) {
            line.push_str(&format!("; {words}"));
        }
        (name.clone(), line)
    };
    sinks.into_iter().map(line).collect()
}
