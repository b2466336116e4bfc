//! `hookweir parked`: events that were given up (dead letters), in the store and in this machine's spool.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Failure, say};
use crate::config::Config;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::store::{
    self, AuditAction, AuditEntry, Parked, Seq, SpoolFile, Store, StoreError, StoredEvent,
};

/// Rows that are read, and changed, at a time.
const PAGE: usize = 500;
/// Rows of a place that are listed unless all are asked for.
const LISTED: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Action on parked events.
    #[arg(value_enum, default_value_t = Verb::List)]
    verb: Verb,
    /// Ids from the list, such as store:17 or spool:3.
    #[arg(value_name = "ID", conflicts_with = "all")]
    ids: Vec<String>,
    /// All parked events, in the store and in the spool.
    #[arg(long)]
    all: bool,
    /// Reason, for the record (table audit); needed for discard.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// List parked events with the reason of each, the first hundred of each place unless --all is given.
    List,
    /// Print parked events with their bodies.
    Show,
    /// Put events back: from the store they are published again, from the spool they are moved into the store again.
    Retry,
    /// Delete events for good.
    Discard,
}

impl Options {
    /// Refuses what is not meant, before anything is done.
    fn check(&self, places: &[Place]) -> Result<(), Failure> {
        if self.verb == Verb::Discard
            && self
                .reason
                .as_deref()
                .is_none_or(|reason| reason.trim().is_empty())
        {
            return Err(Failure::Usage(
                "discard deletes events for good: give a --reason".into(),
            ));
        }
        for id in &self.ids {
            parse(id)?;
        }
        if self.verb == Verb::List || self.all || !self.ids.is_empty() {
            return Ok(());
        }
        let mut count = 0;
        for place in places {
            place
                .every(|_| count += 1)
                .map_err(|error| Failure::Unreachable(format!("{}: {error}", place.name())))?;
        }
        Err(Failure::Usage(format!(
            "name the events by their ids, or say --all; {count} are parked"
        )))
    }
}

/// A place in which events are parked.
enum Place {
    /// Of a sink.
    Store(Arc<dyn Store>, SinkName),
    Spool(Box<SpoolFile>),
}

impl Place {
    fn name(&self) -> Cow<'static, str> {
        match self {
            Self::Store(_, sink) if *sink == SinkName::default() => "store".into(),
            Self::Store(_, sink) => format!("store/{sink}").into(),
            Self::Spool(_) => "spool".into(),
        }
    }

    fn page(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        match self {
            Self::Store(store, sink) => store.parked(sink, after, limit),
            Self::Spool(spool) => spool.parked(after, limit),
        }
    }

    fn event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError> {
        match self {
            Self::Store(store, _) => store.parked_event(row),
            Self::Spool(spool) => spool.parked_event(row),
        }
    }

    fn retry(&self, rows: &[Seq], reason: Option<&str>) -> Result<u64, StoreError> {
        match self {
            Self::Store(store, sink) => {
                let entry = entry(AuditAction::RetryParked, (sink, rows), reason);
                store.put_back(sink, rows, &entry)
            }
            Self::Spool(spool) => spool.retry_parked(rows),
        }
    }

    fn discard(&self, rows: &[Seq], reason: Option<&str>) -> Result<u64, StoreError> {
        match self {
            Self::Store(store, sink) => {
                let entry = entry(AuditAction::DiscardParked, (sink, rows), reason);
                store.give_up(sink, rows, &entry)
            }
            Self::Spool(spool) => spool.discard_parked(rows),
        }
    }

    /// All that is parked here, page by page.
    fn every(&self, mut each: impl FnMut(Parked)) -> Result<(), StoreError> {
        let mut after = Seq(i64::MIN);
        loop {
            let page = self.page(after, PAGE)?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.seq;
            page.into_iter().for_each(&mut each);
        }
    }
}

/// Returns the entry of a change in the record. This command is no instance: the entry has an id of its own.
fn entry(
    action: AuditAction,
    (sink, rows): (&SinkName, &[Seq]),
    reason: Option<&str>,
) -> AuditEntry {
    let numbers: Vec<String> = rows.iter().map(|row| row.0.to_string()).collect();
    let user = rustix::process::geteuid().as_raw();
    AuditEntry {
        instance: InstanceId::random(),
        caller: format!("user {user}, process {}", std::process::id()),
        action,
        subject: format!("parked for sink {sink}: {}", numbers.join(", ")),
        count: 0,
        reason: reason.map(str::to_owned),
    }
}

