//! Parked events: listed, put back into the outbox, discarded.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::{EventColumns, PostgresStore, numbers, sql_limit};
use crate::domain::delivery::{InstanceId, UnixMillis};
use crate::store::row::message_key;
use crate::store::{Parked, Seq, StoreError, StoredEvent};

// Events are reached by number, one by one: the planner might read all of them for a join.
const LIST: &str = "
    SELECT parked.seq, parked.reason, (extract(epoch FROM parked.at) * 1000)::bigint AS at_ms, e.*
    FROM parked CROSS JOIN LATERAL (
        SELECT key, source, event_id, event_type, length(body)::bigint AS bytes FROM event WHERE event.seq = parked.seq LIMIT 1
    ) AS e
    WHERE parked.seq > $1 ORDER BY parked.seq LIMIT $2";

/// Back into the outbox of an instance that does not live: the next one to look takes them over.
const RETRY: &str = "
    WITH gone AS (DELETE FROM parked WHERE seq = ANY ($1) RETURNING seq)
    INSERT INTO outbox (seq, key, bytes, owner)
    SELECT e.seq, e.key, length(e.body), $2
    FROM gone CROSS JOIN LATERAL (SELECT seq, key, body FROM event WHERE event.seq = gone.seq LIMIT 1) AS e
    ON CONFLICT DO NOTHING";

const DISCARD: &str = "
    WITH gone AS (DELETE FROM parked WHERE seq = ANY ($1) RETURNING seq)
    DELETE FROM event WHERE seq = ANY (ARRAY (SELECT seq FROM gone))";

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

impl PostgresStore {
    pub(super) fn list_parked(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.run(|connection| {
            let rows = sql_query(LIST)
                .bind::<BigInt, _>(after.0)
                .bind::<BigInt, _>(sql_limit(limit))
                .load::<Row>(connection)?;
            rows.into_iter()
                .map(|row| {
                    Ok(Parked {
                        seq: Seq(row.seq),
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

    pub(super) fn show_parked(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError> {
        let found = self.run(|connection| {
            sql_query("SELECT * FROM event WHERE seq = (SELECT seq FROM parked WHERE seq = $1)")
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

    pub(super) fn retry(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        let nobody = InstanceId::random();
        self.run(|connection| {
            sql_query(RETRY)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .bind::<Binary, _>(&nobody.as_bytes()[..])
                .execute(connection)
                .map(|rows| rows as u64)
        })
    }

    pub(super) fn discard(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.run(|connection| {
            sql_query(DISCARD)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .execute(connection)
                .map(|rows| rows as u64)
        })
    }
}
