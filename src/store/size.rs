//! Size of the store: what it takes on disk, what of that is in use, and how many events have to go for less.

use std::time::Duration;

/// Confirms that are looked at for each event that is to go before its time. Those of events that wait for another sink stay.
pub(super) const EARLY_LOOK: usize = 20;

/// Measured size of the store. Figures of rows are estimates: none of them reads a whole table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Bytes that all tables and indexes take on disk.
    pub on_disk: u64,
    /// Bytes of them that rows use. The rest is free for new rows.
    pub in_use: u64,
    /// Bytes that an event uses, on average.
    pub of_event: u64,
    /// Age of the oldest confirm that was not deleted yet.
    pub oldest_confirm: Option<Duration>,
}

impl StoreSize {
    /// Returns the number of events to delete until at most `bound` bytes are in use.
    pub(super) fn events_above(&self, bound: u64) -> u64 {
        let above = self.in_use.saturating_sub(bound);
        above.div_ceil(self.of_event.max(1))
    }

    /// Returns the time for which the oldest published event was kept beyond `keep`.
    pub(super) fn overdue(&self, keep: Duration) -> Duration {
        let oldest = self.oldest_confirm.unwrap_or_default();
        oldest.saturating_sub(keep)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_events_go_as_are_above_the_bound_and_no_more() {
        let size = StoreSize {
            in_use: 1_000_000,
            of_event: 1_000,
            ..StoreSize::default()
        };
        let above = |bound| size.events_above(bound);
        assert_eq!(
            [0, 900_000, 999_001, 1_000_000, 2_000_000].map(above),
            [1_000, 100, 1, 0, 0]
        );
        // Without an average, a store of keys only is not emptied for ever.
        assert_eq!(StoreSize::default().events_above(0), 0);
    }

    #[test]
    fn what_is_kept_longer_than_it_should_is_overdue() {
        let day = Duration::from_secs(86_400);
        let size = |oldest_confirm| StoreSize {
            oldest_confirm,
            ..StoreSize::default()
        };
        assert_eq!(size(None).overdue(day), Duration::ZERO);
        assert_eq!(size(Some(day)).overdue(3 * day), Duration::ZERO);
        assert_eq!(size(Some(5 * day)).overdue(3 * day), 2 * day);
    }
}
