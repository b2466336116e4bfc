//! Waiting longer after each failure, and never in step with others who wait for the same thing.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Delays that double from `first` up to `longest`, each cut by up to half at random.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// It worked: the next failure waits as short as the first.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now.
    pub(super) fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.longest);
        // A fresh RandomState hashes to a fresh random number: all the randomness that jitter needs.
        let random = RandomState::new().hash_one(0) as u32;
        delay.mul_f64(1.0 - f64::from(random) / f64::from(u32::MAX) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        for longest in [100, 200, 350, 350] {
            let delay = backoff.delay();
            assert!(
                delay <= ms(longest) && delay >= ms(longest) / 2,
                "{delay:?}"
            );
        }
        backoff.reset();
        assert!(backoff.delay() <= ms(100));
    }
}
