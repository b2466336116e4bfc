//! The role [`Catalog`](super::Catalog) on both databases: the statements and rows that they share, and
//! what they read with them.
//!
//! Placeholders stand in the order of their numbers, because SQLite numbers them by their place.

use std::collections::BTreeMap;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};

use super::Seq;
use super::catalog::{EventSummary, ParkedFor, WaitingFor};
pub(super) use super::conflict_rows::{CONFLICT, CONFLICT_BODY, ConflictRow, WholeConflictRow};
use super::row::{marks, message_key};
use crate::domain::delivery::{MessageId, UnixMillis};
use crate::domain::sink::SinkName;

/// The lowest number of the next events, and their count.
pub(super) const LOOKED: &str = "
    SELECT min(seq) AS lowest, count(*) AS count
    FROM (SELECT seq FROM event WHERE seq < $1 ORDER BY seq DESC LIMIT $2) AS looked";

/// Events of a range of numbers that fit the question. The state is no part of it: a plan that was made
/// while the outbox was empty read all of the outbox again for each event.
macro_rules! events_that_fit {
    ($order:literal) => {
        concat!(
            "
    SELECT seq, key, source, event_id, event_type, content_type, received_at, CAST(length(body) AS bigint) AS bytes,
           conflict_of, same_bytes_as, verified_by
    FROM event
    WHERE seq >= $1 AND seq < $2
      AND coalesce(source = $3, true)
      AND coalesce(event_id = $4, true)
      AND ($5 = 0 OR event_type = $6)
      AND received_at >= $7 AND received_at < $8
      AND key >= $9 AND key <= $10
    ORDER BY ",
            $order,
            " LIMIT $11"
        )
    };
}

/// The same, the newest first.
pub(super) const EVENTS: &str = events_that_fit!("seq DESC");

/// The same, the oldest first.
pub(super) const OLDEST_EVENTS: &str = events_that_fit!("seq");

/// Rows of the outbox for a range of numbers.
pub(super) const WAITING: &str = "
    SELECT seq, sink, attempts FROM outbox WHERE seq >= $1 AND seq <= $2 ORDER BY seq, sink";

/// Parked rows of a range of numbers.
pub(super) const PARKED_FOR: &str = "
    SELECT seq, sink, reason FROM parked WHERE seq >= $1 AND seq <= $2 ORDER BY seq, sink";

/// Numbers of events whose dedup keys are in a range.
pub(super) const BY_KEY: &str = "
    SELECT seq, coalesce(message, key) AS key FROM dedup WHERE key >= $1 AND key <= $2 ORDER BY key LIMIT 16";

#[derive(QueryableByName)]
pub(super) struct LookedRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) lowest: Option<i64>,
    #[diesel(sql_type = BigInt)]
    pub(super) count: i64,
}

#[derive(QueryableByName)]
pub(super) struct SummaryRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    event_type: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    content_type: Option<String>,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
    #[diesel(sql_type = Nullable<Binary>)]
    conflict_of: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    same_bytes_as: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Text>)]
    verified_by: Option<String>,
}

impl SummaryRow {
    /// Returns the event with its rows at the sinks.
    pub(super) fn with(self, at: &mut AtSinks) -> QueryResult<EventSummary> {
        Ok(EventSummary {
            seq: Seq(self.seq),
            message_id: message_key(&self.key)?.message_id(),
            marks: marks(self.conflict_of.as_deref(), self.same_bytes_as.as_deref())?,
            source: self.source,
            event_id: self.event_id,
            event_type: self.event_type,
            content_type: self.content_type,
            received_at: UnixMillis(self.received_at),
            bytes: self.bytes.unsigned_abs(),
            verified_by: self.verified_by,
            waiting: at.waiting.remove(&self.seq).unwrap_or_default(),
            parked: at.parked.remove(&self.seq).unwrap_or_default(),
        })
    }

    /// Returns `true` if this is the id of the event's message.
    pub(super) fn has(&self, message: MessageId) -> bool {
        message_key(&self.key).is_ok_and(|key| key.message_id() == message)
    }

    pub(super) fn seq(&self) -> i64 {
        self.seq
    }
}

#[derive(QueryableByName)]
pub(super) struct WaitingRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = Integer)]
    attempts: i32,
}

