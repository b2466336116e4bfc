//! Names with a failed fetch, each with the time of the next attempt.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::keys::client::FetchError;

/// Most names that are remembered. The name with the earliest next attempt is dropped first.
const MOST: usize = 1024;
/// Delay before a missing name is tried again, doubled each time up to the longest delay.
const REFUSED: Duration = Duration::from_secs(30);
const LONGEST_REFUSED: Duration = Duration::from_secs(600);
/// The same delays if the host was unreachable.
const UNREACHABLE: Duration = Duration::from_secs(5);
const LONGEST_UNREACHABLE: Duration = Duration::from_secs(60);
/// Time after which the number of failures is forgotten.
const FORGET: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<String, Failure>);

#[derive(Debug)]
struct Failure {
    times: u32,
    until: Instant,
}

impl Failures {
    /// Returns `true` if a name must not be tried now.
    pub(super) fn forbid(&self, name: &str, now: Instant) -> bool {
        self.0.get(name).is_some_and(|failure| now < failure.until)
    }

    /// Notes a failure. Returns the time until the next attempt.
    pub(super) fn note(&mut self, name: &str, error: &FetchError, now: Instant) -> Duration {
        self.0.retain(|_, failure| now < failure.until + FORGET);
        if self.0.len() >= MOST
            && let Some(next) = self
                .0
                .iter()
                .min_by_key(|(_, failure)| failure.until)
                .map(|(name, _)| name.clone())
        {
            self.0.remove(&next);
        }
        let failure = self.0.entry(name.to_owned()).or_insert(Failure {
            times: 0,
            until: now,
        });
        let (first, longest) = match error {
            FetchError::Refused(_) => (REFUSED, LONGEST_REFUSED),
            FetchError::Unreachable(_) => (UNREACHABLE, LONGEST_UNREACHABLE),
        };
        let wait = first.saturating_mul(1 << failure.times.min(16));
        let wait = wait.min(longest);
        failure.until = now + wait;
        failure.times += 1;
        wait
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.0.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_tried_less_and_less_often_and_an_outage_sooner() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        let mut waits = |error: &FetchError, times: usize| -> Vec<u64> {
            let mut now = start;
            let mut wait = || {
                failures.note("k", error, now);
                let wait = (0..1000)
                    .find(|secs| !failures.forbid("k", now + Duration::from_secs(*secs)))
                    .expect("in time");
                now += Duration::from_secs(wait);
                wait
            };
            let waits = (0..times).map(|_| wait()).collect();
            failures.forget("k");
            waits
        };
        assert_eq!(
            waits(&FetchError::Refused("404".into()), 6),
            [30, 60, 120, 240, 480, 600]
        );
        assert_eq!(
            waits(&FetchError::Unreachable("timeout".into()), 5),
            [5, 10, 20, 40, 60]
        );
        (0..2 * MOST).for_each(|number| {
            failures.note(
                &number.to_string(),
                &FetchError::Refused(String::new()),
                start,
            );
        });
        assert_eq!(failures.0.len(), MOST);
    }
}
