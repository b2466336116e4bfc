//! Choice of the due rows that the relay takes. It is made from the narrow outbox rows, before any
//! body is read.

use std::collections::HashMap;

use super::Room;
use super::republish::JobId;
use super::row::EventRow;
use crate::domain::delivery::MessageKey;
use crate::store::StoredEvent;

/// Number of outbox rows in one read.
pub(super) const PAGE: usize = 1000;

/// Rows of a sink that a claim looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DueRows {
    /// All rows.
    All,
    /// At an ordered sink, rows without a key.
    WithoutKey,
}

/// An outbox row that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) seq: i64,
    pub(super) key: MessageKey,
    pub(super) bytes: i32,
    pub(super) attempts: i32,
    /// Job that has put the event into the outbox again.
    pub(super) republished: Option<JobId>,
}

/// Rows chosen so far, each with `T`, and the room left.
pub(super) struct Chosen<T> {
    room: Room,
    rows: HashMap<i64, (usize, Due, T)>,
}

impl<T: Copy> Chosen<T> {
    pub(super) fn new(room: Room) -> Self {
        Self {
            room,
            rows: HashMap::new(),
        }
    }

    /// Returns `true` if nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.room.events == 0
    }

    /// Takes `due` if there is room for it. The first row that does not fit ends the choice, so
    /// that a large row is not always passed over. A first row always fits.
    pub(super) fn take(&mut self, due: Due, with: T) -> bool {
        let bytes = usize::try_from(due.bytes).unwrap_or(0);
        if self.is_full() || (bytes > self.room.bytes && !self.rows.is_empty()) {
            self.room.events = 0;
            return false;
        }
        self.room.events -= 1;
        self.room.bytes = self.room.bytes.saturating_sub(bytes);
        self.rows.insert(due.seq, (self.rows.len(), due, with));
        true
    }

    /// Returns the numbers of the rows.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.rows.keys().copied().collect()
    }

    /// Returns the chosen events, in the order in which they were taken. An event that cannot be
    /// read is left out and logged.
    pub(super) fn stored(&self, rows: Vec<EventRow>) -> Vec<(StoredEvent, T)> {
        let mut stored: Vec<(usize, (StoredEvent, T))> = rows
            .into_iter()
            .filter_map(|row| {
                let (place, due, with) = self.rows.get(&row.seq)?;
                match row.into_stored(u32::try_from(due.attempts).unwrap_or(0)) {
                    Ok(event) => {
                        let republished = due.republished;
                        Some((*place, (StoredEvent { republished, ..event }, *with)))
                    }
                    Err(error) => {
                        tracing::error!(%error, "a stored event cannot be read; it stays in the outbox, and holds later events of its key at an ordered sink");
                        None
                    }
                }
            })
            .collect();
        stored.sort_unstable_by_key(|(place, _)| *place);
        stored.into_iter().map(|(_, event)| event).collect()
    }

    #[cfg(test)]
    pub(super) fn rows(&self) -> impl Iterator<Item = (i64, T)> + '_ {
        self.rows.iter().map(|(seq, (_, _, with))| (*seq, *with))
    }
}

/// Choice of due rows, whatever their key.
pub(super) struct Choice<'a> {
    chosen: Chosen<()>,
    skip: &'a dyn Fn(&MessageKey) -> bool,
}

impl<'a> Choice<'a> {
    pub(super) fn new(room: Room, skip: &'a dyn Fn(&MessageKey) -> bool) -> Self {
        Self {
            chosen: Chosen::new(room),
            skip,
        }
    }

    /// Returns `true` if nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.chosen.is_full()
    }

    /// Takes `due` if there is room for it.
    pub(super) fn offer(&mut self, due: Due) {
        if !self.chosen.rows.contains_key(&due.seq) && !(self.skip)(&due.key) {
            self.chosen.take(due, ());
        }
    }

    /// Returns the numbers of the chosen rows.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.chosen.seqs()
    }

    /// Returns the chosen events, in the order in which they were offered.
    pub(super) fn stored(&self, rows: Vec<EventRow>) -> Vec<StoredEvent> {
        let stored = self.chosen.stored(rows).into_iter();
        stored.map(|(event, ())| event).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{DedupKey, SourceName};

    fn due(seq: i64, bytes: i32) -> Due {
        let source = SourceName::parse("s").expect("a name");
        Due {
            seq,
            key: MessageKey::of(&DedupKey::new(&source, "id", &[&seq.to_be_bytes()])),
            bytes,
            attempts: 0,
            republished: None,
        }
    }

    fn choose(room: Room, offers: &[Due]) -> Vec<i64> {
        let mut choice = Choice::new(room, &|key| *key == due(0, 0).key);
        offers.iter().for_each(|offer| choice.offer(*offer));
        let mut seqs = choice.seqs();
        seqs.sort_unstable();
        seqs
    }

    #[test]
    fn rows_are_chosen_in_order_up_to_the_room() {
        let room = |events, bytes| Room { events, bytes };
        let rows = [due(0, 1), due(1, 60), due(2, 60), due(3, 10)];
        assert_eq!(choose(room(9, 1000), &rows), [1, 2, 3], "0 is in memory");
        assert_eq!(choose(room(2, 1000), &rows), [1, 2]);
        assert_eq!(
            choose(room(9, 100), &rows),
            [1],
            "2 does not fit, and 3 does not overtake it"
        );
        assert_eq!(choose(room(9, 10), &rows), [1], "alone it always fits");
        assert_eq!(choose(room(0, 1000), &rows), [] as [i64; 0]);
        assert_eq!(
            choose(room(9, 1000), &[due(1, 1), due(1, 1)]),
            [1],
            "a row that moved between two reads"
        );
    }
}
