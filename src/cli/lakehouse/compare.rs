//! `hookweir lakehouse compare`: accepted events of the store against rows of the table.

use std::collections::{BTreeMap, HashMap};

use super::Options;
use super::tools::{open, time};
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::domain::delivery::{MessageId, SourceName, UnixMillis, wall_clock};
use crate::domain::sink::SinkName;
use crate::lakehouse::tools::Row;
use crate::store::catalog::{EventQuery, EventSummary, PAGE};
use crate::store::{self, Store, StoreError};

const HOUR: i64 = 3_600_000;
/// Ids of a kind that are listed.
const LISTED: usize = 100;

/// Events of one source and one hour of receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    accepted: u64,
    rows: u64,
    missing: u64,
    extra: u64,
    doubled: u64,
    waiting: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.rows += other.rows;
        self.missing += other.missing;
        self.extra += other.extra;
        self.doubled += other.doubled;
        self.waiting += other.waiting;
    }

    fn differs(&self) -> bool {
        self.missing + self.extra + self.doubled > 0
    }
}

/// Name of a source, and an hour since 1970.
type Place = (String, i64);

/// An event of the store that has not been seen in the table, or a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Accepted, and published to the sink.
    Accepted,
    /// Accepted; the sink has not confirmed it, or has refused it.
    Waiting,
    /// In the table.
    Row,
}

/// Comparison of the store with the table.
#[derive(Debug, Default)]
struct Comparison {
    /// Events of the store by id, with the number of their place.
    events: HashMap<MessageId, (u32, Seen)>,
    places: Vec<Place>,
    numbers: HashMap<Place, u32>,
    counts: Vec<Counts>,
    extra: Vec<MessageId>,
    doubled: Vec<MessageId>,
}

impl Comparison {
    /// Returns the number of a place.
    fn place(&mut self, source: &str, at: UnixMillis) -> u32 {
        let place = (source.to_owned(), at.0.div_euclid(HOUR));
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.numbers.insert(place.clone(), number);
        self.places.push(place);
        self.counts.push(Counts::default());
        number
    }

    /// Takes an event that goes to `sink`, which the lakehouse reads.
    fn event(&mut self, event: &EventSummary, sink: &SinkName) {
        let place = self.place(&event.source, event.received_at);
        let waits = event.waiting.iter().any(|waiting| waiting.sink == *sink)
            || event.parked.iter().any(|parked| parked.sink == *sink);
        let seen = if waits { Seen::Waiting } else { Seen::Accepted };
        self.counts[place as usize].accepted += 1;
        self.events.insert(event.message_id, (place, seen));
    }

    fn row(&mut self, row: &Row) {
        let place = self.place(&row.source, row.received_at);
        self.counts[place as usize].rows += 1;
        match self.events.get_mut(&row.message_id) {
            Some((place, Seen::Row)) => {
                self.counts[*place as usize].doubled += 1;
                list(&mut self.doubled, row.message_id);
            }
            Some((_, seen)) => *seen = Seen::Row,
            None => {
                self.counts[place as usize].extra += 1;
                list(&mut self.extra, row.message_id);
                self.events.insert(row.message_id, (place, Seen::Row));
            }
        }
    }

    /// Counts the events that are not in the table, and returns the ids of the missing ones to list.
    fn finish(&mut self) -> Vec<MessageId> {
        let mut missing = Vec::new();
        for (id, (place, seen)) in &self.events {
            let counts = &mut self.counts[*place as usize];
            match seen {
                Seen::Row => {}
                Seen::Waiting => counts.waiting += 1,
                Seen::Accepted => {
                    counts.missing += 1;
                    list(&mut missing, *id);
                }
            }
        }
        missing.sort();
        missing
    }

    fn by_place(&self) -> BTreeMap<&Place, &Counts> {
        self.places.iter().zip(&self.counts).collect()
    }
}

fn list(ids: &mut Vec<MessageId>, id: MessageId) {
    if ids.len() < LISTED {
        ids.push(id);
    }
}

