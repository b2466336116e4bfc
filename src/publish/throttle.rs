//! Throttle of publishing, so that acceptance gets CPU and database first.
//!
//! Publishing pauses while the ingest budget is more than half full. A burst is then answered
//! first, and its events wait in the outbox. A pause takes time from an account of
//! `publisher.yield_secs`. When the account is empty, publishing goes on until it is full again.
//! Publishing is therefore delayed and never given up: a slow database fills the ingest budget too,
//! and then a pause gains nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::in_flight::Budget;

/// Interval at which a pause is checked for its end.
pub(super) const CHECK: Duration = Duration::from_millis(5);

/// Time of low pressure before publishing goes on. Answers go out a batch at a time, so the
/// pressure is low for moments in the midst of a burst, and each moment would release a batch on
/// every channel.
const CALM: Duration = Duration::from_millis(100);

/// Decision whether publishing is paused.
#[derive(Debug)]
pub(super) struct PublishThrottle {
    /// Budget of deliveries that are not answered yet. Only whole requests count: slow uploads hold
    /// bytes on purpose.
    ingest: Arc<Budget>,
    longest: Duration,
    /// Time left in the account.
    left: Duration,
    used_up: bool,
    paused: bool,
    checked: Instant,
    /// Last time at which the pressure was high enough to pause.
    pressed: Instant,
}

impl PublishThrottle {
    /// Returns a throttle that pauses for `longest` at most, with a full account.
    pub(super) fn new(ingest: Arc<Budget>, longest: Duration, now: Instant) -> Self {
        Self {
            ingest,
            longest,
            left: longest,
            used_up: false,
            paused: false,
            checked: now,
            pressed: now,
        }
    }

    /// Returns `true` while publishing is paused: from a half-full budget on, until less than a
    /// quarter was taken for a while.
    pub(super) fn is_paused(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.checked);
        self.checked = now;
        self.left = if self.paused {
            self.left.saturating_sub(passed)
        } else {
            (self.left + passed).min(self.longest)
        };
        self.used_up = self.left.is_zero() || (self.used_up && self.left < self.longest);
        let (taken, free) = (self.ingest.used().0, self.ingest.room().0);
        let is_pressed = if self.paused {
            taken * 3 >= free
        } else {
            taken > free
        };
        if is_pressed {
            self.pressed = now;
        }
        let was_of_late = self.paused && now.saturating_duration_since(self.pressed) < CALM;
        self.paused = (is_pressed || was_of_late) && !self.used_up;
        self.paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    struct Rig {
        throttle: PublishThrottle,
        ingest: Arc<Budget>,
        now: Instant,
    }

    impl Rig {
        fn new(longest: Duration) -> Self {
            let (ingest, now) = (Budget::new(100, 0), Instant::now());
            Self {
                throttle: PublishThrottle::new(ingest.clone(), longest, now),
                ingest,
                now,
            }
        }

        fn after(&mut self, seconds: u64, in_hand: usize) -> bool {
            self.after_millis(seconds * 1000, in_hand)
        }

        fn after_millis(&mut self, millis: u64, in_hand: usize) -> bool {
            self.now += Duration::from_millis(millis);
            let _permit = self.ingest.reserve(in_hand, 0).expect("room");
            self.throttle.is_paused(self.now)
        }
    }

    #[test]
    fn it_pauses_from_half_of_the_room_until_a_quarter() {
        let mut rig = Rig::new(LONGEST);
        assert!(!rig.after(1, 50));
        assert!(rig.after(1, 51));
        assert!(rig.after(1, 25), "not back and forth with every delivery");
        assert!(!rig.after(1, 24));
        assert!(!rig.after(1, 50));
    }

    #[test]
    fn a_moment_between_two_batches_of_answers_is_not_the_end_of_a_burst() {
        let mut rig = Rig::new(LONGEST);
        assert!(rig.after_millis(5, 51));
        for _ in 0..20 {
            assert!(
                (0..10).all(|_| rig.after_millis(5, 0)),
                "not for long enough"
            );
            assert!(rig.after_millis(5, 30), "and it goes on");
        }
        assert!((0..19).all(|_| rig.after_millis(5, 0)));
        assert!(!rig.after_millis(5, 0), "a tenth of a second");
        assert!(!rig.after_millis(5, 30));
    }

    #[test]
    fn however_long_the_pressure_lasts_publishing_has_its_time() {
        let mut rig = Rig::new(LONGEST);
        let paused: Vec<bool> = (0..60).map(|_| rig.after(1, 100)).collect();
        assert_eq!(
            paused.iter().filter(|paused| **paused).count(),
            30,
            "{paused:?}"
        );
        assert!(
            paused.chunk_by(|a, b| a == b).all(|turn| turn.len() == 10),
            "{paused:?}"
        );
    }

    #[test]
    fn many_short_turns_take_from_the_same_account() {
        let mut rig = Rig::new(LONGEST);
        // Three seconds of pressure and one without, for ever: without the account three quarters
        // of the time.
        let paused = (0..4000)
            .filter(|second| rig.after(1, if second % 4 == 3 { 0 } else { 100 }))
            .count();
        assert!(paused <= 2010, "paused for {paused} of 4000 seconds");
        assert!(paused > 1000, "paused for {paused} of 4000 seconds");
    }

    #[test]
    fn with_no_time_for_it_it_never_pauses() {
        let mut rig = Rig::new(Duration::ZERO);
        assert!(!(0..10).any(|_| rig.after(1, 100)));
    }
}
