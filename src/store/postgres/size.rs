//! Measuring the store in PostgreSQL, and deleting its oldest events before their time.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable};

use super::{PostgresStore, sql_limit};
use crate::domain::delivery::InstanceId;
use crate::store::size::EARLY_LOOK;
use crate::store::{StoreError, StoreSize};

/// The quarantine has bounds of its own, and is not in use by events. Sizes on disk come from the file system, the number of events
/// from the statistics collector (after a crash from the last `ANALYZE`), and the average from the oldest and the newest events. The
/// bytes of a body are known without reading it.
const SIZE: &str = "
    WITH disk AS MATERIALIZED (
        SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint AS bytes,
               coalesce(sum(pg_total_relation_size(oid)) FILTER (WHERE oid NOT IN ('event'::regclass, 'quarantine'::regclass)), 0)::bigint AS others,
               coalesce(sum(pg_total_relation_size(oid)) FILTER (WHERE oid <> 'quarantine'::regclass), 0)::bigint AS own
        FROM pg_class WHERE relkind = 'r' AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'event'::regclass)
    ), rows AS MATERIALIZED (
        SELECT coalesce(nullif(pg_stat_get_live_tuples(oid), 0), greatest(reltuples, 0)::bigint) AS events
        FROM pg_class WHERE oid = 'event'::regclass
    ), average AS MATERIALIZED (
        SELECT coalesce(avg(octet_length(body) + octet_length(headers)), 0)::bigint + 150 AS bytes FROM (
            (SELECT body, headers FROM event ORDER BY seq LIMIT 300)
            UNION ALL (SELECT body, headers FROM event ORDER BY seq DESC LIMIT 300)) AS sampled
    )
    SELECT disk.bytes AS on_disk, least(disk.own, disk.others + rows.events * average.bytes)::bigint AS in_use, average.bytes AS of_event,
           (SELECT (extract(epoch FROM now() - min(at)) * 1000)::bigint FROM published) AS oldest_ms
    FROM disk, rows, average";

/// Tells that no instance with a live lease has a lower id than `$1`. One instance at a time deletes by size: two would delete twice
/// as much as is needed. A lease that ends later than twice its length from now was taken by a clock that was ahead.
const IS_FIRST: &str = "
    SELECT NOT EXISTS (
        SELECT FROM instance WHERE id < $1 AND alive_until > now()
           AND alive_until <= now() + 2 * coalesce(lease_ms, 3600000) * interval '1 millisecond') AS first";

/// Deletes at most `$1` events that every sink has confirmed, out of the oldest `$2` confirms, and these confirms.
const DELETE_OLDEST: &str = "
    WITH oldest AS MATERIALIZED (SELECT ctid AS place, seq, at FROM published ORDER BY at, seq LIMIT $2),
    free AS MATERIALIZED (
        SELECT seq FROM oldest
        WHERE (SELECT true FROM outbox WHERE outbox.seq = oldest.seq LIMIT 1) IS NULL
          AND (SELECT true FROM parked WHERE parked.seq = oldest.seq LIMIT 1) IS NULL
        GROUP BY seq ORDER BY min(at), seq LIMIT $1
    ), deleted AS (
        DELETE FROM event WHERE seq = ANY (ARRAY (SELECT seq FROM free)) RETURNING seq
    ), forgotten AS (
        DELETE FROM published WHERE ctid = ANY (ARRAY (SELECT place FROM oldest WHERE seq IN (SELECT seq FROM free)))
    )
    SELECT count(*) AS events FROM deleted";

#[derive(QueryableByName)]
struct SizeRow {
    #[diesel(sql_type = BigInt)]
    on_disk: i64,
    #[diesel(sql_type = BigInt)]
    in_use: i64,
    #[diesel(sql_type = BigInt)]
    of_event: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_ms: Option<i64>,
}

#[derive(QueryableByName)]
struct FirstRow {
    #[diesel(sql_type = diesel::sql_types::Bool)]
    first: bool,
}

#[derive(QueryableByName)]
struct GoneRow {
    #[diesel(sql_type = BigInt)]
    events: i64,
}

impl PostgresStore {
    /// See [`Housekeeping::size`](crate::store::Housekeeping::size).
    pub(super) fn measured_size(&self) -> Result<StoreSize, StoreError> {
        let row: SizeRow = self.run(|connection| sql_query(SIZE).get_result(connection))?;
        let bytes = |number: i64| u64::try_from(number).unwrap_or(0);
        Ok(StoreSize {
            on_disk: bytes(row.on_disk),
            in_use: bytes(row.in_use),
            of_event: bytes(row.of_event),
            oldest_confirm: row.oldest_ms.map(|ms| Duration::from_millis(bytes(ms))),
        })
    }

    /// See [`Housekeeping::delete_oldest`](crate::store::Housekeeping::delete_oldest).
    pub(super) fn delete_before_their_time(
        &self,
        owner: InstanceId,
        limit: usize,
    ) -> Result<u64, StoreError> {
        self.delete_events(|connection| {
            let row: FirstRow = sql_query(IS_FIRST)
                .bind::<Binary, _>(&owner.as_bytes()[..])
                .get_result(connection)?;
            if !row.first {
                return Ok(0);
            }
            let gone: GoneRow = sql_query(DELETE_OLDEST)
                .bind::<BigInt, _>(sql_limit(limit))
                .bind::<BigInt, _>(sql_limit(limit.saturating_mul(EARLY_LOOK)))
                .get_result(connection)?;
            Ok(gone.events.unsigned_abs())
        })
    }
}
