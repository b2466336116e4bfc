//! Plausibility of the clock that old rows are deleted by. A clock that is ahead would delete keys
//! before their time, and a redelivery would be published again. Pure: both clocks come in as
//! arguments.
//!
//! The store keeps the time of the last deletion. A clock within [`TOLERANCE`] of that time is
//! believed. Any other clock is believed once it has run evenly, compared with the monotonic clock
//! of the process: for [`AHEAD_HOLDS`] if it is ahead, for [`BEHIND_HOLDS`] if it is behind.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Largest distance from the last deletion that is no jump: longer than a restart takes, shorter
/// than any window.
const TOLERANCE: Duration = Duration::from_secs(10 * 60);
/// Time for which a clock that is ahead has to run evenly. A machine that was off for longer than
/// the tolerance looks the same.
const AHEAD_HOLDS: Duration = Duration::from_secs(60 * 60);
/// Time for which a clock that is behind has to run evenly. It is longer, because a clock that
/// begins in 1970 would cut the time of every key.
const BEHIND_HOLDS: Duration = Duration::from_secs(24 * 60 * 60);

/// Least bound on the time that a key is kept from now.
const KEYS_AT_LEAST: Duration = Duration::from_secs(70 * 24 * 60 * 60);

/// Largest distance from now at which an event can have been published or a conflict kept. A later
/// time was written by a clock that was ahead.
pub(super) const AHEAD: Duration = Duration::from_secs(60 * 60);

/// Returns the bound on the time that a key is kept from now. A key that expires later was stored while the
/// clock was ahead. The bound is twice the longest window, so that another instance with a longer
/// window loses nothing.
pub(super) fn longest_kept(longest_window: Duration) -> Duration {
    longest_window.saturating_mul(2).max(KEYS_AT_LEAST)
}

/// Clock of the store, watched by the thread that deletes.
#[derive(Debug, Default)]
pub(super) struct DeletionClock(Mutex<Watch>);

impl DeletionClock {
    /// Returns `true` if rows may be deleted by a store whose clock says `clock` (milliseconds
    /// since 1970), and said `last` at the last deletion. `clock` is then the next `last`. A jump
    /// is logged once.
    pub(super) fn is_believed(&self, clock: i64, last: Option<i64>) -> bool {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).look(
            clock,
            last,
            Instant::now(),
        ) {
            Look::Even => true,
            Look::Doubtful => false,
            Look::Jumped { by_ms } => {
                let (seconds, way) = (
                    by_ms.unsigned_abs() / 1000,
                    if by_ms > 0 { "ahead of" } else { "behind" },
                );
                let hours = if by_ms > 0 { AHEAD_HOLDS } else { BEHIND_HOLDS }.as_secs() / 3600;
                tracing::warn!(
                    "the store's clock is {seconds} s {way} its last deletion of old rows: nothing is deleted until it has gone evenly \
                     for {hours} h. Deliveries are not affected. If the clock is wrong, set it right"
                );
                false
            }
        }
    }
}

/// Clock that is not believed yet, since the moment at which its jump was seen.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    clock: i64,
}

#[derive(Debug, Default)]
struct Watch {
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// The clock is believed.
    Even,
    /// The clock has jumped since the last look.
    Jumped { by_ms: i64 },
    /// The clock has jumped before, and is not believed yet.
    Doubtful,
}

impl Watch {
    fn look(&mut self, clock: i64, last: Option<i64>, now: Instant) -> Look {
        let by_ms = last.map_or(0, |last| clock.saturating_sub(last));
        if is_near(by_ms) {
            self.doubt = None;
            return Look::Even;
        }
        let holds = if by_ms > 0 { AHEAD_HOLDS } else { BEHIND_HOLDS };
        match self.doubt {
            Some(doubt) if goes_evenly(doubt, clock, now) => {
                if now.saturating_duration_since(doubt.since) < holds {
                    return Look::Doubtful;
                }
                self.doubt = None;
                Look::Even
            }
            _ => {
                self.doubt = Some(Doubt { since: now, clock });
                Look::Jumped { by_ms }
            }
        }
    }
}

