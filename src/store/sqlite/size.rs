//! Measuring the store in SQLite, and deleting its oldest events before their time.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable};

use super::upkeep::sql_limit;
use super::{SqliteStore, now};
use crate::store::size::{CONFLICT_OVERHEAD, EARLY_LOOK};
use crate::store::{StoreError, StoreSize, Surplus};

/// The quarantine has bounds of its own, and is not in use by events. Pages are counted by SQLite itself, and the
/// average comes from the oldest and the newest events. The length of a body is known without reading it. Triggers
/// count conflicts.
const SIZE: &str = "
    SELECT (SELECT page_size FROM pragma_page_size) AS page, (SELECT page_count FROM pragma_page_count) AS pages,
           (SELECT freelist_count FROM pragma_freelist_count) AS free,
           (SELECT coalesce(avg(bytes), 0) FROM (
                SELECT * FROM (SELECT length(body) + length(headers) AS bytes FROM event ORDER BY seq LIMIT 300)
                UNION ALL SELECT * FROM (SELECT length(body) + length(headers) AS bytes FROM event ORDER BY seq DESC LIMIT 300))) + 150 AS average,
           (SELECT coalesce(sum(size), 0) FROM quarantine) AS refused,
           (SELECT min(at) FROM published) AS oldest,
           (SELECT coalesce(sum(bytes + conflicts * ?1), 0) FROM conflict_size) AS conflicts,
           (SELECT min(at) FROM conflict) AS oldest_conflict,
           (SELECT min(at) FROM quarantine) AS oldest_refused";

/// The oldest at most `?2` conflicts, up to the one with which `?1` bytes are gone. Each counts for `?3` more than its body and headers.
const OLDEST_CONFLICTS: &str = "
    SELECT place, size FROM (
        SELECT place, size, sum(size) OVER (ORDER BY at, place ROWS UNBOUNDED PRECEDING) - size AS before FROM (
            SELECT rowid AS place, at, length(body) + length(headers) + ?3 AS size FROM conflict ORDER BY at, rowid LIMIT ?2) AS oldest
    ) AS summed WHERE before < ?1";

const DELETE_CONFLICT: &str = "DELETE FROM conflict WHERE rowid = ?1";

/// Deletes at most `?1` events that every sink has confirmed, out of the oldest `?2` confirms.
const DELETE_EVENTS: &str = "
    DELETE FROM event WHERE seq IN (
        SELECT seq FROM (SELECT seq, at FROM published ORDER BY at, seq LIMIT ?2) AS oldest
        WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = oldest.seq)
          AND NOT EXISTS (SELECT 1 FROM parked WHERE parked.seq = oldest.seq)
        GROUP BY seq ORDER BY min(at), seq LIMIT ?1)";

/// Forgets those of the oldest `?1` confirms whose events are gone.
const FORGET_CONFIRMS: &str = "
    DELETE FROM published WHERE (at, seq) IN (
        SELECT at, seq FROM (SELECT at, seq FROM published ORDER BY at, seq LIMIT ?1) AS oldest
        WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.seq = oldest.seq))";

#[derive(QueryableByName)]
struct SizeRow {
    #[diesel(sql_type = BigInt)]
    page: i64,
    #[diesel(sql_type = BigInt)]
    pages: i64,
    #[diesel(sql_type = BigInt)]
    free: i64,
    #[diesel(sql_type = BigInt)]
    refused: i64,
    #[diesel(sql_type = diesel::sql_types::Double)]
    average: f64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest: Option<i64>,
    #[diesel(sql_type = BigInt)]
    conflicts: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_conflict: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    oldest_refused: Option<i64>,
}

#[derive(QueryableByName)]
struct ConflictRow {
    #[diesel(sql_type = BigInt)]
    place: i64,
    #[diesel(sql_type = BigInt)]
    size: i64,
}

