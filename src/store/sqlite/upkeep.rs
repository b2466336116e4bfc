//! Taking over rows of dead instances, and deleting old rows.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Text};

use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::store::Retention;
use crate::store::audit::KEEP_AUDIT;
use crate::store::clock;
use crate::store::row::millis;

/// Time after which a key past its time is looked at again, if its event still waits.
const WAITING_KEY_MS: i64 = 3_600_000;

/// Owners of outbox rows for sink `?4` that have no live lease. A lease that ends later than twice its length from now was taken by a clock that was
/// ahead, and is over. Hops from owner to owner along the index, whatever the number of rows.
const LOST: &str = "
    WITH RECURSIVE owners (owner) AS (
        SELECT min(owner) FROM outbox
        UNION ALL
        SELECT (SELECT min(owner) FROM outbox WHERE owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
    )
    SELECT owner FROM owners
    WHERE owner IS NOT NULL AND owner <> ?1
      AND NOT EXISTS (
          SELECT 1 FROM instance WHERE id = owner AND alive_until > ?2 AND alive_until <= ?2 + 2 * coalesce(lease_ms, ?3))
      AND EXISTS (SELECT 1 FROM instance WHERE id = ?1 AND alive_until > ?2 AND alive_until <= ?2 + 2 * coalesce(lease_ms, ?3))
      AND EXISTS (SELECT 1 FROM outbox WHERE outbox.owner = owners.owner AND sink = ?4)";

/// Gives at most `?4` rows of owner `?2` for sink `?3` to `?1`.
const TAKE_OVER: &str = "
    UPDATE outbox SET owner = ?1
    WHERE sink = ?3 AND seq IN (SELECT seq FROM outbox WHERE owner = ?2 AND sink = ?3 ORDER BY due_at, seq LIMIT ?4)";

/// A look for rows of a sink whose owners are gone.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    /// The instance that looks.
    pub(super) owner: InstanceId,
    pub(super) sink: &'a SinkName,
    pub(super) now: i64,
    /// Length of a lease, if it is not stored beside the lease.
    pub(super) lease: Duration,
}

#[derive(QueryableByName)]
struct Owner {
    #[diesel(sql_type = Binary)]
    owner: Vec<u8>,
}

fn lost_owners(connection: &mut SqliteConnection, look: Look<'_>) -> QueryResult<Vec<Owner>> {
    sql_query(LOST)
        .bind::<Binary, _>(&look.owner.as_bytes()[..])
        .bind::<BigInt, _>(look.now)
        .bind::<BigInt, _>(millis(look.lease))
        .bind::<Text, _>(look.sink.as_str())
        .load(connection)
}

/// Returns `true` if rows of the sink belong to an instance without a lease, and this instance has
/// one.
pub(super) fn has_lost_rows(
    connection: &mut SqliteConnection,
    look: Look<'_>,
) -> QueryResult<bool> {
    lost_owners(connection, look).map(|lost| !lost.is_empty())
}

/// Takes over at most `limit` rows of each dead owner.
pub(super) fn take_over(
    connection: &mut SqliteConnection,
    look: Look<'_>,
    limit: usize,
) -> QueryResult<()> {
    for lost in lost_owners(connection, look)? {
        sql_query(TAKE_OVER)
            .bind::<Binary, _>(&look.owner.as_bytes()[..])
            .bind::<Binary, _>(lost.owner)
            .bind::<Text, _>(look.sink.as_str())
            .bind::<BigInt, _>(sql_limit(limit))
            .execute(connection)?;
    }
    Ok(())
}

/// Deletes keys past their time. Keys of events that a sink has a row of stay.
fn prune_keys(run: &mut impl FnMut(&str, i64) -> QueryResult<u64>, now: i64) -> QueryResult<u64> {
    let gone = run(
        "DELETE FROM dedup WHERE seq IN (SELECT seq FROM dedup WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = dedup.seq)
           AND NOT EXISTS (SELECT 1 FROM parked WHERE parked.seq = dedup.seq)",
        now,
    )?;
    // Keys that had to stay move out of the way, so that they are not looked at each time.
    run(
        &format!(
            "UPDATE dedup SET expires_at = ?1 + {WAITING_KEY_MS}, key = CASE WHEN substr(message, 1, 16) = substr(message, 17) THEN message ELSE key END
             WHERE seq IN (SELECT seq FROM dedup WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
               AND (EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = dedup.seq)
                 OR EXISTS (SELECT 1 FROM parked WHERE parked.seq = dedup.seq))"
        ),
        now,
    )?;
    Ok(gone)
}