fn is_near(by_ms: i64) -> bool {
    u128::from(by_ms.unsigned_abs()) <= TOLERANCE.as_millis()
}

/// Returns `true` if `clock` has gone as far as the monotonic clock since the doubt began.
fn goes_evenly(doubt: Doubt, clock: i64, now: Instant) -> bool {
    let passed =
        i64::try_from(now.saturating_duration_since(doubt.since).as_millis()).unwrap_or(i64::MAX);
    is_near(clock.saturating_sub(doubt.clock).saturating_sub(passed))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    /// A watch, with the time of the last deletion and a monotonic clock.
    struct Bench {
        watch: Watch,
        last: Option<i64>,
        now: Instant,
    }

    impl Bench {
        fn new(last: Option<i64>) -> Self {
            Self {
                watch: Watch::default(),
                last,
                now: Instant::now(),
            }
        }

        /// Time passes, then the clock says `clock`; whether rows were deleted.
        fn after(&mut self, passed: i64, clock: i64) -> bool {
            self.now += Duration::from_millis(passed.unsigned_abs());
            let even = self.watch.look(clock, self.last, self.now) == Look::Even;
            if even {
                self.last = Some(clock);
            }
            even
        }
    }

    #[test]
    fn a_first_look_and_an_even_clock_are_believed() {
        let mut bench = Bench::new(None);
        for step in 0..100 {
            assert!(bench.after(10_000, 5 * DAY + step * 10_000));
        }
    }

    #[test]
    fn a_clock_that_was_ahead_and_is_set_right_deletes_nothing() {
        for ahead in [2 * HOUR, 8 * DAY, 400 * DAY] {
            // In the life of a process, and over a restart.
            for last in [Some(9 * DAY), None] {
                let mut bench = Bench::new(last);
                assert!(bench.after(0, 9 * DAY));
                for step in 1..300 {
                    assert!(
                        !bench.after(10_000, 9 * DAY + ahead + step * 10_000),
                        "{ahead} ms ahead"
                    );
                }
                assert!(
                    !bench.after(10_000, 9 * DAY + 3_010_000),
                    "set right, it is 50 minutes after the last deletion"
                );
                assert!(bench.after(HOUR, 9 * DAY + 3_010_000 + HOUR));
            }
        }
    }

    #[test]
    fn a_machine_that_was_off_for_long_deletes_after_an_hour() {
        let mut bench = Bench::new(Some(DAY));
        assert!(!bench.after(0, 30 * DAY));
        assert!(!bench.after(HOUR - 1, 30 * DAY + HOUR - 1));
        assert!(bench.after(1, 30 * DAY + HOUR));
        assert!(bench.after(10_000, 30 * DAY + HOUR + 10_000));
    }

    #[test]
    fn each_further_jump_begins_the_wait_anew() {
        let mut bench = Bench::new(Some(DAY));
        assert!(!bench.after(0, 30 * DAY));
        assert!(!bench.after(HOUR / 2, 60 * DAY));
        assert!(!bench.after(HOUR / 2, 60 * DAY + HOUR / 2));
        assert!(bench.after(HOUR / 2, 60 * DAY + HOUR));
    }

    #[test]
    fn a_clock_that_begins_in_1970_deletes_and_cuts_nothing_for_a_day() {
        let mut bench = Bench::new(Some(20_000 * DAY));
        assert!(!bench.after(0, 0));
        assert!(!bench.after(23 * HOUR, 23 * HOUR));
        assert!(
            bench.after(0, 20_000 * DAY),
            "set right before, it is believed at once"
        );
    }

    #[test]
    fn keys_are_bounded_by_twice_the_longest_window() {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        assert_eq!(longest_kept(days(7)), days(70));
        assert_eq!(longest_kept(days(366)), days(732));
        assert_eq!(longest_kept(Duration::MAX), Duration::MAX);
    }
}
