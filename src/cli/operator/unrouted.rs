//! `hookweir unrouted`: messages that RabbitMQ has taken although no queue was bound for them.

use super::client::AdminClient;
use super::table::Table;
use super::trace::json;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{
    HELD_MESSAGES, UnroutedChanged, UnroutedDecision, UnroutedList, UnroutedQuestion,
};

/// Answers in a row without a message after which the rest is given up. The broker hands out a message that
/// was put back a moment later.
const EMPTY_ANSWERS: u32 = 3;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Action on unrouted messages.
    #[arg(value_enum, default_value_t = Verb::List)]
    verb: Verb,
    /// Message ids from the list, for retry and discard.
    #[arg(value_name = "ID", conflicts_with = "all")]
    ids: Vec<String>,
    /// All messages that are in the queue now.
    #[arg(long)]
    all: bool,
    /// Name of the sink.
    #[arg(long, value_name = "SINK")]
    sink: Option<String>,
    /// Number of messages in the list, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=24))]
    limit: u16,
    /// Reason, for the record; needed for discard.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print each message of the list as a line of JSON, and the result of a decision as one.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// List messages from the front of the queue. They stay there.
    List,
    /// Send messages to their exchange again. Those that still have no queue come back.
    Retry,
    /// Delete messages for good. Their events stay in the store for store.keep_events_days.
    Discard,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    if options.verb != Verb::List && options.ids.is_empty() && !options.all {
        return Err(Failure::Usage(
            "name the messages by their ids, or say --all; `hookweir unrouted list` lists them"
                .into(),
        ));
    }
    let client = AdminClient::new(config)?;
    match options.verb {
        Verb::List => list(&client, options),
        Verb::Retry => {
            let (done, left) = decide(&client, options, "unrouted/retry")?;
            tell(options, "sent to the exchange", &done)?;
            all_there(options, &done, left)
        }
        Verb::Discard => {
            let (done, left) = decide(&client, options, "unrouted/discard")?;
            tell(options, "discarded", &done)?;
            all_there(options, &done, left)
        }
    }
}

fn look(client: &AdminClient, options: &Options, limit: usize) -> Result<UnroutedList, Failure> {
    let question = UnroutedQuestion {
        sink: options.sink.clone(),
        limit: Some(limit),
    };
    client.get("unrouted", &question.parameters())
}

fn list(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let found = look(client, options, usize::from(options.limit))?;
    let listed = found.messages.len() as u64;
    let mut table = Table::new(&["ROUTING KEY", "SOURCE", "EVENT", "BYTES", "ID"]);
    for message in found.messages {
        if options.json {
            say::out(json(&message)?);
        } else {
            table.row([
                message.routing_key,
                message.source.unwrap_or_default(),
                message.event_id.unwrap_or_default(),
                message.bytes.to_string(),
                message.message_id,
            ]);
        }
    }
    table.print();
    match found.waiting {
        0 => say::note(format_args!("{} is empty", found.queue)),
        waiting if waiting > listed => say::note(format_args!(
            "the first {listed} of {waiting} in {}",
            found.queue
        )),
        waiting => say::note(format_args!("{waiting} in {}", found.queue)),
    }
    Ok(())
}

/// Has the service carry out a decision: on the messages that are named, or on as many as are in the queue
/// now. Returns the number of those that were not handed out, too.
fn decide(
    client: &AdminClient,
    options: &Options,
    path: &str,
) -> Result<(UnroutedChanged, u64), Failure> {
    let decision = |ids: &[String], first| UnroutedDecision {
        sink: options.sink.clone(),
        ids: ids.to_vec(),
        first,
        reason: options.reason.clone(),
    };
    let mut done = UnroutedChanged {
        count: 0,
        waiting: 0,
        refused: None,
    };
    for ids in options.ids.chunks(HELD_MESSAGES) {
        done = after(done, client.post(path, &decision(ids, None)))?;
    }
    let mut left = match options.all {
        true => look(client, options, 1)?.waiting,
        false => 0,
    };
    let mut empty = 0;
    while left > 0 && empty < EMPTY_ANSWERS && done.refused.is_none() {
        let first = HELD_MESSAGES.min(usize::try_from(left).unwrap_or(HELD_MESSAGES));
        let before = done.count;
        done = after(done, client.post(path, &decision(&[], Some(first))))?;
        let step = done.count - before;
        left = left.saturating_sub(step);
        empty = if step == 0 { empty + 1 } else { 0 };
        if left > 0 && step > 0 && !options.json {
            say::note(format_args!("{} done, {left} left", done.count));
        }
    }
    Ok((done, left))
}

/// Returns the results of all requests so far. Before an error, says how many messages were done.
fn after(
    done: UnroutedChanged,
    next: Result<UnroutedChanged, Failure>,
) -> Result<UnroutedChanged, Failure> {
    let next = next.inspect_err(|_| {
        if done.count > 0 {
            say::note(format_args!("{} were done before this", done.count));
        }
    })?;
    Ok(UnroutedChanged {
        count: done.count + next.count,
        ..next
    })
}

/// Says what was done, and what to do about the messages that are in the queue now.
fn tell(options: &Options, word: &str, done: &UnroutedChanged) -> Result<(), Failure> {
    if options.json {
        say::out(json(done)?);
    } else {
        say::out(format_args!("{} {word}", done.count));
    }
    if done.waiting > 0 {
        say::note(format_args!(
            "{} are in the queue now; those that were sent and are there again have no queue bound: `hookweir unrouted list` shows their routing keys",
            done.waiting
        ));
    }
    Ok(())
}

/// Fails if the broker refused messages, did not hand out some, or some that were named are not in the queue.
fn all_there(options: &Options, done: &UnroutedChanged, left: u64) -> Result<(), Failure> {
    if let Some(why) = &done.refused {
        return Err(Failure::Unreachable(format!(
            "the broker did not take all of them: {why}; they are in the queue again"
        )));
    }
    if left > 0 {
        return Err(Failure::Unreachable(format!(
            "{left} were not handed out by the broker, and are in the queue or held by another consumer: ask again"
        )));
    }
    match options.ids.len() as u64 {
        wanted if done.count < wanted => Err(Failure::Usage(format!(
            "{} of {wanted} are not among the first {HELD_MESSAGES} of the queue (any more): list again; a look may move messages",
            wanted - done.count
        ))),
        _ => Ok(()),
    }
}
