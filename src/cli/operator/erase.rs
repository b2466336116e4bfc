//! `hookweir erase`: bodies and headers of events, gone from store, conflicts and event files.

use std::collections::BTreeSet;

use super::client::AdminClient;
use super::times;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::config::model::PublisherUrl;
use crate::operate::{EraseOrder, EraseView};
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
    let (messages, erased) = in_store(&client, options)?;
    if !options.start {
        say::out(format_args!("{} events would be erased", messages.len()));
        say::note("nothing was erased; --start with a --reason erases");
        return Ok(());
    }
    say::out(format_args!(
        "{erased} events erased from the store, with their conflicts; their keys stay: a redelivery is a duplicate"
    ));
    in_files(config, &messages)?;
    name_the_rest(config);
    Ok(())
}

/// Has the service erase, page by page. Returns the message ids, and the number of erased events.
fn in_store(client: &AdminClient, options: &Options) -> Result<(BTreeSet<String>, u64), Failure> {
    let (mut messages, mut erased) = (BTreeSet::new(), 0);
    let (pointer, value) = options.subject.clone().unzip();
    let mut order = EraseOrder {
        source: options.source.clone().unwrap_or_default(),
        pointer,
        value,
        from: options.from.clone(),
        to: options.to.clone(),
        start: options.start,
        reason: options.reason.clone(),
        ..EraseOrder::default()
    };
    let pages: Vec<&[String]> = match options.ids.as_slice() {
        [] => vec![&[]],
        ids => ids.chunks(PAGE).collect(),
    };
    for ids in pages {
        order.ids = ids.to_vec();
        loop {
            let answer: EraseView = client.post("erase", &order)?;
            erased += answer.erased;
            for event in answer.events {
                say::out(format_args!(
                    "{}  {}  {}",
                    event.received_at,
                    event.message_id,
                    event.event_id.escape_debug()
                ));
                messages.insert(event.message_id);
            }
            for id in answer.unknown {
                say::note(format_args!(
                    "no stored event of this source has the id {}",
                    id.escape_debug()
                ));
            }
            order.before = answer.next;
            if order.before.is_none() {
                break;
            }
        }
    }
    Ok((messages, erased))
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
fn name_the_rest(config: &Config) {
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
    if let Some(spool) = config.spool.path.as_ref().filter(|spool| spool.exists()) {
        say::note(format_args!(
            "not reached: events in the spool of each machine, here {}, that PostgreSQL has not taken yet; repeat the command once /readyz names none",
            spool.display()
        ));
    }
    say::note(
        "not reached: backups, refused deliveries (`hookweir quarantine`), and the table of the lakehouse: `hookweir lakehouse erase --id MESSAGE_ID` or --subject. Free pages of the database \
         are overwritten in their time, or by VACUUM",
    );
}
