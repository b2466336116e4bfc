//! The role [`Catalog`] in SQLite.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text};

use super::schema::{event, parked};
use super::{SqliteStore, length, load_event};
use crate::domain::delivery::UnixMillis;
use crate::domain::sink::SinkName;
use crate::store::catalog::{self, EventQuery, EventSummary};
use crate::store::catalog_answers::catalog_answers;
use crate::store::catalog_rows::{self as rows, catalog_reads};
use crate::store::row::message_key;
use crate::store::trace::{self, EventTrace, Traced};
use crate::store::trace_rows::{self, trace_reads};
use crate::store::{Catalog, NewEvent, Parked, Seq, StoreError, StoredEvent};

type Row = (
    i64,
    String,
    i64,
    Vec<u8>,
    String,
    String,
    Option<String>,
    i32,
);

/// Conflicts after a place in the list. The time is in milliseconds since 1970.
const CONFLICTS: &str = "
    SELECT key, digest, source, event_id, content_type, received_at, length(body) AS bytes, at
    FROM conflict
    WHERE (at, key, digest) < ($1, $2, $3)
    ORDER BY at DESC, key DESC, digest DESC LIMIT $4";

/// Rows of the outbox for a number.
const TRACED_WAITING: &str = "
    SELECT sink, attempts, since, due_at AS due FROM outbox WHERE seq = $1 ORDER BY sink";

/// Parked rows of a number.
const TRACED_PARKED: &str = "SELECT sink, reason, at FROM parked WHERE seq = $1 ORDER BY sink";

/// Confirms of a number, out of the next ones from a time on.
const TRACED_CONFIRMS: &str = "
    SELECT at FROM (SELECT at, seq FROM published WHERE at >= $1 ORDER BY at, seq LIMIT $2) AS looked
    WHERE seq = $3 ORDER BY at LIMIT $4";

catalog_reads!(SqliteConnection);
trace_reads!(SqliteConnection);

impl Catalog for SqliteStore {
    fn parked(&self, sink: &SinkName, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.read(|connection| {
            let rows = parked::table
                .inner_join(event::table.on(event::seq.eq(parked::seq)))
                .filter(parked::seq.gt(after.0))
                .filter(parked::sink.eq(sink.as_str()))
                .order(parked::seq)
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .select((
                    parked::seq,
                    parked::reason,
                    parked::at,
                    event::key,
                    event::source,
                    event::event_id,
                    event::event_type,
                    length(event::body),
                ))
                .load::<Row>(connection)?;
            rows.into_iter()
                .map(
                    |(seq, reason, at, bytes_of_key, source, event_id, event_type, bytes)| {
                        Ok(Parked {
                            seq: Seq(seq),
                            sink: sink.clone(),
                            message_id: message_key(&bytes_of_key)?.message_id(),
                            source,
                            event_id,
                            event_type,
                            bytes: bytes.unsigned_abs().into(),
                            reason,
                            at: UnixMillis(at),
                        })
                    },
                )
                .collect()
        })
    }

    fn parked_event(&self, Seq(seq): Seq) -> Result<Option<StoredEvent>, StoreError> {
        let row = self.read(|connection| {
            let is_parked = diesel::select(diesel::dsl::exists(
                parked::table.filter(parked::seq.eq(seq)),
            ))
            .get_result(connection)?;
            if is_parked {
                load_event(connection, seq)
            } else {
                Ok(None)
            }
        })?;
        row.map(|row| row.into_stored(0))
            .transpose()
            .map_err(StoreError::Unavailable)
    }

    fn event(&self, seq: Seq) -> Result<Option<(EventSummary, StoredEvent)>, StoreError> {
        let all = EventQuery::default();
        let (summary, row) = self.read(|connection| {
            let mut found = read_range(connection, &all, seq.0, seq.0.saturating_add(1), 1)?;
            Ok((found.pop(), load_event(connection, seq.0)?))
        })?;
        let (Some(summary), Some(row)) = (summary, row) else {
            return Ok(None);
        };
        let event = row.into_stored(0).map_err(StoreError::Unavailable)?;
        Ok(Some((summary, event)))
    }

    fn trace(&self, event: Traced) -> Result<EventTrace, StoreError> {
        self.read(|connection| read_trace(connection, event))
    }

    catalog_answers!(read);
}
