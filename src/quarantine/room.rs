//! Room in the queue: bytes in all and of each source, and the rate of each source. Pure: time is an argument.

use std::collections::HashMap;
use std::time::Instant;

use crate::domain::delivery::SourceName;
use crate::telemetry::QuarantineDrop;

/// Time whose mean the rate is, in seconds.
const SPAN: u64 = 60;

/// Bounds of the room.
#[derive(Clone, Copy, Debug)]
pub(super) struct RoomBounds {
    /// Bytes in all. A source that has some in the queue gets at most half of them.
    pub(super) bytes: usize,
    /// Deliveries of a source in a second, as a mean over a minute.
    pub(super) per_sec: u64,
}

/// Room in the queue. It has an entry for each configured source that refused a delivery.
#[derive(Debug)]
pub(super) struct QueueRoom {
    bounds: RoomBounds,
    bytes: usize,
    sources: HashMap<SourceName, SourceRoom>,
}

/// Room of one source.
#[derive(Debug)]
struct SourceRoom {
    bytes: usize,
    /// Thousandths of deliveries that may come now.
    allowance: u64,
    since: Instant,
}

impl QueueRoom {
    pub(super) fn new(bounds: RoomBounds) -> Self {
        Self {
            bounds,
            bytes: 0,
            sources: HashMap::new(),
        }
    }

    /// Takes room for a delivery, or says which bound has been reached.
    pub(super) fn enter(
        &mut self,
        source: &SourceName,
        bytes: usize,
        now: Instant,
    ) -> Result<(), QuarantineDrop> {
        let bounds = self.bounds;
        let most = bounds.per_sec.saturating_mul(SPAN * 1000);
        if !self.sources.contains_key(source) {
            let new = SourceRoom {
                bytes: 0,
                allowance: most,
                since: now,
            };
            self.sources.insert(source.clone(), new);
        }
        let Some(room) = self.sources.get_mut(source) else {
            return Err(QuarantineDrop::Queue);
        };
        let passed = now.saturating_duration_since(room.since).as_millis();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        room.since = now;
        let more = passed.saturating_mul(bounds.per_sec);
        room.allowance = room.allowance.saturating_add(more).min(most);
        if room.allowance < 1000 {
            return Err(QuarantineDrop::Rate);
        }
        let fits = self.bytes.saturating_add(bytes) <= bounds.bytes;
        let is_fair = room.bytes == 0 || room.bytes.saturating_add(bytes) <= bounds.bytes / 2;
        if !fits || !is_fair {
            return Err(QuarantineDrop::Queue);
        }
        room.allowance -= 1000;
        room.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives room back.
    pub(super) fn leave(&mut self, source: &SourceName, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if let Some(room) = self.sources.get_mut(source) {
            room.bytes = room.bytes.saturating_sub(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn name(text: &str) -> SourceName {
        SourceName::parse(text).expect("a name")
    }

    #[test]
    fn a_flood_at_one_source_leaves_room_for_the_others() {
        let mut room = QueueRoom::new(RoomBounds {
            bytes: 100,
            per_sec: 1000,
        });
        let now = Instant::now();
        while room.enter(&name("flooded"), 10, now).is_ok() {}
        assert_eq!(room.bytes, 50);
        assert_eq!(room.enter(&name("quiet"), 50, now), Ok(()));
        assert_eq!(
            room.enter(&name("late"), 1, now),
            Err(QuarantineDrop::Queue)
        );
        room.leave(&name("flooded"), 10);
        assert_eq!(room.enter(&name("late"), 10, now), Ok(()));
    }

    #[test]
    fn a_source_may_bring_the_deliveries_of_a_minute_at_once_and_no_more() {
        let mut room = QueueRoom::new(RoomBounds {
            bytes: 1 << 30,
            per_sec: 2,
        });
        let start = Instant::now();
        let mut burst = 0;
        while room.enter(&name("flooded"), 1, start).is_ok() {
            burst += 1;
        }
        assert_eq!(burst, 120);
        let later = start + Duration::from_millis(1499);
        assert_eq!(room.enter(&name("flooded"), 1, later), Ok(()));
        assert_eq!(room.enter(&name("flooded"), 1, later), Ok(()));
        let rate = Err(QuarantineDrop::Rate);
        assert_eq!(room.enter(&name("flooded"), 1, later), rate);
        let next = later + Duration::from_millis(1);
        assert_eq!(room.enter(&name("flooded"), 1, next), Ok(()));
        let much_later = start + Duration::from_secs(100_000);
        for _ in 0..120 {
            assert_eq!(room.enter(&name("flooded"), 1, much_later), Ok(()));
        }
        assert_eq!(room.enter(&name("flooded"), 1, much_later), rate);
    }

    #[test]
    fn a_delivery_larger_than_half_of_the_room_comes_alone() {
        let mut room = QueueRoom::new(RoomBounds {
            bytes: 100,
            per_sec: 1000,
        });
        let now = Instant::now();
        assert_eq!(room.enter(&name("a"), 90, now), Ok(()));
        assert_eq!(room.enter(&name("a"), 1, now), Err(QuarantineDrop::Queue));
        room.leave(&name("a"), 90);
        assert_eq!(room.enter(&name("a"), 101, now), Err(QuarantineDrop::Queue));
    }
}
