//! Comparison of the accepted events of a store with the rows of the table, by source and hour of receipt. Pure.

use std::collections::{BTreeMap, HashMap};

use super::tools::Row;
use crate::domain::delivery::{MessageId, UnixMillis};
use crate::domain::sink::SinkName;
use crate::store::catalog::EventSummary;

/// Milliseconds of an hour.
pub const HOUR: i64 = 3_600_000;
/// Ids of a kind that are listed.
const LISTED: usize = 100;

/// Events of one source and one hour of receipt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// Events of the store that go to the sink of the lakehouse.
    pub accepted: u64,
    /// Rows of the table.
    pub rows: u64,
    /// Events that the sink has taken, and that are no row.
    pub missing: u64,
    /// Rows whose events the store does not have.
    pub extra: u64,
    /// Rows beyond the first one of an event.
    pub doubled: u64,
    /// Events that the sink has not taken yet.
    pub waiting: u64,
}

impl RowCounts {
    /// Adds the events of another place.
    pub fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.rows += other.rows;
        self.missing += other.missing;
        self.extra += other.extra;
        self.doubled += other.doubled;
        self.waiting += other.waiting;
    }

    /// Returns `true` if store and table differ.
    pub fn differs(&self) -> bool {
        self.missing + self.extra + self.doubled > 0
    }
}

/// Name of a source, and an hour since 1970.
pub type SourceHour = (String, i64);

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

/// Comparison of the store with the table. Takes all events first, and then the rows.
#[derive(Debug, Default)]
pub struct Comparison {
    /// Events of the store by id, with the number of their place.
    events: HashMap<MessageId, (u32, Seen)>,
    places: Vec<SourceHour>,
    numbers: HashMap<SourceHour, u32>,
    counts: Vec<RowCounts>,
    extra: Vec<MessageId>,
    doubled: Vec<MessageId>,
}

/// Ids of events that differ, at most 100 of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// Events that are no row.
    pub missing: Vec<MessageId>,
    /// Rows without an event.
    pub extra: Vec<MessageId>,
    /// Events with more than one row.
    pub doubled: Vec<MessageId>,
}

impl Comparison {
    /// Returns the number of events and rows that are held in memory.
    pub fn held(&self) -> usize {
        self.events.len()
    }

    /// Returns the number of a place.
    fn place(&mut self, source: &str, at: UnixMillis) -> u32 {
        let place = (source.to_owned(), at.0.div_euclid(HOUR));
        if let Some(number) = self.numbers.get(&place) {
            return *number;
        }
        let number = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
        self.numbers.insert(place.clone(), number);
        self.places.push(place);
        self.counts.push(RowCounts::default());
        number
    }

    /// Takes an event that goes to `sink`, which the lakehouse reads.
    pub fn event(&mut self, event: &EventSummary, sink: &SinkName) {
        let place = self.place(&event.source, event.received_at);
        let waits = event.waiting.iter().any(|waiting| waiting.sink == *sink)
            || event.parked.iter().any(|parked| parked.sink == *sink);
        let seen = if waits { Seen::Waiting } else { Seen::Accepted };
        self.counts[place as usize].accepted += 1;
        self.events.insert(event.message_id, (place, seen));
    }

    /// Takes a row of the table.
    pub fn row(&mut self, row: &Row) {
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

    /// Counts the events that are not in the table. Returns the ids of those that differ.
    pub fn finish(&mut self) -> Differing {
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
        Differing {
            missing,
            extra: self.extra.clone(),
            doubled: self.doubled.clone(),
        }
    }

    /// Returns the counts of each source and hour, in order.
    pub fn by_place(&self) -> BTreeMap<&SourceHour, &RowCounts> {
        self.places.iter().zip(&self.counts).collect()
    }
}

fn list(ids: &mut Vec<MessageId>, id: MessageId) {
    if ids.len() < LISTED {
        ids.push(id);
    }
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
        let id = |n| vec![MessageId::from_bytes([n; 16])];
        let differing = Differing {
            missing: id(4),
            extra: id(9),
            doubled: id(2),
        };
        assert_eq!(comparison.finish(), differing);
        let counts = RowCounts {
            accepted: 4,
            rows: 4,
            missing: 1,
            extra: 1,
            doubled: 1,
            waiting: 1,
        };
        let place = ("a".to_owned(), 1);
        assert_eq!(comparison.by_place(), BTreeMap::from([(&place, &counts)]));
        assert!(counts.differs());
    }
}
