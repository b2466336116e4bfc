//! Sample of the missing keys that deliveries name. Anybody can invent names, hundreds of times a
//! second, so only a few are fetched. Names are drawn at random. Repeated names are drawn apart: a
//! forger invents names, a provider signs many events with one key.

use std::hash::{BuildHasher, RandomState};

use hookweir_signatures::Fetch;

/// Most missing keys of each kind between two fetches.
const MOST: usize = 16;

/// Names that are remembered before the oldest are forgotten. With four bits for each name, one of
/// 400 new names seems known.
const NAMES: usize = 32 * 1024;
const BITS: usize = 16 * NAMES;

/// Missing keys that wait to be fetched.
#[derive(Debug, Default)]
pub(super) struct MissingKeys {
    first: Lot,
    again: Lot,
    /// Names seen lately. Made with the first missing key.
    seen: Option<Seen>,
}

/// Missing key that was drawn.
#[derive(Debug)]
pub(super) struct MissingKey {
    /// Key to fetch.
    pub(super) fetch: Fetch,
    /// Several deliveries named the key.
    pub(super) again: bool,
}

impl MissingKeys {
    /// Adds a key that a delivery named.
    pub(super) fn add(&mut self, fetch: Fetch) {
        let seen = self.seen.get_or_insert_with(Seen::new);
        let hash = seen.random.hash_one(fetch.name());
        if seen.is_known(hash) {
            self.first
                .drawn
                .retain(|known| known.name() != fetch.name());
            self.again.add(fetch, seen);
        } else {
            seen.remember(hash);
            self.first.add(fetch, seen);
        }
    }

    /// Takes the keys that were drawn since the last call.
    pub(super) fn take(&mut self) -> Vec<MissingKey> {
        let missing = |again: bool| move |fetch: Fetch| MissingKey { fetch, again };
        let (first, again) = (
            std::mem::take(&mut self.first).drawn,
            std::mem::take(&mut self.again).drawn,
        );
        again
            .into_iter()
            .map(missing(true))
            .chain(first.into_iter().map(missing(false)))
            .collect()
    }
}

/// Random sample of fetches, in which each has the same chance.
#[derive(Debug, Default)]
struct Lot {
    drawn: Vec<Fetch>,
    came: usize,
}

impl Lot {
    fn add(&mut self, fetch: Fetch, seen: &mut Seen) {
        if self.drawn.iter().any(|known| known.name() == fetch.name()) {
            return;
        }
        self.came += 1;
        if self.drawn.len() < MOST {
            self.drawn.push(fetch);
        } else if let Some(place) = self.drawn.get_mut(seen.below(self.came)) {
            *place = fetch;
        }
    }
}

/// Names seen lately, in two Bloom filters. When the younger is full, the older one is cleared.
/// Hashes are keyed at random, so that nobody can choose names that collide.
#[derive(Debug)]
struct Seen {
    random: RandomState,
    young: Box<[u64]>,
    old: Box<[u64]>,
    names: usize,
    draws: u64,
}

impl Seen {
    fn new() -> Self {
        let empty = || vec![0; BITS / 64].into_boxed_slice();
        Self {
            random: RandomState::new(),
            young: empty(),
            old: empty(),
            names: 0,
            draws: 0,
        }
    }

    /// Returns the four bits of a name.
    fn bits(hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let (low, step) = (hash as u32 as usize, (hash >> 32) as usize | 1);
        (0..4)
            .map(move |turn| low.wrapping_add(step.wrapping_mul(turn)) % BITS)
            .map(|bit| (bit / 64, 1 << (bit % 64)))
    }

    fn is_known(&self, hash: u64) -> bool {
        [&self.young, &self.old]
            .into_iter()
            .any(|filter| Self::bits(hash).all(|(word, bit)| filter[word] & bit != 0))
    }

    fn remember(&mut self, hash: u64) {
        if self.names == NAMES {
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.fill(0);
            self.names = 0;
        }
        self.names += 1;
        Self::bits(hash).for_each(|(word, bit)| self.young[word] |= bit);
    }

    /// Returns a number below `bound` that nobody outside can predict.
    fn below(&mut self, bound: usize) -> usize {
        self.draws = self.draws.wrapping_add(1);
        (self.random.hash_one(self.draws) % bound.max(1) as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_names_is_not_a_flood_of_wishes() {
        let mut missing_keys = MissingKeys::default();
        (0..1000).for_each(|number| missing_keys.add(Fetch::of_key(&number.to_string())));
        assert_eq!(missing_keys.take().len(), MOST);
    }

    #[test]
    fn of_many_names_a_few_are_drawn_and_those_that_come_again_by_themselves() {
        let mut missing_keys = MissingKeys::default();
        let mut drawn = 0;
        for look in 0..200 {
            for number in 0..100 {
                missing_keys.add(Fetch::of_key(&format!("forged-{look}-{number}")));
            }
            missing_keys.add(Fetch::of_key("genuine"));
            let taken = missing_keys.take();
            assert!(taken.len() <= 2 * MOST);
            drawn += usize::from(
                look > 0
                    && taken
                        .iter()
                        .any(|missing| missing.again && missing.fetch.name() == "genuine"),
            );
        }
        assert_eq!(drawn, 199, "whatever else is named");
        assert!(missing_keys.take().is_empty());
    }

    #[test]
    fn whoever_comes_last_has_the_same_chance() {
        let last_is_drawn = |_: &usize| {
            let mut missing_keys = MissingKeys::default();
            (0..160).for_each(|number| missing_keys.add(Fetch::of_key(&number.to_string())));
            missing_keys
                .take()
                .iter()
                .any(|missing| missing.fetch.name() == "159")
        };
        let drawn = (0..2000).filter(last_is_drawn).count();
        assert!(
            (100..320).contains(&drawn),
            "{drawn} of 2000, where a tenth is expected"
        );
    }

    #[test]
    fn names_are_forgotten_in_time() {
        let mut seen = Seen::new();
        let hash = |seen: &Seen, number: usize| seen.random.hash_one(number);
        let mut mistaken = 0;
        for number in 0..3 * NAMES {
            mistaken += usize::from(seen.is_known(hash(&seen, number)));
            seen.remember(hash(&seen, number));
            assert!(
                seen.is_known(hash(&seen, number))
                    && seen.is_known(hash(&seen, number.saturating_sub(NAMES - 1)))
            );
        }
        assert!(mistaken < NAMES / 50, "{mistaken}");
        assert!(
            (0..NAMES)
                .filter(|number| seen.is_known(hash(&seen, *number)))
                .count()
                < NAMES / 50
        );
    }
}
