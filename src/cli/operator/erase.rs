//! `hookweir erase`: bodies and headers of events, gone from store, spool, quarantine and event files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::client::AdminClient;
use super::times;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::config::model::PublisherUrl;
use crate::operate::{EraseOrder, ErasePlace, EraseView};
use crate::publish::sinks::file::erase_lines;
use crate::store::catalog::PAGE;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Provider's ids or message ids.
    #[arg(
        value_name = "ID",
        required_unless_present = "subject",
        conflicts_with = "subject"
    )]
    ids: Vec<String>,
    /// Source of the events.
    #[arg(long, value_name = "NAME", required_unless_present = "files_only")]
    source: Option<String>,
    /// Events whose JSON body has this value at this JSON pointer, such as /data/customer=cus_1; every body is read.
    #[arg(long, value_name = "POINTER=VALUE", value_parser = subject)]
    subject: Option<(String, String)>,
    /// With --subject: events received at this time or later: a time, a day, or how long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = times::parse, requires = "subject")]
    from: Option<String>,
    /// With --subject: events received before this time.
    #[arg(long, value_name = "TIME", value_parser = times::parse, requires = "subject")]
    to: Option<String>,
    /// Erase: without it, nothing is erased.
    #[arg(long, requires = "reason")]
    start: bool,
    /// Only take these message ids out of the event files of this machine, which the service has closed meanwhile.
    #[arg(long, conflicts_with_all = ["source", "subject"])]
    files_only: bool,
    /// Reason, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

fn subject(text: &str) -> Result<(String, String), &'static str> {
    let parts = text
        .split_once('=')
        .filter(|(pointer, _)| pointer.starts_with('/'));
    let (pointer, value) = parts.ok_or("give a JSON pointer and a value: /data/customer=cus_1")?;
    Ok((pointer.to_owned(), value.to_owned()))
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    if options.files_only {
        let messages = options.ids.iter().cloned().collect();
        return in_files(config, &messages);
    }
    let client = AdminClient::new(config)?;
    let mut found = Found::default();
    for place in [ErasePlace::Spool, ErasePlace::Store, ErasePlace::Quarantine] {
        in_place(&client, options, place, &mut found)?;
    }
    let Found {
        messages, refused, ..
    } = &found;
    if !options.start {
        say::out(format_args!(
            "{} events would be erased, and {refused} refused deliveries",
            messages.len()
        ));
        say::note("nothing was erased; --start with a --reason erases");
        return Ok(());
    }
    say::out(format_args!(
        "{} events erased from the store, with their conflicts; their keys stay: a redelivery is a duplicate",
        found.in_store
    ));
    if config.spool.path.is_some() {
        say::out(format_args!(
            "{} events erased from the spool of this instance; the store has their keys",
            found.in_spool
        ));
    }
    say::out(format_args!(
        "{} refused deliveries erased from the quarantine",
        found.in_quarantine
    ));
    in_files(config, messages)?;
    name_the_rest(config, messages);
    Ok(())
}

/// Events and refused deliveries that were found, and the numbers of erased ones.
#[derive(Default)]
struct Found {
    messages: BTreeSet<String>,
    event_ids: BTreeSet<String>,
    refused: usize,
    in_store: u64,
    in_spool: u64,
    in_quarantine: u64,
}

/// Has the service erase in one place, page by page.
fn in_place(
    client: &AdminClient,
    options: &Options,
    place: ErasePlace,
    found: &mut Found,
) -> Result<(), Failure> {
    let (pointer, value) = options.subject.clone().unzip();
    let mut order = EraseOrder {
        source: options.source.clone().unwrap_or_default(),
        place,
        pointer,
        value,
        from: options.from.clone(),
        to: options.to.clone(),
        start: options.start,
        reason: options.reason.clone(),
        ..EraseOrder::default()
    };
    let mut ids: Vec<String> = options.ids.clone();
    if place == ErasePlace::Quarantine && !ids.is_empty() {
        // A refused delivery has the provider's id, and no message id.
        ids.extend(found.event_ids.iter().cloned());
        ids.sort_unstable();
        ids.dedup();
    }
    let pages: Vec<&[String]> = match ids.as_slice() {
        [] => vec![&[]],
        ids => ids.chunks(PAGE).collect(),
    };
    for ids in pages {
        order.ids = ids.to_vec();
        loop {
            let answer: EraseView = client.post("erase", &order)?;
            order.before = answer.next.clone();
            found.take(place, answer);
            if order.before.is_none() {
                break;
            }
        }
    }
    Ok(())
}

