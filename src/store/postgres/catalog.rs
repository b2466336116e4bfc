//! The role [`Catalog`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text};

use super::{EventColumns, PostgresStore, outbox, sql_limit};
use crate::domain::delivery::UnixMillis;
use crate::domain::sink::SinkName;
use crate::store::catalog::{self, EventQuery, EventSummary};
use crate::store::catalog_answers::catalog_answers;
use crate::store::catalog_rows::{self as rows, catalog_reads};
use crate::store::row::message_key;
use crate::store::trace::{self, EventTrace, Traced};
use crate::store::trace_rows::{self, trace_reads};
use crate::store::{Catalog, NewEvent, Parked, Seq, StoreError, StoredEvent};

// Events are reached by number, one by one: the planner might read all of them for a join.
const PARKED: &str = "
    SELECT parked.seq, parked.reason, (extract(epoch FROM parked.at) * 1000)::bigint AS at_ms, e.*
    FROM parked CROSS JOIN LATERAL (
        SELECT key, source, event_id, event_type, length(body)::bigint AS bytes FROM event WHERE event.seq = parked.seq LIMIT 1
    ) AS e
    WHERE parked.seq > $1 AND (parked.sink = $3) IS TRUE ORDER BY parked.seq LIMIT $2";

const PARKED_EVENT: &str =
    "SELECT * FROM event WHERE seq = (SELECT seq FROM parked WHERE seq = $1 LIMIT 1)";

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = BigInt)]
    at_ms: i64,
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    event_type: Option<String>,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

/// Conflicts after a place in the list. The time is in microseconds since 1970.
const CONFLICTS: &str = "
    SELECT key, digest, source, event_id, content_type, received_at, length(body)::bigint AS bytes,
           (extract(epoch FROM at) * 1000000)::bigint AS at
    FROM conflict
    WHERE (conflict.at, key, digest) < ('epoch'::timestamptz + $1 * interval '1 microsecond', $2, $3)
    ORDER BY conflict.at DESC, key DESC, digest DESC LIMIT $4";

/// Rows of the outbox for a number.
const TRACED_WAITING: &str = "
    SELECT sink, attempts, (extract(epoch FROM since) * 1000)::bigint AS since,
           (extract(epoch FROM due_at) * 1000)::bigint AS due
    FROM outbox WHERE seq = $1 ORDER BY sink";

/// Parked rows of a number.
const TRACED_PARKED: &str = "
    SELECT sink, reason, (extract(epoch FROM at) * 1000)::bigint AS at FROM parked WHERE seq = $1 ORDER BY sink";

/// Confirms of a number, out of the next ones from a time on.
const TRACED_CONFIRMS: &str = "
    SELECT (extract(epoch FROM looked.at) * 1000)::bigint AS at
    FROM (
        SELECT at, seq FROM published
        WHERE at >= 'epoch'::timestamptz + $1 * interval '1 millisecond' ORDER BY at, seq LIMIT $2
    ) AS looked
    WHERE looked.seq = $3 ORDER BY looked.at LIMIT $4";

catalog_reads!(PgConnection);
trace_reads!(PgConnection);

impl Catalog for PostgresStore {
    fn parked(&self, sink: &SinkName, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.run(|connection| {
            let rows = sql_query(PARKED)
                .bind::<BigInt, _>(after.0)
                .bind::<BigInt, _>(sql_limit(limit))
                .bind::<Text, _>(sink.as_str())
                .load::<Row>(connection)?;
            rows.into_iter()
                .map(|row| {
                    Ok(Parked {
                        seq: Seq(row.seq),
                        sink: sink.clone(),
                        message_id: message_key(&row.key)?.message_id(),
                        source: row.source,
                        event_id: row.event_id,
                        event_type: row.event_type,
                        bytes: row.bytes.unsigned_abs(),
                        reason: row.reason,
                        at: UnixMillis(row.at_ms),
                    })
                })
                .collect()
        })
    }

    fn parked_event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError> {
        let found = self.run(|connection| {
            sql_query(PARKED_EVENT)
                .bind::<BigInt, _>(row.0)
                .get_result::<EventColumns>(connection)
                .optional()?
                .map(EventColumns::into_row)
                .transpose()
        })?;
        found
            .map(|row| row.into_stored(0))
            .transpose()
            .map_err(StoreError::Unavailable)
    }

    fn event(&self, seq: Seq) -> Result<Option<(EventSummary, StoredEvent)>, StoreError> {
        let all = EventQuery::default();
        let (summary, row) = self.run(|connection| {
            let mut found = read_range(connection, &all, seq.0, seq.0.saturating_add(1), 1)?;
            Ok((found.pop(), {
                sql_query(outbox::EVENTS)
                    .bind::<Array<BigInt>, _>(vec![seq.0])
                    .get_result::<EventColumns>(connection)
                    .optional()?
                    .map(EventColumns::into_row)
                    .transpose()?
            }))
        })?;
        let (Some(summary), Some(row)) = (summary, row) else {
            return Ok(None);
        };
        let event = row.into_stored(0).map_err(StoreError::Unavailable)?;
        Ok(Some((summary, event)))
    }

    fn trace(&self, event: Traced) -> Result<EventTrace, StoreError> {
        self.run(|connection| read_trace(connection, event))
    }

    catalog_answers!(run);
}
