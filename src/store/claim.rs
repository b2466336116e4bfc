//! Choice of the due rows that the relay takes. It is made from the narrow outbox rows, before any
//! body is read.

use std::collections::HashMap;

use super::Room;
use super::row::EventRow;
use crate::domain::delivery::MessageKey;
use crate::store::StoredEvent;

/// Number of outbox rows in one read.
pub(super) const PAGE: usize = 1000;

/// An outbox row that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) seq: i64,
    pub(super) key: MessageKey,
    pub(super) bytes: i32,
    pub(super) attempts: i32,
}

/// The rows chosen so far, and the room left.
pub(super) struct Choice<'a> {
    room: Room,
    skip: &'a dyn Fn(&MessageKey) -> bool,
    chosen: HashMap<i64, (usize, Due)>,
}

impl<'a> Choice<'a> {
    pub(super) fn new(room: Room, skip: &'a dyn Fn(&MessageKey) -> bool) -> Self {
        Self {
            room,
            skip,
            chosen: HashMap::new(),
        }
    }

    /// Returns `true` if nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.room.events == 0
    }

    /// Takes `due` if there is room for it. The first row that does not fit ends the choice, so
    /// that a large row is not always passed over. A first row always fits.
    pub(super) fn offer(&mut self, due: Due) {
        if self.is_full() || self.chosen.contains_key(&due.seq) || (self.skip)(&due.key) {
            return;
        }
        let bytes = usize::try_from(due.bytes).unwrap_or(0);
        if bytes > self.room.bytes && !self.chosen.is_empty() {
            self.room.events = 0;
            return;
        }
        self.room.events -= 1;
        self.room.bytes = self.room.bytes.saturating_sub(bytes);
        self.chosen.insert(due.seq, (self.chosen.len(), due));
    }

    /// Returns the numbers of the chosen rows.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.chosen.keys().copied().collect()
    }

    /// Returns the chosen events, in the order in which they were offered. An event that cannot be
    /// read is left out and logged.
    pub(super) fn stored(&self, rows: Vec<EventRow>) -> Vec<StoredEvent> {
        let mut stored: Vec<(usize, StoredEvent)> = rows
            .into_iter()
            .filter_map(|row| {
                let (place, due) = self.chosen.get(&row.seq)?;
                match row.into_stored(u32::try_from(due.attempts).unwrap_or(0)) {
                    Ok(event) => Some((*place, event)),
                    Err(error) => {
                        tracing::error!(%error, "a stored event cannot be read; it stays in the outbox");
                        None
                    }
                }
            })
            .collect();
        stored.sort_unstable_by_key(|(place, _)| *place);
        stored.into_iter().map(|(_, event)| event).collect()
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
