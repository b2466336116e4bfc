//! Size of the store: what it takes on disk, what of that is in use, and how many events have to go for less.

use std::time::Duration;

use super::Retention;

/// Bytes that a conflict counts for besides its body and headers.
pub(super) const CONFLICT_OVERHEAD: i64 = 512;

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
    /// Bytes that conflicts count for.
    pub of_conflicts: u64,
    /// Age of the oldest conflict.
    pub oldest_conflict: Option<Duration>,
    /// Age of the oldest refused delivery.
    pub oldest_refused: Option<Duration>,
}

/// Rows with their bytes: those that are to go, or that have gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Surplus {
    /// Number of rows.
    pub rows: u64,
    /// Bytes that they count for.
    pub bytes: u64,
}

impl StoreSize {
    /// Returns the number of events to delete until at most `bound` bytes are in use.
    pub(super) fn events_above(&self, bound: u64) -> u64 {
        let above = self.in_use.saturating_sub(bound);
        above.div_ceil(self.of_event.max(1))
    }

    /// Returns the longest time for which a published event, a conflict or a refused delivery was kept beyond its
    /// retention and `slack`.
    pub(super) fn overdue(&self, keep: Retention, slack: Duration) -> Duration {
        let kept = [
            (self.oldest_confirm, keep.events),
            (self.oldest_conflict, keep.conflicts),
            (self.oldest_refused, keep.refused),
        ];
        let overdue = kept.into_iter().map(|(oldest, keep)| {
            let oldest = oldest.unwrap_or_default();
            oldest.saturating_sub(keep.saturating_add(slack))
        });
        overdue.max().unwrap_or_default()
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
        let keep = Retention {
            events: 3 * day,
            conflicts: 30 * day,
            refused: 7 * day,
            keys: day,
        };
        let overdue = |[confirm, conflict, refused]: [u32; 3]| {
            let size = StoreSize {
                oldest_confirm: (confirm > 0).then(|| confirm * day),
                oldest_conflict: (conflict > 0).then(|| conflict * day),
                oldest_refused: (refused > 0).then(|| refused * day),
                ..StoreSize::default()
            };
            size.overdue(keep, day)
        };
        assert_eq!(overdue([0, 0, 0]), Duration::ZERO);
        assert_eq!(overdue([4, 31, 8]), Duration::ZERO);
        assert_eq!(overdue([5, 31, 8]), day);
        assert_eq!(overdue([5, 33, 8]), 2 * day);
        assert_eq!(overdue([5, 33, 11]), 3 * day);
    }
}