impl Found {
    /// Counts an answer, and prints it.
    fn take(&mut self, place: ErasePlace, answer: EraseView) {
        match place {
            ErasePlace::Store => self.in_store += answer.erased,
            ErasePlace::Spool => self.in_spool += answer.erased,
            ErasePlace::Quarantine => self.in_quarantine += answer.erased,
        }
        for event in answer.events {
            say::out(format_args!(
                "{}  {}  {}",
                event.received_at,
                event.message_id,
                event.event_id.escape_debug()
            ));
            self.messages.insert(event.message_id);
            self.event_ids.insert(event.event_id);
        }
        for refused in answer.refused {
            let (at, number) = (refused.received_at, refused.number);
            say::out(format_args!("{at}  refused delivery {number}"));
            self.refused += 1;
        }
        for id in answer.without_key {
            say::warning(format_args!(
                "the store refuses the key of {}: a redelivery of it is an event again",
                id.escape_debug()
            ));
        }
        for id in answer.unknown {
            say::note(format_args!(
                "no stored event of this source has the id {}",
                id.escape_debug()
            ));
        }
    }
}

/// Takes the messages out of the event files of this machine.
fn in_files(config: &Config, messages: &BTreeSet<String>) -> Result<(), Failure> {
    for sink in &config.sinks {
        let PublisherUrl::File(folder) = &sink.url else {
            continue;
        };
        if messages.is_empty() || !folder.is_dir() {
            continue;
        }
        let erased = erase_lines(folder, messages).map_err(|error| {
            Failure::Unreachable(format!(
                "{}: {error}; repeat with `hookweir erase --files-only` and the message ids",
                folder.display()
            ))
        })?;
        say::out(format_args!(
            "{} lines taken out of {}",
            erased.gone,
            folder.display()
        ));
        if let Some(newest) = erased.newest {
            let ids: Vec<&str> = messages.iter().map(String::as_str).collect();
            say::warning(format_args!(
                "{} lines are left in {}, which the service writes to; once a newer file is there: hookweir erase --files-only {}",
                erased.left,
                newest.display(),
                ids.join(" ")
            ));
        }
    }
    Ok(())
}

/// Names the places that are not reached.
fn name_the_rest(config: &Config, messages: &BTreeSet<String>) {
    for sink in &config.sinks {
        let place = match &sink.url {
            PublisherUrl::File(_) => continue,
            PublisherUrl::Amqp(_) => "queues of RabbitMQ",
            PublisherUrl::Kafka(_) => "topics of Kafka",
        };
        say::note(format_args!(
            "not reached: {place} of sink {}, and their consumers: they have what was published",
            sink.name
        ));
    }
    if let Some(spool) = &config.spool.path {
        say::note(
            "not reached: the spools of other instances; repeat the command on each of their machines",
        );
        for aside in set_aside(spool) {
            say::note(format_args!(
                "not reached: {}, a broken spool that was set aside; recover its events or delete it",
                aside.display()
            ));
        }
    }
    if !messages.is_empty() {
        let ids: Vec<String> = messages.iter().map(|id| format!("--id {id}")).collect();
        say::note(format_args!(
            "not reached: rows of the lakehouse; once no event file has them: hookweir lakehouse erase {}",
            ids.join(" ")
        ));
    }
    say::note(
        "not reached: backups, and events that the store has no more (store.keep_events_days): `hookweir lakehouse erase --subject` finds their rows, \
         in all sources. Free pages of the database are overwritten in their time, or by VACUUM",
    );
}

/// Returns broken spools that were set aside.
fn set_aside(spool: &Path) -> Vec<PathBuf> {
    let name = spool.file_name().unwrap_or_default().to_string_lossy();
    let begin = format!("{name}.broken-");
    let files = spool.parent().and_then(|folder| folder.read_dir().ok());
    let files = files.into_iter().flatten().flatten();
    let mut aside: Vec<PathBuf> = files
        .filter(|file| file.file_name().to_string_lossy().starts_with(&begin))
        .map(|file| file.path())
        .collect();
    aside.sort_unstable();
    aside
}
