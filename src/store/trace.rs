//! Rows of one event at its sinks, with their times: what a trace shows.

use super::Seq;
use crate::domain::delivery::UnixMillis;
use crate::domain::sink::SinkName;

/// Number of confirms that one trace reads, from the receipt of its event on. They are in the order of
/// their times, so that a trace needs no index by number.
pub(super) const CONFIRMS_READ: i64 = 100_000;

/// Confirms that are listed for one event, at most.
pub(super) const CONFIRMS_LISTED: i64 = 64;

/// Time by which the database's clock may be behind that of the service.
const CLOCK_SLACK_MS: i64 = 2000;

/// An event whose rows are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Traced {
    /// Its number.
    pub seq: Seq,
    /// Time of its receipt. No confirm is older.
    pub received_at: UnixMillis,
}

impl Traced {
    /// Returns the time of the first confirm that is read.
    pub(super) fn confirms_from(&self) -> i64 {
        self.received_at.0.saturating_sub(CLOCK_SLACK_MS)
    }
}

/// Rows of an event, each kind in the order of the sinks' names. All times are the database's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventTrace {
    /// Sinks that have not confirmed it.
    pub waiting: Vec<SinkWait>,
    /// Sinks that have refused it for good.
    pub parked: Vec<SinkRefusal>,
    /// Times of its confirms, the earliest first; the store keeps no sink with them. A row that an
    /// operator has discarded counts as confirmed. Confirms that came later than 100,000 others are
    /// not found.
    pub confirmed_at: Vec<UnixMillis>,
}

/// A row of the outbox, with its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkWait {
    /// Name of the sink.
    pub sink: SinkName,
    /// Number of attempts that were not confirmed.
    pub attempts: u32,
    /// Time at which the row was written.
    pub since: UnixMillis,
    /// Time of the next attempt.
    pub due: UnixMillis,
}

/// A parked row, with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRefusal {
    /// Name of the sink.
    pub sink: SinkName,
    /// Reason of the refusal.
    pub reason: String,
    /// Time at which the event was parked.
    pub at: UnixMillis,
}
