//! The role [`Cursor`](super::Cursor) on both databases: what they read alike.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable};

/// The last event of a range of numbers.
pub(super) const LAST_OF: &str = "
    SELECT seq, key FROM event WHERE seq > $1 AND seq <= $2 ORDER BY seq DESC LIMIT 1";

/// The highest number of an event.
pub(super) const NEWEST: &str = "SELECT max(seq) AS number FROM event";

#[derive(QueryableByName)]
pub(super) struct NumberRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) number: Option<i64>,
}

#[derive(QueryableByName)]
pub(super) struct PlaceRow {
    #[diesel(sql_type = BigInt)]
    pub(super) seq: i64,
    #[diesel(sql_type = Binary)]
    pub(super) key: Vec<u8>,
}

/// Defines what a connection of this type reads for the cursor. `$given` is the statement for the highest
/// number that was given to any event.
macro_rules! cursor_reads {
    ($connection:ty, $given:expr) => {
        /// Returns the events after `after` up to the number `until` that fit.
        fn read_after(
            connection: &mut $connection,
            query: &EventQuery,
            after: EventPosition,
            until: i64,
        ) -> QueryResult<Followed> {
            let Some(after_deleted) = is_deleted(connection, after)? else {
                return Ok(Followed::AnotherHistory);
            };
            let limit = query.limit.min(PAGE);
            let found = republish::read_oldest(connection, query, (after.seq, until), limit)?;
            let last = found.events.last();
            let last = last.map_or(after, |event| {
                EventPosition::of(event.seq, event.message_id)
            });
            // Behind the last one that fits, more were looked at.
            let looked = found.next.map_or(until, |next| next.0);
            let next = last_of(connection, (last.seq, looked))?.unwrap_or(last);
            Ok(Followed::By(Followers {
                events: found.events,
                next,
                more: found.next.is_some(),
                after_deleted,
            }))
        }

        /// Returns the place of the last event of a range of numbers.
        fn last_of(
            connection: &mut $connection,
            (after, until): (i64, i64),
        ) -> QueryResult<Option<EventPosition>> {
            let row: Option<PlaceRow> = sql_query(LAST_OF)
                .bind::<BigInt, _>(after)
                .bind::<BigInt, _>(until)
                .get_result(connection)
                .optional()?;
            let place = |row: PlaceRow| {
                let message = message_key(&row.key)?.message_id();
                Ok(EventPosition::of(Seq(row.seq), message))
            };
            row.map(place).transpose()
        }

        /// Returns `true` if the event at this place was deleted, and others came since. None if the place
        /// is of another history of the store.
        fn is_deleted(
            connection: &mut $connection,
            place: EventPosition,
        ) -> QueryResult<Option<bool>> {
            if place == EventPosition::START {
                return Ok(Some(false));
            }
            if let Some(found) = last_of(connection, (place.seq - 1, place.seq))? {
                return Ok((found == place).then_some(false));
            }
            let given: Option<NumberRow> = sql_query($given).get_result(connection).optional()?;
            // A login that may not look at the sequence: the number is believed.
            let given = given.and_then(|row| row.number);
            Ok(match given {
                Some(given) if given < place.seq => None,
                Some(given) => Some(given > place.seq),
                None => Some(true),
            })
        }

        /// Returns the highest number of an event, 0 if there is none.
        fn newest(connection: &mut $connection) -> QueryResult<i64> {
            let row: NumberRow = sql_query(NEWEST).get_result(connection)?;
            Ok(row.number.unwrap_or(0))
        }
    };
}
pub(super) use cursor_reads;
