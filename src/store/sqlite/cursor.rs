//! The role [`Cursor`] in SQLite. One transaction writes at a time, and takes its numbers as it writes:
//! numbers appear in their order.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::{SqliteStore, republish};
use crate::store::catalog::{EventQuery, PAGE};
use crate::store::cursor::{EventPosition, Followed, Followers};
use crate::store::cursor_rows::{LAST_OF, NEWEST, NumberRow, PlaceRow, cursor_reads};
use crate::store::row::message_key;
use crate::store::{Cursor, Seq, StoreError};

/// The highest number that was given.
const GIVEN: &str =
    "SELECT coalesce(max(seq), 0) AS number FROM sqlite_sequence WHERE name = 'dedup'";

cursor_reads!(SqliteConnection, GIVEN);

impl Cursor for SqliteStore {
    fn events_after(
        &self,
        query: &EventQuery,
        after: EventPosition,
    ) -> Result<Followed, StoreError> {
        self.read(|connection| {
            let until = newest(connection)?;
            read_after(connection, query, after, until)
        })
    }
}
