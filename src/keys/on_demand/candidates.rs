//! New names that wait for their fetch, and the choice of the next one.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use crate::keys::missing_keys::MissingKey;
use hookweir_signatures::Fetch;

/// Most names that wait: names that came once, and names that came again.
const MOST_ONCE: usize = 16;
const MOST_AGAIN: usize = 64;
/// Time after which a name is dropped if no delivery brings it again.
const WAITS: Duration = Duration::from_secs(120);

#[derive(Debug, Default)]
pub(super) struct Candidates {
    once: Vec<Fetch>,
    again: HashMap<String, Candidate>,
    turn: u64,
    random: RandomState,
}

#[derive(Debug)]
struct Candidate {
    fetch: Fetch,
    /// Number of looks in which deliveries named it.
    looks: u32,
    last: Instant,
}

impl Candidates {
    /// Adds a key that a delivery has named since the last look.
    pub(super) fn add(&mut self, missing: MissingKey, now: Instant) {
        let name = missing.fetch.name().to_owned();
        let waited = self.once.iter().position(|known| known.name() == name);
        if let Some(candidate) = self.again.get_mut(&name) {
            (candidate.looks, candidate.last) = (candidate.looks.saturating_add(1), now);
        } else if missing.again || waited.is_some() {
            waited.map(|at| self.once.swap_remove(at));
            self.make_room();
            self.again.insert(
                name,
                Candidate {
                    fetch: missing.fetch,
                    looks: 2,
                    last: now,
                },
            );
        } else if self.once.len() < MOST_ONCE {
            self.once.push(missing.fetch);
        } else {
            let place = self.below(MOST_ONCE);
            self.once[place] = missing.fetch;
        }
    }

    /// Returns `true` if a name waits.
    pub(super) fn wait(&self) -> bool {
        !self.once.is_empty() || !self.again.is_empty()
    }

    /// Returns the next key to fetch. In turn: the name that came most, a random name that came
    /// again, a random name that came once.
    pub(super) fn take(&mut self, now: Instant) -> Option<Fetch> {
        self.again
            .retain(|_, candidate| now.saturating_duration_since(candidate.last) < WAITS);
        self.turn = self.turn.wrapping_add(1);
        let by_lot = |this: &mut Self| {
            let place = this.below(this.again.len());
            this.again.keys().nth(place).cloned()
        };
        let name = match self.turn % 3 {
            0 if !self.once.is_empty() => None,
            1 => self
                .again
                .iter()
                .max_by_key(|(_, candidate)| candidate.looks)
                .map(|(name, _)| name.clone()),
            _ => by_lot(self),
        };
        if let Some(candidate) = name.and_then(|name| self.again.remove(&name)) {
            return Some(candidate.fetch);
        }
        let place = self.below(self.once.len());
        (!self.once.is_empty()).then(|| self.once.swap_remove(place))
    }

    /// Drops one of the least named candidates if there are too many. The one is drawn at random:
    /// otherwise the same names would always go.
    fn make_room(&mut self) {
        if self.again.len() < MOST_AGAIN {
            return;
        }
        let salt = self.below(usize::MAX);
        let least = self.again.iter().min_by_key(|(name, candidate)| {
            (candidate.looks, self.random.hash_one((salt, name.as_str())))
        });
        if let Some(name) = least.map(|(name, _)| name.clone()) {
            self.again.remove(&name);
        }
    }

    /// Returns a number below `bound` that nobody outside can predict.
    fn below(&mut self, bound: usize) -> usize {
        self.turn = self.turn.wrapping_add(3);
        (self.random.hash_one(self.turn) % bound.max(1) as u64) as usize
    }
}
