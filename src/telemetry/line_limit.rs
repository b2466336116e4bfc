//! Limit on log lines about problems, so that a flood of bad requests does not flood the log.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Lines per second about one source's problems. The rest is counted in one line.
const LINES_PER_SECOND: u32 = 20;

fn seconds_since_start() -> u32 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u32::try_from(START.elapsed().as_secs()).unwrap_or(u32::MAX)
}

/// Limit on log lines per second. The upper half holds the current second, the lower half the lines
/// of that second.
#[derive(Debug, Default)]
pub(super) struct LineLimit(AtomicU64);

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// The line may be written. `left_out` lines of an earlier second were not.
    Yes { left_out: u32 },
    /// The line is left out.
    No,
}

impl LineLimit {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Counts a line, and says if it may be written.
    pub(super) fn admit_now(&self) -> Admitted {
        self.admit(seconds_since_start())
    }

    fn admit(&self, now: u32) -> Admitted {
        let halves = |both: u64| ((both >> 32) as u32, both as u32);
        let next = |both: u64| {
            let (second, lines) = halves(both);
            let lines = if second == now {
                lines.saturating_add(1)
            } else {
                1
            };
            Some(u64::from(now) << 32 | u64::from(lines))
        };
        let before = match self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        {
            Ok(before) | Err(before) => before,
        };
        match halves(before) {
            (second, lines) if second == now && lines >= LINES_PER_SECOND => Admitted::No,
            (second, _) if second == now => Admitted::Yes { left_out: 0 },
            (_, lines) => Admitted::Yes {
                left_out: lines.saturating_sub(LINES_PER_SECOND),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_bounded_number_of_lines() {
        let limit = LineLimit::default();
        let admitted = (0..1000)
            .filter(|_| limit.admit(7) == Admitted::Yes { left_out: 0 })
            .count();
        assert_eq!(admitted, LINES_PER_SECOND as usize);
        assert_eq!(
            limit.admit(9),
            Admitted::Yes {
                left_out: 1000 - LINES_PER_SECOND
            }
        );
        assert_eq!(limit.admit(9), Admitted::Yes { left_out: 0 });
    }
}