impl SqliteStore {
    /// See [`Housekeeping::size`](crate::store::Housekeeping::size).
    pub(super) fn measured_size(&self) -> Result<StoreSize, StoreError> {
        let row: SizeRow = self.read(|connection| {
            sql_query(SIZE)
                .bind::<BigInt, _>(CONFLICT_OVERHEAD)
                .get_result(connection)
        })?;
        let bytes = |pages: i64| u64::try_from(pages.saturating_mul(row.page)).unwrap_or(0);
        let in_use = bytes(row.pages.saturating_sub(row.free));
        let age = |at: i64| {
            let millis = u64::try_from(now().saturating_sub(at)).unwrap_or(0);
            Duration::from_millis(millis)
        };
        Ok(StoreSize {
            on_disk: bytes(row.pages),
            in_use: in_use.saturating_sub(u64::try_from(row.refused).unwrap_or(0)),
            of_event: row.average as u64,
            oldest_confirm: row.oldest.map(age),
            of_conflicts: u64::try_from(row.conflicts).unwrap_or(0),
            oldest_conflict: row.oldest_conflict.map(age),
            oldest_refused: row.oldest_refused.map(age),
        })
    }

    /// See [`Housekeeping::shrink_conflicts`](crate::store::Housekeeping::shrink_conflicts).
    pub(super) fn delete_oldest_conflicts(&self, above: Surplus) -> Result<Surplus, StoreError> {
        self.write(|connection| {
            let oldest: Vec<ConflictRow> = sql_query(OLDEST_CONFLICTS)
                .bind::<BigInt, _>(i64::try_from(above.bytes).unwrap_or(i64::MAX))
                .bind::<BigInt, _>(i64::try_from(above.rows).unwrap_or(i64::MAX))
                .bind::<BigInt, _>(CONFLICT_OVERHEAD)
                .load(connection)?;
            let mut gone = Surplus::default();
            for ConflictRow { place, size } in oldest {
                sql_query(DELETE_CONFLICT)
                    .bind::<BigInt, _>(place)
                    .execute(connection)?;
                gone.rows += 1;
                gone.bytes += size.unsigned_abs();
            }
            Ok(gone)
        })
    }

    /// See [`Housekeeping::delete_oldest`](crate::store::Housekeeping::delete_oldest).
    pub(super) fn delete_before_their_time(&self, limit: usize) -> Result<u64, StoreError> {
        let looked_at = sql_limit(limit.saturating_mul(EARLY_LOOK));
        self.write(|connection| {
            let gone = sql_query(DELETE_EVENTS)
                .bind::<BigInt, _>(sql_limit(limit))
                .bind::<BigInt, _>(looked_at)
                .execute(connection)?;
            sql_query(FORGET_CONFIRMS)
                .bind::<BigInt, _>(looked_at)
                .execute(connection)?;
            Ok(gone as u64)
        })
    }
}

#[cfg(test)]
mod tests {
    use diesel::sql_types::Text;
    use diesel::sqlite::Sqlite;

    use super::*;
    use crate::store::migrations;

    #[derive(QueryableByName)]
    struct PlanRow {
        #[diesel(sql_type = Text)]
        detail: String,
    }

    #[test]
    fn the_size_is_measured_without_a_look_at_the_conflicts() {
        let mut database = SqliteConnection::establish(":memory:").expect("opened");
        migrations::run::<Sqlite>(&mut database, migrations::SQLITE).expect("migrated");
        let plan: Vec<PlanRow> = sql_query(format!("EXPLAIN QUERY PLAN {SIZE}"))
            .bind::<BigInt, _>(CONFLICT_OVERHEAD)
            .load(&mut database)
            .expect("a plan");
        let mut of_conflicts: Vec<&str> = plan
            .iter()
            .map(|row| row.detail.as_str())
            .filter(|detail| detail.contains(" conflict"))
            .collect();
        of_conflicts.sort_unstable();
        // SEARCH: the oldest one only, by the end of an index.
        let oldest = "SEARCH conflict USING COVERING INDEX conflict_at";
        assert_eq!(of_conflicts, ["SCAN conflict_size", oldest]);
    }
}