/// The places of a configuration, and what is wrong with those that cannot be used.
fn places(config: &Config) -> (Vec<Place>, Vec<String>) {
    let (mut places, mut out_of_reach) = (Vec::new(), Vec::new());
    let in_store = |store: Arc<dyn Store>| {
        let sinks = store.backlog()?.into_iter().map(|backlog| backlog.sink);
        Ok(sinks
            .map(|sink| Place::Store(store.clone(), sink))
            .collect())
    };
    match store::open(&config.store, 1).and_then(in_store) {
        Ok(of_sinks) => places = of_sinks,
        Err(error) => out_of_reach.push(format!("{}: {error}", config.store.url)),
    }
    // Nothing is made by looking.
    if let Some(path) = config.spool.path.as_ref().filter(|path| path.exists()) {
        match SpoolFile::visit(path) {
            Ok(spool) => places.push(Place::Spool(Box::new(spool))),
            Err(error) => out_of_reach.push(error.text().to_owned()),
        }
    }
    (places, out_of_reach)
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let (places, mut out_of_reach) = places(config);
    options.check(&places)?;
    let mut done = 0;
    for place in &places {
        match apply(place, options) {
            Ok(count) => done += count,
            Err(error) => out_of_reach.push(format!("{}: {error}", place.name())),
        }
    }
    say::note(match options.verb {
        Verb::List if done == 0 => "nothing is parked".to_owned(),
        Verb::List => {
            format!(
                "{done} parked; `hookweir parked retry ID...` puts events back, `hookweir parked discard ID...` deletes them"
            )
        }
        Verb::Show => format!("{done} shown"),
        Verb::Retry => format!("{done} put back; a running service takes them within seconds"),
        Verb::Discard => format!("{done} discarded"),
    });
    if !out_of_reach.is_empty() {
        return Err(Failure::Unreachable(format!(
            "not all parked events were looked at: {}",
            out_of_reach.join("; ")
        )));
    }
    match options.ids.len() as u64 {
        wanted if done < wanted && options.verb != Verb::List => Err(Failure::Usage(format!(
            "{} of {wanted} ids are not parked (any more)",
            wanted - done
        ))),
        _ => Ok(()),
    }
}

/// Place and number of an id.
fn parse(id: &str) -> Result<(&str, Seq), Failure> {
    let parts = id.split_once(':').filter(|(place, _)| {
        ["store", "spool"].contains(place)
            || place
                .strip_prefix("store/")
                .is_some_and(|sink| SinkName::parse(sink).is_ok())
    });
    parts
        .and_then(|(place, number)| Some((place, Seq(number.parse().ok()?))))
        .ok_or_else(|| {
            Failure::Usage(format!(
                "\"{}\" is no id of a parked event: those are store:NUMBER, store/SINK:NUMBER and spool:NUMBER",
                id.escape_debug()
            ))
        })
}

/// Returns the parked events of `place` that the options name, each with its line.
fn chosen(place: &Place, options: &Options) -> Result<Vec<(Seq, String)>, StoreError> {
    let wanted: Vec<Seq> = options
        .ids
        .iter()
        .filter_map(|id| parse(id).ok())
        .filter(|id| id.0 == place.name())
        .map(|id| id.1)
        .collect();
    let everything = options.all || (options.verb == Verb::List && options.ids.is_empty());
    let mut chosen = Vec::new();
    // What is parked from now on is not meant.
    place.every(|parked| {
        if everything || wanted.contains(&parked.seq) {
            chosen.push((parked.seq, line(place, &parked)));
        }
    })?;
    Ok(chosen)
}

/// Applies the action to the chosen events of `place`. Returns the number of events.
fn apply(place: &Place, options: &Options) -> Result<u64, StoreError> {
    let chosen = chosen(place, options)?;
    if options.verb == Verb::List {
        list(place, options, &chosen);
        return Ok(chosen.len() as u64);
    }
    let mut done = 0;
    for page in chosen.chunks(PAGE) {
        let rows: Vec<Seq> = page.iter().map(|(seq, _)| *seq).collect();
        let label = match options.verb {
            Verb::List | Verb::Show => {
                for (row, line) in page {
                    show(place, *row, line)?;
                }
                done += rows.len() as u64;
                continue;
            }
            Verb::Retry => {
                done += place.retry(&rows, options.reason.as_deref())?;
                "put back".to_owned()
            }
            Verb::Discard => {
                done += place.discard(&rows, options.reason.as_deref())?;
                let reason = options.reason.as_deref().unwrap_or_default();
                format!("discarded ({reason})")
            }
        };
        for (_, line) in page {
            say::out(format_args!("{label}  {line}"));
        }
    }
    Ok(done)
}

fn list(place: &Place, options: &Options, chosen: &[(Seq, String)]) {
    let shown = if options.all { chosen.len() } else { LISTED };
    for (_, line) in chosen.iter().take(shown) {
        say::out(line);
    }
    if chosen.len() > shown {
        say::note(format_args!(
            "{} more in the {}; --all lists them",
            chosen.len() - shown,
            place.name()
        ));
    }
}

fn line(place: &Place, parked: &Parked) -> String {
    let at = jiff::Timestamp::from_millisecond(parked.at.0).unwrap_or_default();
    format!(
        "{}:{}  {at:.0}  {}  {}  {}  message {}  {} bytes  {}",
        place.name(),
        parked.seq.0,
        parked.source,
        parked.event_id.escape_debug(),
        parked.event_type.as_deref().unwrap_or("-").escape_debug(),
        parked.message_id,
        parked.bytes,
        parked.reason.escape_debug()
    )
}

/// Prints an event: its line, its headers, its body.
fn show(place: &Place, row: Seq, line: &str) -> Result<(), StoreError> {
    let Some(stored) = place.event(row)? else {
        return Ok(());
    };
    say::out(line);
    for (name, value) in &stored.event.headers {
        say::out(format_args!(
            "{}: {}",
            name.escape_debug(),
            value.escape_debug()
        ));
    }
    say::out(format_args!(
        "\n{}",
        String::from_utf8_lossy(&stored.event.body)
    ));
    Ok(())
}
