//! Retry delays that grow with each failure, with jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Delays that double from `first` up to `longest`, each cut by up to half at random.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Returns a backoff without a failure yet.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// Starts again at the first delay, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Returns the delay before the next attempt.
    pub(crate) fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = delay.saturating_mul(2).min(self.longest);
        // A fresh RandomState hashes to a fresh random number: enough randomness for jitter.
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
