//! `hookweir show` and `hookweir trace`: one event, and its way.

use std::io::{self, IsTerminal};

use serde::Serialize;

use super::client::{AdminClient, part};
use super::in_lake::{self, InLake};
use super::table::{self, Table};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{EventView, SinkState, SinkView, TraceJob, TraceView};

/// Options of `hookweir show`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ShowOptions {
    #[command(flatten)]
    event: Options,
    /// Print the body as it was received, and nothing else. It is recorded who opens it.
    #[arg(long, conflicts_with = "json")]
    body: bool,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// The provider's id of the event, or its message id.
    #[arg(value_name = "ID")]
    name: String,
    /// Source of the event, if several sources have this id.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn parameters(&self) -> Vec<(&'static str, String)> {
        let source = self.source.clone();
        source
            .map(|source| ("source", source))
            .into_iter()
            .collect()
    }
}

/// Prints the event, or its body.
pub(super) fn show(config: &Config, options: &ShowOptions) -> Result<(), Failure> {
    let client = AdminClient::new(config)?;
    let path = format!("events/{}", part(&options.event.name));
    if options.body {
        let body = client.get_bytes(&format!("{path}/body"), &options.event.parameters())?;
        print_body(&body);
        return Ok(());
    }
    let options = &options.event;
    let event: EventView = client.get(&path, &options.parameters())?;
    if options.json {
        say::out(json(&event)?);
        return Ok(());
    }
    let mut table = Table::new(&["EVENT", event.event_id.as_str()]);
    fields(&event).for_each(|(name, value)| table.row([name.to_owned(), value]));
    for sink in &event.sinks {
        table.row([
            "sink".to_owned(),
            format!("{}: {}", sink.sink, at_sink(sink)),
        ]);
    }
    table.print();
    Ok(())
}

/// Prints a body as it was received, or at a terminal without its control characters.
pub(super) fn print_body(body: &[u8]) {
    match io::stdout().is_terminal() {
        true => say::out(table::printable_lines(&String::from_utf8_lossy(body))),
        false => say::out_bytes(body),
    }
}

/// Way of an event, as JSON.
#[derive(Serialize)]
struct WithLake {
    #[serde(flatten)]
    trace: TraceView,
    #[serde(skip_serializing_if = "Option::is_none")]
    lakehouse: Option<InLake>,
}

/// Prints the way of the event: received, stored, each sink, and the table of the lakehouse.
pub(super) fn trace(config: &Config, options: &Options) -> Result<(), Failure> {
    let client = AdminClient::new(config)?;
    let path = format!("events/{}/trace", part(&options.name));
    let trace: TraceView = client.get(&path, &options.parameters())?;
    let lakehouse = in_lake::find(config, &trace.event);
    if options.json {
        say::out(json(&WithLake { trace, lakehouse })?);
        return Ok(());
    }
    let event = &trace.event;
    let mut table = Table::new(&["TIME", "STEP", "WHAT"]);
    let mut row = |at: Option<&String>, step: &str, what: String| {
        let at = at.map_or("-", String::as_str);
        table.row([at.to_owned(), step.to_owned(), what]);
    };
    let kind = event.event_type.as_deref().unwrap_or("-");
    let what = format!(
        "{} of {}, type {kind}, {} bytes",
        event.event_id, event.source, event.bytes
    );
    row(Some(&event.received_at), "received", what);
    row(None, "verified by", verified_by(event));
    let what = format!("message {}, number {}", event.message_id, trace.number);
    row(None, "stored", what);
    for sink in &event.sinks {
        row(
            sink.since.as_ref(),
            &format!("sink {}", sink.sink),
            at_sink(sink),
        );
    }
    if event.sinks.is_empty() {
        row(
            None,
            "kept",
            "no sink wants this event: its filters leave it out".to_owned(),
        );
    }
    for (at, step, what) in confirms_and_jobs(&trace) {
        row(Some(at), step, what);
    }
    if let Some((at, what)) = lakehouse.as_ref().map(InLake::words) {
        row(at, "lakehouse", what);
    }
    table.print();
    if trace.jobs_unknown {
        say::note(
            "jobs that publish events again are not shown: the service cannot read the table republish_job",
        );
    }
    Ok(())
}

/// Returns confirms whose sink is not known, and jobs that have chosen the event: time, step, and words.
fn confirms_and_jobs(trace: &TraceView) -> Vec<(&String, &'static str, String)> {
    let is_nameless = trace.event.sinks.iter().all(|sink| sink.since.is_none());
    let confirms = trace.confirmed_at.iter().filter(|_| is_nameless);
    let confirms = confirms.map(|at| {
        let what = "by one of the sinks; the store keeps no name with it";
        (at, "confirm", what.to_owned())
    });
    let jobs = trace.chosen_by.iter();
    let jobs = jobs.map(|job| (&job.created_at, "chosen", by_job(job)));
    confirms.chain(jobs).collect()
}

/// Returns the job that has chosen an event, in words.
fn by_job(job: &TraceJob) -> String {
    let sink = job.only_to.as_deref();
    let sink = sink.map_or_else(String::new, |sink| format!(", to sink {sink} only"));
    let doubt = match job.by_state {
        true => ", if it was in the state that the job asks for",
        false => "",
    };
    format!(
        "to be published again, by {}, job {}{sink}{doubt}",
        job.caller, job.id
    )
}

/// Returns the fields of an event, each with its name.
fn fields(event: &EventView) -> impl Iterator<Item = (&'static str, String)> {
    let all = [
        ("source", Some(event.source.clone())),
        ("type", event.event_type.clone()),
        ("message", Some(event.message_id.clone())),
        ("received", Some(event.received_at.clone())),
        ("verified by", Some(verified_by(event))),
        ("bytes", Some(event.bytes.to_string())),
        ("content type", event.content_type.clone()),
        ("state", Some(word(&event.state))),
        ("same id, other body than", event.conflict_of.clone()),
        ("same bytes as", event.same_bytes_as.clone()),
    ];
    all.into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
}

/// Returns the reference of the secret that has verified an event, in words.
fn verified_by(event: &EventView) -> String {
    let unknown = || "not recorded".to_owned();
    event.verified_by.clone().unwrap_or_else(unknown)
}

/// Returns the state at a sink in words, with the next step if the event does not move by itself.
fn at_sink(sink: &SinkView) -> String {
    let attempts = match sink.attempts {
        None | Some(0) => String::new(),
        Some(1) => ", 1 attempt was not confirmed".to_owned(),
        Some(count) => format!(", {count} attempts were not confirmed"),
    };
    match sink.state {
        SinkState::Waiting => match &sink.next_attempt {
            Some(next) => format!("waiting{attempts}, next attempt at {next}"),
            None => format!("waiting{attempts}"),
        },
        SinkState::Parked => format!(
            "parked: {}; `hookweir parked` puts it back",
            sink.reason.as_deref().unwrap_or("no reason was kept")
        ),
        SinkState::Confirmed => "confirmed".to_owned(),
        SinkState::Unknown => "no row waits; no confirm of its own was found".to_owned(),
    }
}

/// Returns the word that stands for a value in JSON.
pub(super) fn word(value: &impl Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.as_ref()
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

/// Returns an answer as one line of JSON.
pub(super) fn json(answer: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer)
        .map_err(|error| Failure::Internal(format!("the answer cannot be printed: {error}")))
}
