//! Acceptance first: publishing stands aside while so many deliveries are in hand that senders are about to be turned away.
//!
//! A burst then has the cores and the database for itself, and what it brings waits in the outbox. So that publishing is put off and
//! never given up, standing aside takes from an account: it may last for `publisher.yield_secs`, and once that is used up the publisher
//! goes on until the account is full again. An account and no measure of load: a slow database fills the room as a burst does, and then
//! nothing is gained by waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::in_flight::Budget;

/// Between two looks at whether it is over.
pub(super) const LOOK: Duration = Duration::from_millis(5);

/// How long little has to be in hand before publishing goes on. Answers go out a batch at a time, so that in the midst of a burst there
/// is little in hand again and again until their senders come back; and what each such moment lets go is a window on every channel.
const CALM: Duration = Duration::from_millis(100);

/// Whether the publisher stands aside.
#[derive(Debug)]
pub(super) struct Yielding {
    /// What is in hand before its answer. Counted in whole requests: bytes are also held by those who send slowly on purpose.
    ingest: Arc<Budget>,
    longest: Duration,
    left: Duration,
    used_up: bool,
    aside: bool,
    looked: Instant,
    /// When as much was in hand as to stand aside, or to go on doing so.
    pressed: Instant,
}

impl Yielding {
    pub(super) fn new(ingest: Arc<Budget>, longest: Duration, now: Instant) -> Self {
        Self {
            ingest,
            longest,
            left: longest,
            used_up: false,
            aside: false,
            looked: now,
            pressed: now,
        }
    }

    /// From more than half of the room taken, until less than a quarter has been for a while.
    pub(super) fn stands_aside(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.looked);
        self.looked = now;
        self.left = if self.aside {
            self.left.saturating_sub(passed)
        } else {
            (self.left + passed).min(self.longest)
        };
        self.used_up = self.left.is_zero() || (self.used_up && self.left < self.longest);
        let (taken, free) = (self.ingest.used().0, self.ingest.room().0);
        let is_pressed = if self.aside {
            taken * 3 >= free
        } else {
            taken > free
        };
        if is_pressed {
            self.pressed = now;
        }
        let was_of_late = self.aside && now.saturating_duration_since(self.pressed) < CALM;
        self.aside = (is_pressed || was_of_late) && !self.used_up;
        self.aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(10);

    struct Rig {
        yielding: Yielding,
        ingest: Arc<Budget>,
        now: Instant,
    }

    impl Rig {
        fn new(longest: Duration) -> Self {
            let (ingest, now) = (Budget::new(100, 0), Instant::now());
            Self {
                yielding: Yielding::new(ingest.clone(), longest, now),
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
            self.yielding.stands_aside(self.now)
        }
    }

    #[test]
    fn it_stands_aside_from_half_of_the_room_until_a_quarter() {
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
        let aside: Vec<bool> = (0..60).map(|_| rig.after(1, 100)).collect();
        assert_eq!(
            aside.iter().filter(|aside| **aside).count(),
            30,
            "{aside:?}"
        );
        assert!(
            aside.chunk_by(|a, b| a == b).all(|turn| turn.len() == 10),
            "{aside:?}"
        );
    }

    #[test]
    fn many_short_turns_take_from_the_same_account() {
        let mut rig = Rig::new(LONGEST);
        // Three seconds aside and one not, for ever: without the account three quarters of the time.
        let aside = (0..4000)
            .filter(|second| rig.after(1, if second % 4 == 3 { 0 } else { 100 }))
            .count();
        assert!(aside <= 2010, "{aside} of 4000 seconds aside");
        assert!(aside > 1000, "{aside} of 4000 seconds aside");
    }

    #[test]
    fn with_no_time_for_it_it_never_stands_aside() {
        let mut rig = Rig::new(Duration::ZERO);
        assert!(!(0..10).any(|_| rig.after(1, 100)));
    }
}
