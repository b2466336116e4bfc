//! The role [`Cursor`] in PostgreSQL: how far numbers can be read without leaving one out.
//!
//! A transaction that stores events locks the table `event` (`ROW EXCLUSIVE`) before it takes a number,
//! and until after its commit can be seen. The highest visible number was taken before it was seen, and
//! all lower ones before that. So nothing appears below it any more once each transaction is gone that
//! held the lock when it was seen. Storing an event costs nothing more.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{PostgresStore, republish};
use crate::store::catalog::{EventQuery, PAGE};
use crate::store::cursor::{EventPosition, Followed, Followers};
use crate::store::cursor_rows::{LAST_OF, NEWEST, NumberRow, PlaceRow, cursor_reads};
use crate::store::row::message_key;
use crate::store::{Cursor, Seq, StoreError};

/// Transactions that may have taken numbers. Each has a virtual id from its begin on.
const WRITERS: &str = "
    SELECT virtualtransaction AS writer FROM pg_locks
    WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = 'event'::regclass
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The highest number that was given. Empty without a right on the sequence.
const GIVEN: &str = "
    SELECT coalesce(last_value, 0) AS number FROM pg_sequences
    WHERE has_sequence_privilege('event_seq', 'USAGE, SELECT') AND schemaname = current_schema() AND sequencename = 'event_seq'";

/// Looks of one read, at most, while newer events are under way.
const LOOKS: usize = 10;
/// Pause between two looks: about the time of a commit.
const PAUSE: Duration = Duration::from_millis(5);

cursor_reads!(PgConnection, GIVEN);

#[derive(QueryableByName)]
struct WriterRow {
    #[diesel(sql_type = Nullable<Text>)]
    writer: Option<String>,
}

/// Highest number below which no event can appear any more, as far as looks have told. Pure.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    number: i64,
    /// The highest number at an earlier look, and the transactions of that look that are not gone.
    pending: Option<(i64, HashSet<String>)>,
}

impl Horizon {
    /// Takes a look into account: the highest visible number, and the transactions that were there
    /// afterwards. Returns the horizon.
    fn look(&mut self, newest: i64, writers: HashSet<String>) -> i64 {
        if newest < self.number {
            // The newest events were deleted, or the server has lost them and gives their numbers again.
            *self = Self::default();
        }
        if let Some((number, pending)) = &mut self.pending {
            pending.retain(|writer| writers.contains(writer));
            if pending.is_empty() {
                self.number = self.number.max(*number);
                self.pending = None;
            }
        }
        if writers.is_empty() {
            self.number = newest;
            self.pending = None;
        } else if self.pending.is_none() && newest > self.number {
            self.pending = Some((newest, writers));
        }
        self.number
    }
}

impl Cursor for PostgresStore {
    fn events_after(
        &self,
        query: &EventQuery,
        after: EventPosition,
    ) -> Result<Followed, StoreError> {
        let until = self.horizon_beyond(after)?;
        self.run(|connection| read_after(connection, query, after, until))
    }
}

impl PostgresStore {
    /// Returns the horizon. While only events under way lie between it and the position, looks again for
    /// a moment.
    fn horizon_beyond(&self, after: EventPosition) -> Result<i64, StoreError> {
        for look in 1.. {
            let (number, newest) = self.look()?;
            if number > after.seq || newest <= after.seq || look >= LOOKS {
                return Ok(number);
            }
            thread::sleep(PAUSE);
        }
        Ok(0)
    }

    /// Looks at the server. Returns the horizon and the highest visible number.
    fn look(&self) -> Result<(i64, i64), StoreError> {
        // Held over the look: two looks that are taken into account in another order would end a
        // transaction that has just begun.
        let mut horizon = self.horizon.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = self.run(newest)?;
        let rows: Vec<WriterRow> = self.run(|connection| sql_query(WRITERS).load(connection))?;
        let writers = rows.into_iter().filter_map(|row| row.writer).collect();
        Ok((horizon.look(newest, writers), newest))
    }
}

/// Place of the horizon in the store.
pub(super) type SharedHorizon = Mutex<Horizon>;

#[cfg(test)]
mod tests {
    use super::*;

    fn writers(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn without_a_writer_all_that_is_visible_can_be_read() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.look(7, writers(&[])), 7);
        assert_eq!(horizon.look(9, writers(&[])), 9);
    }

    #[test]
    fn a_number_is_read_once_all_writers_of_its_time_are_gone() {
        let mut horizon = Horizon::default();
        assert_eq!(horizon.look(7, writers(&["a", "b"])), 0);
        assert_eq!(horizon.look(9, writers(&["b", "c"])), 0, "b may have 6");
        assert_eq!(
            horizon.look(12, writers(&["c", "d"])),
            7,
            "a and b are gone"
        );
        assert_eq!(horizon.look(13, writers(&["d"])), 7, "d may have 11");
        assert_eq!(horizon.look(13, writers(&["e"])), 12);
    }

    #[test]
    fn a_writer_that_stands_still_holds_the_horizon_and_no_other_one_lifts_it() {
        let mut horizon = Horizon::default();
        horizon.look(5, writers(&[]));
        for newest in 6..100 {
            let other = newest.to_string();
            assert_eq!(horizon.look(newest, writers(&["stuck", &other])), 5);
        }
        assert_eq!(horizon.look(100, writers(&[])), 100);
    }

    #[test]
    fn a_server_that_has_gone_back_begins_anew() {
        let mut horizon = Horizon::default();
        horizon.look(100, writers(&[]));
        assert_eq!(horizon.look(90, writers(&["a"])), 0);
        assert_eq!(horizon.look(91, writers(&["b"])), 90);
    }
}