impl WaitingRow {
    fn sink(self) -> WaitingFor {
        WaitingFor {
            sink: SinkName::stored(self.sink),
            attempts: self.attempts.unsigned_abs(),
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct ParkedRow {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = Text)]
    reason: String,
}

impl ParkedRow {
    fn sink(self) -> ParkedFor {
        ParkedFor {
            sink: SinkName::stored(self.sink),
            reason: self.reason,
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct KeyRow {
    #[diesel(sql_type = BigInt)]
    pub(super) seq: i64,
    #[diesel(sql_type = Binary)]
    pub(super) key: Vec<u8>,
}

#[derive(QueryableByName)]
pub(super) struct BodyRow {
    #[diesel(sql_type = Binary)]
    pub(super) body: Vec<u8>,
}

/// Rows of the outbox and parked rows of a range of numbers, by number.
#[derive(Default)]
pub(super) struct AtSinks {
    waiting: BTreeMap<i64, Vec<WaitingFor>>,
    parked: BTreeMap<i64, Vec<ParkedFor>>,
}

impl AtSinks {
    pub(super) fn new(waiting: Vec<WaitingRow>, parked: Vec<ParkedRow>) -> Self {
        let mut all = Self::default();
        for row in waiting {
            all.waiting.entry(row.seq).or_default().push(row.sink());
        }
        for row in parked {
            all.parked.entry(row.seq).or_default().push(row.sink());
        }
        all
    }
}

/// Defines what a connection of this type reads for the catalog.
macro_rules! catalog_reads {
    ($connection:ty) => {
        /// Returns the events that fit, out of the next ones below `query.before`.
        fn read_events(
            connection: &mut $connection,
            query: &catalog::EventQuery,
        ) -> QueryResult<catalog::EventPage> {
            let before = query.before.map_or(i64::MAX, |seq| seq.0);
            let look = i64::try_from(catalog::LOOK).unwrap_or(i64::MAX);
            let looked: rows::LookedRow = sql_query(rows::LOOKED)
                .bind::<BigInt, _>(before)
                .bind::<BigInt, _>(look)
                .get_result(connection)?;
            let Some(lowest) = looked.lowest else {
                return Ok(catalog::EventPage::default());
            };
            let limit = query.limit.min(catalog::PAGE);
            let events = read_range(connection, query, lowest, before, limit)?;
            let full = events.len() == limit;
            let next = match events.last() {
                Some(last) if full => Some(last.seq),
                _ if looked.count == look => Some(Seq(lowest)),
                _ => None,
            };
            Ok(catalog::EventPage { events, next })
        }

        /// Returns the events from `lowest` to below `before` that fit, `limit` at most.
        fn read_range(
            connection: &mut $connection,
            query: &catalog::EventQuery,
            lowest: i64,
            before: i64,
            limit: usize,
        ) -> QueryResult<Vec<catalog::EventSummary>> {
            let mut found = Vec::new();
            let (mut below, part) = (before, catalog::PAGE);
            // Rows at sinks are read after the events: as many events as fit the rest are read in parts.
            let part = if query.asks_for_rows() { part } else { limit };
            while found.len() < limit {
                let range = (lowest, below);
                let events = read_part(connection, rows::EVENTS, query, range, part)?;
                let (Some(newest), Some(oldest)) = (events.first(), events.last()) else {
                    break;
                };
                let (full, range) = (events.len() == part, (oldest.seq(), newest.seq()));
                below = range.0;
                let mut at = read_at_sinks(connection, range)?;
                for row in events {
                    let known = query.message.is_none_or(|message| row.has(message));
                    let event = row.with(&mut at)?;
                    if known && query.fits_rows(&event) {
                        found.push(event);
                    }
                }
                if !full {
                    break;
                }
            }
            found.truncate(limit);
            Ok(found)
        }

        /// Returns the next events in the range that `statement` finds: they fit but for their state.
        pub(super) fn read_part(
            connection: &mut $connection,
            statement: &'static str,
            query: &catalog::EventQuery,
            (lowest, below): (i64, i64),
            limit: usize,
        ) -> QueryResult<Vec<rows::SummaryRow>> {
            let (first, last) = query
                .message
                .map_or(([0; 32], [u8::MAX; 32]), catalog::keys_of);
            sql_query(statement)
                .bind::<BigInt, _>(lowest)
                .bind::<BigInt, _>(below)
                .bind::<Nullable<Text>, _>(query.source.as_ref().map(|source| source.as_str()))
                .bind::<Nullable<Text>, _>(query.event_id.as_deref())
                .bind::<Integer, _>(i32::from(query.event_type.is_some()))
                .bind::<Nullable<Text>, _>(query.event_type.as_deref())
                .bind::<BigInt, _>(query.from.map_or(i64::MIN, |time| time.0))
                .bind::<BigInt, _>(query.until.map_or(i64::MAX, |time| time.0))
                .bind::<Binary, _>(&first[..])
                .bind::<Binary, _>(&last[..])
                .bind::<BigInt, _>(catalog::page(limit))
                .load(connection)
        }

        /// Returns the rows of the sinks for a range of numbers.
        pub(super) fn read_at_sinks(
            connection: &mut $connection,
            range: (i64, i64),
        ) -> QueryResult<rows::AtSinks> {
            let waiting = sql_query(rows::WAITING)
                .bind::<BigInt, _>(range.0)
                .bind::<BigInt, _>(range.1)
                .load(connection)?;
            let parked = sql_query(rows::PARKED_FOR)
                .bind::<BigInt, _>(range.0)
                .bind::<BigInt, _>(range.1)
                .load(connection)?;
            Ok(rows::AtSinks::new(waiting, parked))
        }

        /// Returns the number of the event with this name.
        fn read_number(
            connection: &mut $connection,
            name: catalog::EventName,
        ) -> QueryResult<Option<Seq>> {
            let (first, last) = match name {
                catalog::EventName::Key(key) => (*key.as_bytes(), *key.as_bytes()),
                catalog::EventName::Message(message) => catalog::keys_of(message),
            };
            let found: Vec<rows::KeyRow> = sql_query(rows::BY_KEY)
                .bind::<Binary, _>(&first[..])
                .bind::<Binary, _>(&last[..])
                .load(connection)?;
            for row in found {
                let message = message_key(&row.key)?.message_id();
                match name {
                    catalog::EventName::Message(wanted) if wanted != message => {}
                    _ => return Ok(Some(Seq(row.seq))),
                }
            }
            Ok(None)
        }

        /// Returns conflicts after `after` in the list, `limit` at most.
        fn read_conflicts(
            connection: &mut $connection,
            after: Option<catalog::ConflictPlace>,
            limit: usize,
        ) -> QueryResult<Vec<catalog::ConflictSummary>> {
            let (at, key, digest) = after.map_or(
                (catalog::ConflictPlace::NEWEST, [u8::MAX; 32], [u8::MAX; 32]),
                |place| (place.at, *place.key.as_bytes(), place.digest),
            );
            let found: Vec<rows::ConflictRow> = sql_query(CONFLICTS)
                .bind::<BigInt, _>(at)
                .bind::<Binary, _>(&key[..])
                .bind::<Binary, _>(&digest[..])
                .bind::<BigInt, _>(catalog::page(limit))
                .load(connection)?;
            found
                .into_iter()
                .map(rows::ConflictRow::into_summary)
                .collect()
        }

        fn read_conflict(
            connection: &mut $connection,
            place: &catalog::ConflictPlace,
        ) -> QueryResult<Option<rows::WholeConflictRow>> {
            sql_query(rows::CONFLICT)
                .bind::<Binary, _>(&place.key.as_bytes()[..])
                .bind::<Binary, _>(&place.digest[..])
                .get_result(connection)
                .optional()
        }

        fn read_conflict_body(
            connection: &mut $connection,
            place: &catalog::ConflictPlace,
        ) -> QueryResult<Option<Vec<u8>>> {
            let row: Option<rows::BodyRow> = sql_query(rows::CONFLICT_BODY)
                .bind::<Binary, _>(&place.key.as_bytes()[..])
                .bind::<Binary, _>(&place.digest[..])
                .get_result(connection)
                .optional()?;
            Ok(row.map(|row| row.body))
        }
    };
}
pub(super) use catalog_reads;
