//! `hookweir events`: stored events, the newest first.

use super::client::AdminClient;
use super::table::Table;
use super::times;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{EventList, EventQuestion, EventView};
use crate::store::catalog::{LOOK, PAGE};

/// Pages after which a line says how far the search is.
const PROGRESS: usize = 20;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Events of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Events with this id of the provider.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The event with this message id.
    #[arg(long, value_name = "UUID")]
    message: Option<String>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Events received at this time or later: a time, a day, or how long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    from: Option<String>,
    /// Events received before this time.
    #[arg(long, value_name = "TIME", value_parser = times::parse)]
    to: Option<String>,
    /// Events in this state; with --sink, the state there.
    #[arg(long, value_name = "STATE", value_parser = ["waiting", "parked", "published"])]
    state: Option<String>,
    /// Events that wait for this sink, or are parked by it.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// Events after this position, the oldest first: the number of the event, a dash and eight digits, or 0.
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// Number of events, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print each event as a line of JSON.
    #[arg(long)]
    json: bool,
}

impl Options {
    fn question(&self) -> EventQuestion {
        EventQuestion {
            source: self.source.clone(),
            event_id: self.id.clone(),
            message_id: self.message.clone(),
            event_type: self.event_type.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            state: self.state.clone(),
            sink: self.sink.clone(),
            before: None,
            after: self.after.clone(),
            wait_ms: None,
            limit: None,
        }
    }
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let client = AdminClient::new(config)?;
    let mut question = options.question();
    let mut table = Table::new(&["RECEIVED", "SOURCE", "ID", "TYPE", "STATE", "MESSAGE"]);
    let mut left = usize::try_from(options.limit).unwrap_or(usize::MAX);
    let mut pages = 0;
    let next = loop {
        question.limit = Some(left.min(PAGE));
        let page: EventList = client.get("events", &question.parameters())?;
        left = left.saturating_sub(page.events.len());
        for event in &page.events {
            if options.json {
                say::out(json(event)?);
            } else {
                table.row(cells(event));
            }
        }
        if page.after_deleted {
            say::note(format_args!(
                "events behind {} may have been deleted (store.keep_events_days) before they were read",
                question.after.as_deref().unwrap_or_default()
            ));
        }
        pages += 1;
        if left == 0 || !go_on(&mut question, &page) {
            break page.next;
        }
        if pages % PROGRESS == 0 {
            say::note(format_args!("about {} events read so far", pages * LOOK));
        }
    };
    table.print();
    let wanted = usize::try_from(options.limit).unwrap_or(usize::MAX);
    note_end(options, left == wanted, next);
    Ok(())
}

/// Makes `question` one for the page after `page`. Returns `false` if there is none.
fn go_on(question: &mut EventQuestion, page: &EventList) -> bool {
    let is_cursor = question.after.is_some();
    let place = match is_cursor {
        true => &mut question.after,
        false => &mut question.before,
    };
    place.clone_from(&page.next);
    page.more
}

/// Says how to go on.
fn note_end(options: &Options, is_empty: bool, next: Option<String>) {
    match next {
        Some(next) if options.after.is_some() => {
            say::note(format_args!("events that come later: --after {next}"));
        }
        _ if is_empty => {
            say::note("no event fits; `hookweir sources` shows deliveries that were refused");
        }
        Some(_) => say::note("older events may fit, too; --limit and --to show them"),
        None => {}
    }
}

fn cells(event: &EventView) -> [String; 6] {
    [
        event.received_at.clone(),
        event.source.clone(),
        event.event_id.clone(),
        event.event_type.clone().unwrap_or_else(|| "-".to_owned()),
        state(event),
        event.message_id.clone(),
    ]
}

/// Returns the state, with the sinks that decide on it.
fn state(event: &EventView) -> String {
    let word = super::trace::word(&event.state);
    let sinks: Vec<&str> = event.sinks.iter().map(|sink| sink.sink.as_str()).collect();
    match sinks[..] {
        [] | ["default"] => word,
        _ => format!("{word} ({})", sinks.join(", ")),
    }
}

fn json(event: &EventView) -> Result<String, Failure> {
    super::trace::json(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rare_event_is_listed_to_the_end_though_others_keep_coming() {
        let page = |next: &str, more| EventList {
            events: Vec::new(),
            next: Some(next.to_owned()),
            more,
            after_deleted: false,
        };
        let mut question = EventQuestion {
            after: Some("0".to_owned()),
            ..EventQuestion::default()
        };
        assert!(go_on(&mut question, &page("10000-00000000", true)));
        assert_eq!(question.after.as_deref(), Some("10000-00000000"));
        let others = page("10005-00000000", false);
        assert!(!go_on(&mut question, &others), "all were read");
    }
}
