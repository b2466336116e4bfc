//! Measuring the store in PostgreSQL, and deleting its oldest events before their time.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable};

use super::{PostgresStore, sql_limit};
use crate::domain::delivery::InstanceId;
use crate::store::size::{CONFLICT_OVERHEAD, EARLY_LOOK};
use crate::store::{StoreError, StoreSize, Surplus};

/// The quarantine has bounds of its own, and is not in use by events. Sizes on disk come from the file system, the
/// number of events from the statistics collector (after a crash from the last `ANALYZE`), and the average from the
/// oldest and the newest events. The bytes of a body are known without reading it. Triggers count conflicts.
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
           (SELECT (extract(epoch FROM now() - min(at)) * 1000)::bigint FROM published) AS oldest_ms,
           (SELECT coalesce(sum(bytes + conflicts * $1), 0)::bigint FROM conflict_size) AS conflicts,
           (SELECT count(*) FROM conflict_size) AS counts,
           (SELECT (extract(epoch FROM now() - min(at)) * 1000)::bigint FROM conflict) AS oldest_conflict_ms,
           (SELECT (extract(epoch FROM now() - min(at)) * 1000)::bigint FROM quarantine) AS oldest_refused_ms
    FROM disk, rows, average";

/// Counts of conflicts above which they are added up to one.
const MOST_COUNTS: i64 = 100;

/// Adds up at most `$1` counts of conflicts. Counts that another instance adds up at this moment are left to it. The sum over
/// all counts stays the same.
const ADD_UP: &str = "
    WITH counts AS MATERIALIZED (
        SELECT ctid AS place FROM conflict_size ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM conflict_size WHERE ctid = ANY (ARRAY (SELECT place FROM counts)) RETURNING conflicts, bytes
    )
    INSERT INTO conflict_size (conflicts, bytes) SELECT sum(conflicts), sum(bytes) FROM gone HAVING count(*) > 0";

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

/// Deletes the oldest at most `$2` conflicts, up to the one with which `$1` bytes are gone. Each counts for `$3` more than its body and
/// headers.
const DELETE_CONFLICTS: &str = "
    WITH oldest AS MATERIALIZED (
        SELECT ctid AS place, at, octet_length(body) + octet_length(headers) + $3 AS size FROM conflict ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), summed AS MATERIALIZED (
        SELECT place, size, sum(size) OVER (ORDER BY at, place ROWS UNBOUNDED PRECEDING) - size AS before FROM oldest
    ), deleted AS (
        DELETE FROM conflict WHERE ctid = ANY (ARRAY (SELECT place FROM summed WHERE before < $1))
    )
    SELECT count(*) AS gone, coalesce(sum(size), 0)::bigint AS bytes FROM summed WHERE before < $1";

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
    #[diesel(sql_type = BigInt)]
    conflicts: i64,
    #[diesel(sql_type = BigInt)]
    counts: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_conflict_ms: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_refused_ms: Option<i64>,
}

#[derive(QueryableByName)]
struct DeletedRow {
    #[diesel(sql_type = BigInt)]
    gone: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
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

fn is_first(connection: &mut PgConnection, owner: InstanceId) -> QueryResult<bool> {
    let row: FirstRow = sql_query(IS_FIRST)
        .bind::<Binary, _>(&owner.as_bytes()[..])
        .get_result(connection)?;
    Ok(row.first)
}

impl PostgresStore {
    /// See [`Housekeeping::shrink_conflicts`](crate::store::Housekeeping::shrink_conflicts).
    pub(super) fn delete_oldest_conflicts(
        &self,
        owner: InstanceId,
        above: Surplus,
    ) -> Result<Surplus, StoreError> {
        self.transaction(|connection| {
            if !is_first(connection, owner)? {
                return Ok(Surplus::default());
            }
            let row: DeletedRow = sql_query(DELETE_CONFLICTS)
                .bind::<BigInt, _>(i64::try_from(above.bytes).unwrap_or(i64::MAX))
                .bind::<BigInt, _>(i64::try_from(above.rows).unwrap_or(i64::MAX))
                .bind::<BigInt, _>(CONFLICT_OVERHEAD)
                .get_result(connection)?;
            Ok(Surplus {
                rows: row.gone.unsigned_abs(),
                bytes: row.bytes.unsigned_abs(),
            })
        })
    }

    /// See [`Housekeeping::size`](crate::store::Housekeeping::size).
    pub(super) fn measured_size(&self) -> Result<StoreSize, StoreError> {
        let row: SizeRow = self.run(|connection| {
            sql_query(SIZE)
                .bind::<BigInt, _>(CONFLICT_OVERHEAD)
                .get_result(connection)
        })?;
        if row.counts > MOST_COUNTS {
            self.run(|connection| {
                sql_query(ADD_UP)
                    .bind::<BigInt, _>(MOST_COUNTS.saturating_mul(100))
                    .execute(connection)
            })?;
        }
        let bytes = |number: i64| u64::try_from(number).unwrap_or(0);
        let age = |ms: i64| Duration::from_millis(bytes(ms));
        Ok(StoreSize {
            on_disk: bytes(row.on_disk),
            in_use: bytes(row.in_use),
            of_event: bytes(row.of_event),
            oldest_confirm: row.oldest_ms.map(age),
            of_conflicts: bytes(row.conflicts),
            oldest_conflict: row.oldest_conflict_ms.map(age),
            oldest_refused: row.oldest_refused_ms.map(age),
        })
    }

    /// See [`Housekeeping::delete_oldest`](crate::store::Housekeeping::delete_oldest).
    pub(super) fn delete_before_their_time(
        &self,
        owner: InstanceId,
        limit: usize,
    ) -> Result<u64, StoreError> {
        self.delete_events(|connection| {
            if !is_first(connection, owner)? {
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
