//! Choice of the rows of an ordered sink that the relay takes: of each key the first ones, up to the
//! first that has to wait.

use std::collections::{HashMap, HashSet};

use super::claim::{Chosen, Due};
use super::row::EventRow;
use super::{Room, Seq, StoredEvent};
use crate::domain::delivery::MessageKey;
use crate::domain::event_order::OrderKey;

/// Most rows of one key in one claim. The publisher sends one of them at a time.
pub(super) const OF_A_KEY: usize = 16;
/// Most reads of a claim, so that many keys that wait do not make it endless. The next claim goes on.
pub(super) const MOST_PAGES: usize = 4;

/// State of an event in the memory of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InMemory {
    /// It is not there.
    No,
    /// It is on its way to the sink.
    Waits,
    /// The sink has confirmed it, and its row is about to go.
    Published,
}

/// Place of a row among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InOrder {
    /// The key.
    pub key: OrderKey,
    /// The row before it, which is in memory or claimed with it. None: it is the first.
    pub after: Option<Seq>,
}

/// Place at which a claim of ordered rows begins: after this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromKey(pub(super) i64);

impl FromKey {
    /// Place before all keys.
    pub const START: Self = Self(-1);
}

/// Rows of an ordered sink that were claimed.
#[derive(Debug)]
pub struct OrderedRows {
    /// The rows, those of one key in order.
    pub rows: Vec<(StoredEvent, InOrder)>,
    /// Place at which the next claim goes on; [`FromKey::START`] after the last key.
    pub next: FromKey,
}

/// A row of an ordered sink.
#[derive(Clone, Copy, Debug)]
pub(super) struct OrderedRow {
    pub(super) key: OrderKey,
    /// It is due, and no event of its key before it is parked.
    pub(super) open: bool,
    pub(super) row: Due,
}

/// Choice of rows of an ordered sink.
pub(super) struct OrderedChoice<'a> {
    chosen: Chosen<InOrder>,
    in_memory: &'a dyn Fn(&MessageKey) -> InMemory,
    /// Keys of which no later row may be chosen.
    held: HashSet<OrderKey>,
    last: HashMap<OrderKey, Seq>,
}

impl<'a> OrderedChoice<'a> {
    pub(super) fn new(room: Room, in_memory: &'a dyn Fn(&MessageKey) -> InMemory) -> Self {
        Self {
            chosen: Chosen::new(room),
            in_memory,
            held: HashSet::new(),
            last: HashMap::new(),
        }
    }

    /// Returns `true` if nothing more fits.
    pub(super) fn is_full(&self) -> bool {
        self.chosen.is_full()
    }

    /// Takes a row if all before it of its key are chosen or in memory, and if there is room for it.
    /// Rows of one key are offered in order, without a gap, from the first on.
    pub(super) fn offer(&mut self, OrderedRow { key, open, row }: OrderedRow) {
        if self.held.contains(&key) {
            return;
        }
        let after = self.last.get(&key).copied();
        let follows = match (self.in_memory)(&row.key) {
            // As if its row were gone.
            InMemory::Published => return,
            InMemory::Waits => true,
            InMemory::No => open && self.chosen.take(row, InOrder { key, after }),
        };
        if follows {
            self.last.insert(key, Seq(row.seq));
        } else {
            self.held.insert(key);
        }
    }

    /// Returns the numbers of the chosen rows.
    pub(super) fn seqs(&self) -> Vec<i64> {
        self.chosen.seqs()
    }

    /// Returns the chosen events, in the order in which they were offered.
    pub(super) fn stored(&self, rows: Vec<EventRow>) -> Vec<(StoredEvent, InOrder)> {
        self.chosen.stored(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::{DedupKey, SourceName};

    fn key_of(seq: i64) -> MessageKey {
        let source = SourceName::parse("s").expect("a name");
        MessageKey::of(&DedupKey::new(&source, "id", &[&seq.to_be_bytes()]))
    }

    fn row(key: i64, seq: i64) -> OrderedRow {
        OrderedRow {
            key: OrderKey(key),
            open: true,
            row: Due {
                republished: None,
                seq,
                key: key_of(seq),
                bytes: 10,
                attempts: 0,
            },
        }
    }

    /// Returns the rows chosen, each with the one before it.
    fn choose(
        room: Room,
        offers: &[OrderedRow],
        in_memory: &dyn Fn(i64) -> InMemory,
    ) -> Vec<(i64, Option<i64>)> {
        let find = |key: &MessageKey| {
            let of = offers.iter().find(|offer| offer.row.key == *key);
            in_memory(of.expect("an offer").row.seq)
        };
        let mut choice = OrderedChoice::new(room, &find);
        offers.iter().for_each(|offer| choice.offer(*offer));
        let mut chosen: Vec<_> = choice
            .chosen
            .rows()
            .map(|(seq, in_order)| (seq, in_order.after.map(|seq| seq.0)))
            .collect();
        chosen.sort_unstable();
        chosen
    }

    const ROOM: Room = Room {
        events: 9,
        bytes: 1000,
    };

    #[test]
    fn rows_of_a_key_are_chosen_one_behind_the_other() {
        let rows = [row(1, 3), row(1, 5), row(2, 4), row(1, 6)];
        let all = choose(ROOM, &rows, &|_| InMemory::No);
        assert_eq!(all, [(3, None), (4, None), (5, Some(3)), (6, Some(5))]);
    }

    #[test]
    fn a_row_that_has_to_wait_holds_those_behind_it_and_no_others() {
        let waits = OrderedRow {
            open: false,
            ..row(1, 4)
        };
        let rows = [row(1, 3), waits, row(1, 5), row(2, 6)];
        let some = choose(ROOM, &rows, &|_| InMemory::No);
        assert_eq!(some, [(3, None), (6, None)]);
    }

    #[test]
    fn rows_in_memory_are_followed_and_published_ones_are_as_good_as_gone() {
        let rows = [row(1, 3), row(1, 4), row(1, 5), row(2, 6), row(2, 7)];
        let state = |seq| match seq {
            3 | 6 => InMemory::Published,
            4 => InMemory::Waits,
            _ => InMemory::No,
        };
        assert_eq!(choose(ROOM, &rows, &state), [(5, Some(4)), (7, None)]);
    }

    #[test]
    fn what_does_not_fit_is_not_overtaken_by_its_followers() {
        let rows = [row(1, 1), row(1, 2), row(1, 3)];
        let few = |events, bytes| choose(Room { events, bytes }, &rows, &|_| InMemory::No);
        assert_eq!(few(2, 1000), [(1, None), (2, Some(1))]);
        assert_eq!(few(9, 15), [(1, None)]);
        assert_eq!(few(9, 5), [(1, None)], "a first one always fits");
        assert_eq!(few(0, 1000), []);
    }
}
