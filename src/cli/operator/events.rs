//! `hookweir events`: stored events, the newest first.

use super::client::AdminClient;
use super::event_search;
use super::table::Table;
use super::times;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{EventList, EventQuestion, EventView, SearchQuestion};
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
    /// Events with this text in their bodies, with the same case. Every body that fits the rest is read, and the search is recorded.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["id", "message", "state", "sink", "after"])]
    search: Option<String>,
    /// Number of events, at most.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Print each event as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Events that are printed as they come, or as a table at the end.
pub(super) struct Listing {
    /// Number of events that are still wanted.
    pub(super) left: usize,
    is_json: bool,
    table: Table,
}

impl Listing {
    fn new(options: &Options) -> Self {
        Self {
            left: usize::try_from(options.limit).unwrap_or(usize::MAX),
            is_json: options.json,
            table: Table::new(&["RECEIVED", "SOURCE", "ID", "TYPE", "STATE", "MESSAGE"]),
        }
    }

    /// Takes a page.
    pub(super) fn take(&mut self, events: &[EventView]) -> Result<(), Failure> {
        self.left = self.left.saturating_sub(events.len());
        for event in events {
            if self.is_json {
                say::out(json(event)?);
            } else {
                self.table.row(cells(event));
            }
        }
        Ok(())
    }

    /// Prints the table.
    pub(super) fn print(self) {
        self.table.print();
    }
}

impl Options {
    /// Returns the search for a text, if one is given.
    fn search(&self) -> Option<SearchQuestion> {
        Some(SearchQuestion {
            contains: self.search.clone()?,
            source: self.source.clone(),
            event_type: self.event_type.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            before: None,
            limit: None,
        })
    }

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
    let mut listing = Listing::new(options);
    if let Some(search) = options.search() {
        return event_search::run(&client, search, listing);
    }
    let mut question = options.question();
    let wanted = listing.left;
    let mut pages = 0;
    let next = loop {
        question.limit = Some(listing.left.min(PAGE));
        let page: EventList = client.get("events", &question.parameters())?;
        listing.take(&page.events)?;
        if page.after_deleted {
            say::note(format_args!(
                "events behind {} may have been deleted (store.keep_events_days) before they were read",
                question.after.as_deref().unwrap_or_default()
            ));
        }
        pages += 1;
        if listing.left == 0 || !go_on(&mut question, &page) {
            break page.next;
        }
        if pages % PROGRESS == 0 {
            say::note(format_args!("about {} events read so far", pages * LOOK));
        }
    };
    let is_empty = listing.left == wanted;
    listing.print();
    note_end(options, is_empty, next);
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
