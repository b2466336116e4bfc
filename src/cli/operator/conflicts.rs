//! `hookweir conflicts`: other bodies that came under a known id.

use super::client::{AdminClient, part};
use super::table::Table;
use super::trace::{json, print_body};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{Changed, ConflictList, Decision, ParkedQuestion, SentBack};
use crate::store::catalog::PAGE;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Action on conflicts.
    #[arg(value_enum, default_value_t = Verb::List)]
    verb: Verb,
    /// Names from the list, for show, send-back and discard.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Number of conflicts in the list, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Reason, for the record; needed for discard.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Print each conflict of the list as a line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Verb {
    /// List conflicts, the newest first.
    List,
    /// Print the body of each as it was received. It is recorded who opens it.
    Show,
    /// Publish each as a message of its own, with the mark x-hookweir-conflict-of.
    SendBack,
    /// Delete conflicts for good. The event that came first stays.
    Discard,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    if options.verb != Verb::List && options.ids.is_empty() {
        return Err(Failure::Usage(
            "name the conflicts by their ids; `hookweir conflicts` lists them".into(),
        ));
    }
    let client = AdminClient::new(config)?;
    match options.verb {
        Verb::List => list(&client, options),
        Verb::Show => {
            for id in &options.ids {
                let body = client.get_bytes(&format!("conflicts/{}/body", part(id)), &[])?;
                print_body(&body);
            }
            Ok(())
        }
        Verb::SendBack => send_back(&client, options),
        Verb::Discard => discard(&client, options),
    }
}

fn list(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let mut question = ParkedQuestion::default();
    let mut table = Table::new(&["RECEIVED", "SOURCE", "EVENT", "BYTES", "ID"]);
    let mut left = usize::try_from(options.limit).unwrap_or(usize::MAX);
    loop {
        question.limit = Some(left.min(PAGE));
        let page: ConflictList = client.get("conflicts", &question.parameters())?;
        left = left.saturating_sub(page.conflicts.len());
        for found in page.conflicts {
            if options.json {
                say::out(json(&found)?);
            } else {
                let bytes = found.bytes.to_string();
                table.row([
                    found.received_at,
                    found.source,
                    found.event_id,
                    bytes,
                    found.id,
                ]);
            }
        }
        question.after = page.next;
        if question.after.is_none() || left == 0 {
            break;
        }
    }
    table.print();
    if question.after.is_some() {
        say::note("there are older ones, too; --limit shows them");
    } else if left == usize::try_from(options.limit).unwrap_or(usize::MAX) {
        say::note("there are no conflicts");
    }
    Ok(())
}

/// Has the service publish the conflicts.
fn send_back(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let (mut now, mut before) = (0, 0);
    let mut rest = &options.ids[..];
    while !rest.is_empty() {
        let ids = rest.split_at(rest.len().min(STEP)).0;
        let sent = client.post("conflicts/send-back", &decision(options, ids));
        let sent: SentBack = sent.inspect_err(|_| tell_before_error(now, before))?;
        now += sent.count;
        before += sent.before;
        let looked = ids.len().saturating_sub(sent.left).max(1);
        rest = rest.split_at(looked).1;
    }
    tell(now, before);
    all_there(options, now + before)
}

/// Conflicts that are sent back in one request.
const STEP: usize = 20;

/// Says how many conflicts were sent back before the request that failed.
fn tell_before_error(now: u64, before: u64) {
    if now + before > 0 {
        tell(now, before);
    }
}

/// Says how many conflicts were sent back.
fn tell(now: u64, before: u64) {
    say::out(format_args!("{now} sent back"));
    if before > 0 {
        say::note(format_args!(
            "{before} had been sent back before, and were not published again"
        ));
    }
}

/// Has the service delete the conflicts.
fn discard(client: &AdminClient, options: &Options) -> Result<(), Failure> {
    let mut gone = 0;
    for ids in options.ids.chunks(PAGE) {
        let changed: Changed = client.post("conflicts/discard", &decision(options, ids))?;
        gone += changed.count;
    }
    say::out(format_args!("{gone} discarded"));
    all_there(options, gone)
}

fn decision(options: &Options, ids: &[String]) -> Decision {
    Decision {
        ids: ids.to_vec(),
        reason: options.reason.clone(),
        ..Decision::default()
    }
}

/// Fails if some of the conflicts were not in the list.
fn all_there(options: &Options, found: u64) -> Result<(), Failure> {
    match options.ids.len() as u64 {
        wanted if found < wanted => Err(Failure::Usage(format!(
            "{} of {wanted} are not there (any more)",
            wanted - found
        ))),
        _ => Ok(()),
    }
}
