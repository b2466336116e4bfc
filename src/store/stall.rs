//! Rows that wait in the outbox while nothing leaves it. Pure: time comes in as an argument.

use std::time::{Duration, Instant};

use super::{Backlog, Seq};

/// History of the outbox, measure by measure.
#[derive(Debug)]
pub(super) struct Stall {
    /// Time that rows may wait before a stall is reported.
    patience: Duration,
    /// The oldest row, and the fewest rows that waited beside it.
    stands: Option<(Seq, u64)>,
    since: Instant,
}

impl Stall {
    pub(super) fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            stands: None,
            since: now,
        }
    }

    /// Returns the time for which the oldest row has been the oldest one.
    pub(super) fn standing(&self, now: Instant) -> Duration {
        self.stands.map_or(Duration::ZERO, |_| {
            now.saturating_duration_since(self.since)
        })
    }

    /// Adds a measure; `takes` says that the sink takes events. Returns the time for which nothing
    /// has moved, if that is too long: the oldest row is the same, and there were never fewer rows.
    pub(super) fn look(
        &mut self,
        backlog: &Backlog,
        takes: bool,
        now: Instant,
    ) -> Option<Duration> {
        let stands = backlog.first.map(|first| (first, backlog.depth));
        let moved = match (self.stands, stands) {
            (Some((first, fewest)), Some((still, depth))) => first != still || depth < fewest,
            _ => true,
        };
        if moved || !takes {
            (self.stands, self.since) = (stands, now);
            return None;
        }
        Some(self.standing(now)).filter(|standing| *standing >= self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rows(first: i64, depth: u64) -> Backlog {
        Backlog {
            depth,
            first: Some(Seq(first)),
            ..Backlog::default()
        }
    }

    #[test]
    fn rows_that_wait_while_nothing_moves_are_noticed() {
        let begin = Instant::now();
        let mut stall = Stall::new(30 * SECOND, begin);
        // Others come and go beside it.
        for (second, depth) in [(0, 5), (10, 9), (20, 6)] {
            assert_eq!(
                stall.look(&rows(1, depth), true, begin + second * SECOND),
                None,
                "{second} s"
            );
        }
        assert_eq!(
            stall.look(&rows(1, 5), true, begin + 31 * SECOND),
            Some(31 * SECOND)
        );
        assert_eq!(
            stall.look(&rows(1, 4), true, begin + 40 * SECOND),
            None,
            "one has left"
        );
        assert_eq!(
            stall.look(&Backlog::default(), true, begin + 99 * SECOND),
            None,
            "none waits"
        );
        assert_eq!(stall.standing(begin + 99 * SECOND), Duration::ZERO);
    }

    #[test]
    fn an_outage_and_a_backlog_that_shrinks_are_no_stall() {
        let begin = Instant::now();
        let mut stall = Stall::new(30 * SECOND, begin);
        for second in 0..100 {
            assert_eq!(
                stall.look(
                    &rows(1, 1901 + u64::from(second)),
                    false,
                    begin + second * SECOND
                ),
                None
            );
        }
        for second in 100..1000 {
            assert_eq!(
                stall.look(
                    &rows(1, 2000 - u64::from(second)),
                    true,
                    begin + second * SECOND
                ),
                None
            );
        }
        for second in 1000..2000 {
            assert_eq!(
                stall.look(&rows(i64::from(second), 5), true, begin + second * SECOND),
                None,
                "a queue that moves"
            );
        }
    }
}