/// Deletes confirms that came until then, with their events. An event that a sink still has a row of goes with the confirm of that sink.
/// Returns the number of confirms.
pub(super) fn delete_published(
    run: &mut impl FnMut(&str, i64) -> QueryResult<u64>,
    until: i64,
) -> QueryResult<u64> {
    run(
        "DELETE FROM event WHERE seq IN (SELECT seq FROM published WHERE at <= ?1 ORDER BY at, seq LIMIT ?2)
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = event.seq)
           AND NOT EXISTS (SELECT 1 FROM parked WHERE parked.seq = event.seq)",
        until,
    )?;
    run(
        "DELETE FROM published WHERE (at, seq) IN (SELECT at, seq FROM published WHERE at <= ?1 ORDER BY at, seq LIMIT ?2)",
        until,
    )
}

/// See [`Housekeeping::prune`](crate::store::Housekeeping::prune).
pub(super) fn prune(
    connection: &mut SqliteConnection,
    retention: Retention,
    limit: usize,
    now: i64,
) -> QueryResult<u64> {
    let mut run = |statement: &str, until: i64| {
        sql_query(statement)
            .bind::<BigInt, _>(until)
            .bind::<BigInt, _>(sql_limit(limit))
            .execute(connection)
            .map(|rows| rows as u64)
    };
    let mut gone = prune_keys(&mut run, now)?;
    gone += delete_published(&mut run, now.saturating_sub(millis(retention.events)))?;
    gone += run(
        "DELETE FROM conflict WHERE rowid IN (SELECT rowid FROM conflict WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        now.saturating_sub(millis(retention.conflicts)),
    )?;
    gone += run(
        "DELETE FROM quarantine WHERE number IN (SELECT number FROM quarantine WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        now.saturating_sub(millis(retention.refused)),
    )?;
    run(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        now.saturating_sub(millis(KEEP_AUDIT)),
    )?;
    run(
        "DELETE FROM republish_job WHERE id IN (SELECT id FROM republish_job WHERE state <> 'running' AND created_at <= ?1 ORDER BY id LIMIT ?2)",
        now.saturating_sub(millis(KEEP_AUDIT)),
    )?;
    // A dead instance's row is only of use to a reader of the table; it is out of the count.
    run(
        "DELETE FROM instance WHERE rowid IN (SELECT rowid FROM instance WHERE alive_until <= ?1 OR alive_until > ?1 + 172800000 LIMIT ?2)",
        now.saturating_sub(86_400_000),
    )?;
    cut(&mut run, retention, now)?;
    Ok(gone)
}

/// Cuts times that were written while the clock was ahead, and stores the time of this deletion.
fn cut(
    run: &mut impl FnMut(&str, i64) -> QueryResult<u64>,
    retention: Retention,
    now: i64,
) -> QueryResult<()> {
    let longest = millis(clock::longest_kept(retention.keys));
    run(
        &format!(
            "UPDATE dedup SET expires_at = ?1 - {longest} + {longest} / 2
             WHERE seq IN (SELECT seq FROM dedup WHERE expires_at > ?1 ORDER BY expires_at DESC LIMIT ?2)"
        ),
        now.saturating_add(longest),
    )?;
    let ahead = millis(clock::AHEAD);
    run(
        &format!(
            "UPDATE OR REPLACE published SET at = ?1 - {ahead}
             WHERE (at, seq) IN (SELECT at, seq FROM published WHERE at > ?1 ORDER BY at DESC, seq DESC LIMIT ?2)"
        ),
        now.saturating_add(ahead),
    )?;
    run(
        &format!(
            "UPDATE conflict SET at = ?1 - {ahead}
             WHERE rowid IN (SELECT rowid FROM conflict WHERE at > ?1 ORDER BY at DESC LIMIT ?2)"
        ),
        now.saturating_add(ahead),
    )?;
    run(
        "INSERT INTO clock (id, seen) SELECT 1, ?1 WHERE ?2 IS NOT NULL ON CONFLICT (id) DO UPDATE SET seen = excluded.seen",
        now,
    )?;
    Ok(())
}

pub(super) fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
