//! `hookweir tail`: events as they are stored.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use super::client::AdminClient;
use super::trace::json;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{EventList, EventQuestion, EventView};
use crate::store::catalog::PAGE;

/// Interval between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// Pages that one look reads. What came beyond them is not shown.
const PAGES: usize = 4;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Events of this source.
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// End after so many events.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// Print each event as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// Events that were read, by their message ids.
#[derive(Default)]
struct Follower {
    seen: HashSet<String>,
    /// Ids of the last look. Looks overlap: an event that was committed late has a number among
    /// those that were seen.
    read: HashSet<String>,
    begun: bool,
}

/// New events of a look, the oldest first.
struct News {
    events: Vec<EventView>,
    /// More events came than a look reads.
    is_cut: bool,
}

impl Follower {
    /// Reads the newest events. Those that are there at the first look are not new.
    fn look(
        &mut self,
        mut page: impl FnMut(Option<String>) -> Result<EventList, Failure>,
    ) -> Result<News, Failure> {
        let (mut news, mut read) = (Vec::new(), HashSet::new());
        let mut before = None;
        let mut is_cut = false;
        for left in (0..PAGES).rev() {
            let found = page(before)?;
            let count = found.events.len();
            for event in found.events {
                let id = event.message_id.clone();
                if !self.seen.contains(&id) && !self.read.contains(&id) && self.begun {
                    news.push(event);
                }
                read.insert(id);
            }
            before = found.next;
            let reaches_known = read.len() > news.len();
            // A page that is not full has looked as far back as one question does. All before it is old.
            if !self.begun || reaches_known || count < PAGE || before.is_none() {
                break;
            }
            is_cut = left == 0;
        }
        self.seen = std::mem::replace(&mut self.read, read);
        self.begun = true;
        news.reverse();
        Ok(News {
            events: news,
            is_cut,
        })
    }
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let question = EventQuestion {
        source: options.source.clone(),
        event_type: options.event_type.clone(),
        limit: Some(PAGE),
        ..EventQuestion::default()
    };
    let (mut follower, mut left) = (Follower::default(), options.count);
    let mut connected = None;
    loop {
        let looked = AdminClient::new(config).and_then(|client| {
            follower.look(|before| {
                let question = EventQuestion {
                    before,
                    ..question.clone()
                };
                client.get("events", &question.parameters())
            })
        });
        let was_connected = connected.replace(looked.is_ok());
        match (looked, was_connected) {
            (Ok(news), _) => {
                if was_connected != Some(true) {
                    say::note("connected; events are shown as they are stored, Ctrl-C ends");
                }
                if print(&news, options, &mut left)? {
                    return Ok(());
                }
            }
            (Err(Failure::Unreachable(why)), Some(was)) => {
                if was {
                    say::note(format_args!(
                        "{why}; trying again, and what is stored meanwhile is shown then"
                    ));
                }
            }
            (Err(failure), _) => return Err(failure),
        }
        thread::sleep(LOOK);
    }
}

/// Prints new events. Returns `true` if enough were printed.
fn print(news: &News, options: &Options, left: &mut Option<u64>) -> Result<bool, Failure> {
    if news.is_cut {
        say::note(format_args!(
            "more than {} events came at once; the older ones of them are not shown here: `hookweir events` lists them",
            PAGES * PAGE
        ));
    }
    for event in &news.events {
        if *left == Some(0) {
            return Ok(true);
        }
        match options.json {
            true => say::out(json(event)?),
            false => say::out(line(event)),
        }
        *left = left.map(|left| left - 1);
    }
    Ok(*left == Some(0))
}

fn line(event: &EventView) -> String {
    format!(
        "{}  {}  {}  {}  {} bytes  message {}",
        event.received_at,
        event.source,
        event.event_id.escape_debug(),
        event.event_type.as_deref().unwrap_or("-").escape_debug(),
        event.bytes,
        event.message_id
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::catalog::EventState;

    fn event(n: usize) -> EventView {
        EventView {
            position: String::new(),
            message_id: n.to_string(),
            source: "s".into(),
            event_id: n.to_string(),
            event_type: None,
            content_type: None,
            received_at: String::new(),
            bytes: 1,
            verified_by: None,
            state: EventState::Waiting,
            conflict_of: None,
            same_bytes_as: None,
            sinks: Vec::new(),
        }
    }

    /// A look at a store that has these events, in order of their numbers.
    fn look(follower: &mut Follower, stored: &[usize]) -> (Vec<usize>, bool) {
        let mut newest = stored.iter().rev().copied();
        let news = follower.look(|_| {
            let page: Vec<usize> = newest.by_ref().take(PAGE).collect();
            Ok(EventList {
                next: (page.len() == PAGE).then(|| "more".to_owned()),
                more: page.len() == PAGE,
                events: page.into_iter().map(event).collect(),
                after_deleted: false,
            })
        });
        let news = news.expect("read");
        let ids = news.events.iter().map(|event| event.message_id.parse());
        let ids = ids.collect::<Result<_, _>>();
        (ids.expect("numbers"), news.is_cut)
    }

    #[test]
    fn each_new_event_is_shown_once_in_order_and_one_that_was_committed_late_too() {
        let mut follower = Follower::default();
        let old: Vec<usize> = (0..1000).collect();
        assert_eq!(
            look(&mut follower, &old),
            (vec![], false),
            "they were there"
        );
        let mut all = old.clone();
        all.extend([1001, 1003]);
        assert_eq!(look(&mut follower, &all), (vec![1001, 1003], false));
        all.insert(1001, 1002);
        assert_eq!(
            look(&mut follower, &all),
            (vec![1002], false),
            "it came late"
        );
        assert_eq!(look(&mut follower, &all), (vec![], false));
        let many: Vec<usize> = (0..2500).collect();
        let (shown, is_cut) = look(&mut follower, &many);
        assert_eq!((shown.len(), is_cut), (1497, false));
        let more: Vec<usize> = (0..9000).collect();
        let (shown, is_cut) = look(&mut follower, &more);
        assert_eq!(
            (shown.len(), is_cut),
            (2000, true),
            "it says that it lost some"
        );
    }

    /// A look for a rare source, at a store with so many events. Each page reads [`LOOK_BACK`] of them.
    fn rare_look(follower: &mut Follower, stored: usize, rare: &[usize]) -> Vec<String> {
        const LOOK_BACK: usize = crate::store::catalog::LOOK;
        let news = follower.look(|before| {
            let end = before.map_or(stored, |place| place.parse().expect("a place"));
            let first = end.saturating_sub(LOOK_BACK);
            let found = rare.iter().rev().filter(|n| (first..end).contains(*n));
            Ok(EventList {
                events: found.copied().map(event).collect(),
                next: (first > 0).then(|| first.to_string()),
                more: first > 0,
                after_deleted: false,
            })
        });
        let events = news.expect("read").events.into_iter();
        events.map(|event| event.message_id).collect()
    }

    #[test]
    fn an_old_event_of_a_rare_source_is_not_shown_as_new() {
        let mut follower = Follower::default();
        assert!(rare_look(&mut follower, 30_000, &[100, 15_000]).is_empty());
        let rare = [100, 15_000, 30_001];
        assert_eq!(rare_look(&mut follower, 30_002, &rare), ["30001"]);
        assert!(rare_look(&mut follower, 50_000, &rare).is_empty());
        let rare = [100, 15_000, 30_001, 50_001];
        assert_eq!(rare_look(&mut follower, 50_002, &rare), ["50001"]);
    }
}
