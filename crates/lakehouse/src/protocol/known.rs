//! Ids of the rows in the table, in memory.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use crate::event::{Millis, RowId};

/// Fingerprints are mixed already.
#[derive(Clone, Copy, Default, Debug)]
pub struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Ids that are added one by one before they are merged into the sorted ones.
const MERGE_AT: usize = 1 << 16;

/// Suspicion about an id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Suspicion {
    /// No row of the table has the id.
    Absent,
    /// A row with the id may exist. The table must be asked.
    Possible,
}

/// Fingerprints of the message ids in the table: 8 bytes for a row.
///
/// If the table has more rows than fit, the memory holds those received at or after a *floor*. An event that
/// was received before the floor is always suspicious.
#[derive(Debug)]
pub struct KnownIds {
    sorted: Vec<u64>,
    recent: HashSet<u64, BuildHasherDefault<Mixed>>,
    floor: Millis,
    capacity: usize,
}

impl KnownIds {
    /// Returns an empty memory for `capacity` ids, in which every row received at or after `floor` will be.
    pub fn new(capacity: usize, floor: Millis) -> Self {
        Self {
            sorted: Vec::new(),
            recent: HashSet::default(),
            floor,
            capacity,
        }
    }

    /// Returns the time of receipt from which on all rows are in the memory.
    pub fn floor(&self) -> Millis {
        self.floor
    }

    /// Returns the number of ids, counting an id twice if it was added twice.
    pub fn len(&self) -> usize {
        self.sorted.len() + self.recent.len()
    }

    /// Returns `true` if the memory holds no id.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns `true` if the memory is full: load it again with a later floor.
    pub fn is_full(&self) -> bool {
        self.len() > self.capacity
    }

    /// Adds the id of a row.
    pub fn add(&mut self, id: RowId) {
        self.recent.insert(id.fingerprint());
        if self.recent.len() >= MERGE_AT {
            self.merge();
        }
    }

    /// Adds the ids of rows that were read from the table, many at once.
    pub fn load(&mut self, ids: impl Iterator<Item = RowId>) {
        self.sorted.extend(ids.map(|id| id.fingerprint()));
    }

    /// Sorts what [`Self::load`] has added. Call it once, after the last of them.
    pub fn loaded(&mut self) {
        self.sorted.sort_unstable();
        self.sorted.dedup();
    }

    /// Returns the suspicion about an event that was received at `received_at`.
    pub fn look_up(&self, id: RowId, received_at: Millis) -> Suspicion {
        let print = id.fingerprint();
        let known = received_at < self.floor
            || self.recent.contains(&print)
            || self.sorted.binary_search(&print).is_ok();
        if known {
            Suspicion::Possible
        } else {
            Suspicion::Absent
        }
    }

    /// Merges the recent ids into the sorted ones from the end, in place.
    fn merge(&mut self) {
        let mut added: Vec<u64> = self.recent.drain().collect();
        added.sort_unstable();
        let mut left = self.sorted.len();
        let mut right = added.len();
        self.sorted.resize(left + right, 0);
        for place in (0..left + right).rev() {
            let from_left = right == 0 || (left > 0 && self.sorted[left - 1] > added[right - 1]);
            self.sorted[place] = if from_left {
                left -= 1;
                self.sorted[left]
            } else {
                right -= 1;
                added[right]
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u64) -> RowId {
        let mut bytes = [7; 16];
        bytes[8..].copy_from_slice(&n.to_be_bytes());
        RowId::from_bytes(bytes)
    }

    #[test]
    fn every_added_id_is_found_and_no_other_across_merges() {
        let mut known = KnownIds::new(1 << 20, Millis(0));
        known.load((0..1000).map(id));
        known.loaded();
        let last = 1000 + 2 * MERGE_AT as u64 + 17;
        for n in 1000..last {
            known.add(id(n));
        }
        assert_eq!(known.len() as u64, last);
        assert!(known.sorted.is_sorted());
        for n in 0..last {
            assert_eq!(known.look_up(id(n), Millis(1)), Suspicion::Possible, "{n}");
        }
        for n in last..last + 10_000 {
            assert_eq!(known.look_up(id(n), Millis(1)), Suspicion::Absent, "{n}");
        }
    }

    #[test]
    fn an_event_older_than_the_memory_is_always_suspicious() {
        let known = KnownIds::new(10, Millis(500));
        assert_eq!(known.look_up(id(1), Millis(499)), Suspicion::Possible);
        assert_eq!(known.look_up(id(1), Millis(500)), Suspicion::Absent);
    }

    #[test]
    fn a_memory_over_its_capacity_says_so() {
        let mut known = KnownIds::new(2, Millis(0));
        (0..2).for_each(|n| known.add(id(n)));
        assert!(!known.is_full());
        known.add(id(2));
        assert!(known.is_full());
    }
}