/// Compares, and prints each hour of each source that differs. A difference is a failure.
pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let (since, until) = (options.since.0, options.until.0);
    if since > config.store.keep_events {
        return Err(Failure::Usage(format!(
            "--since {} s is longer than store.keep_events_days: published events are kept for {} days, and older \
             rows would all be extra",
            since.as_secs(),
            config.store.keep_events.as_secs() / 86_400
        )));
    }
    let now = wall_clock();
    let ago = |age: std::time::Duration| {
        UnixMillis(
            now.0
                .saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX)),
        )
    };
    let (from, until) = (ago(since), ago(until));
    let mut comparison = Comparison::default();
    let failed = |error: StoreError| Failure::Unreachable(format!("{}: {error}", config.store.url));
    let tools = open(config)?;
    let store = store::open(&config.store, 1).map_err(failed)?;
    let (sink, sinks) = (&config.lakehouse_sink().name, config.routes());
    let sinks = sinks.map_err(Failure::Internal)?;
    let wanted = |event: &EventSummary| {
        SourceName::parse(&event.source).is_ok_and(|source| {
            let wanting = sinks.wanting(&source, event.event_type.as_deref());
            sinks.names(wanting).any(|name| name == sink)
        })
    };
    let query = EventQuery {
        from: Some(from),
        until: Some(until),
        limit: PAGE,
        ..EventQuery::default()
    };
    let take = |event: &EventSummary| {
        if wanted(event) {
            comparison.event(event, sink);
        }
    };
    events(&*store, query, take).map_err(failed)?;
    tools
        .rows(from, until, |row| comparison.row(&row))
        .map_err(Failure::Unreachable)?;
    report(&mut comparison)
}

/// Hands the events of the store that fit `query` to `take`, page by page.
fn events(
    store: &dyn Store,
    mut query: EventQuery,
    mut take: impl FnMut(&EventSummary),
) -> Result<(), StoreError> {
    loop {
        let page = store.events(&query)?;
        page.events.iter().for_each(&mut take);
        if page.next.is_none() {
            return Ok(());
        }
        query.before = page.next;
    }
}

fn report(comparison: &mut Comparison) -> Result<(), Failure> {
    let missing = comparison.finish();
    let mut total = Counts::default();
    say::out("source  hour  accepted  rows  missing  extra  doubled  waiting");
    let line = |place: &str, counts: &Counts| {
        say::out(format_args!(
            "{place}  {}  {}  {}  {}  {}  {}",
            counts.accepted,
            counts.rows,
            counts.missing,
            counts.extra,
            counts.doubled,
            counts.waiting
        ));
    };
    for ((source, hour), counts) in comparison.by_place() {
        total.add(counts);
        if counts.differs() || counts.waiting > 0 {
            let hour: String = time(hour * HOUR).chars().take(13).collect();
            line(&format!("{source}  {hour}"), counts);
        }
    }
    line("all  -", &total);
    let kinds = [
        ("missing", &missing),
        ("extra", &comparison.extra),
        ("doubled", &comparison.doubled),
    ];
    for (kind, ids) in kinds {
        ids.iter()
            .for_each(|id| say::out(format_args!("{kind}  {id}")));
    }
    if total.differs() {
        return Err(Failure::NotAsExpected);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Marks;
    use crate::store::Seq;
    use crate::store::catalog::WaitingFor;

    fn event(n: u8, waits: bool) -> EventSummary {
        let waiting = WaitingFor {
            sink: Default::default(),
            attempts: 0,
        };
        EventSummary {
            seq: Seq(n.into()),
            message_id: MessageId::from_bytes([n; 16]),
            source: "a".to_owned(),
            event_id: n.to_string(),
            event_type: None,
            content_type: None,
            received_at: UnixMillis(HOUR + i64::from(n)),
            bytes: 1,
            verified_by: None,
            marks: Marks::default(),
            waiting: if waits { vec![waiting] } else { Vec::new() },
            parked: Vec::new(),
        }
    }

    fn row(n: u8) -> Row {
        Row {
            message_id: MessageId::from_bytes([n; 16]),
            source: "a".to_owned(),
            received_at: UnixMillis(HOUR + i64::from(n)),
        }
    }

    #[test]
    fn each_event_is_counted_as_a_row_missing_extra_doubled_or_waiting() {
        let mut comparison = Comparison::default();
        [
            event(1, false),
            event(2, false),
            event(3, true),
            event(4, false),
        ]
        .iter()
        .for_each(|event| comparison.event(event, &SinkName::default()));
        [row(1), row(2), row(2), row(9)]
            .iter()
            .for_each(|row| comparison.row(row));
        assert_eq!(comparison.finish(), [MessageId::from_bytes([4; 16])]);
        let counts = Counts {
            accepted: 4,
            rows: 4,
            missing: 1,
            extra: 1,
            doubled: 1,
            waiting: 1,
        };
        assert_eq!(comparison.counts, [counts]);
        assert_eq!(comparison.places, [("a".to_owned(), 1)]);
        assert!(report(&mut comparison).is_err());
    }
}
