//! Taking over what a dead instance left behind, and deleting what was kept long enough.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary};

use crate::delivery::InstanceId;
use crate::store::Retention;
use crate::store::row::millis;

/// A key past its time whose event still waits is looked at again after this.
const WAITING_KEY_MS: i64 = 3_600_000;

/// Owners of outbox rows that have no live lease. Hops from owner to owner along the index, whatever the number of rows.
const LOST: &str = "
    WITH RECURSIVE owners (owner) AS (
        SELECT min(owner) FROM outbox
        UNION ALL
        SELECT (SELECT min(owner) FROM outbox WHERE owner > owners.owner) FROM owners WHERE owners.owner IS NOT NULL
    )
    SELECT owner FROM owners
    WHERE owner IS NOT NULL AND owner <> ?1
      AND NOT EXISTS (SELECT 1 FROM instance WHERE id = owner AND alive_until > ?2)
      AND EXISTS (SELECT 1 FROM instance WHERE id = ?1 AND alive_until > ?2)";

#[derive(QueryableByName)]
struct Owner {
    #[diesel(sql_type = Binary)]
    owner: Vec<u8>,
}

fn lost_owners(connection: &mut SqliteConnection, owner: InstanceId, now: i64) -> QueryResult<Vec<Owner>> {
    sql_query(LOST).bind::<Binary, _>(&owner.as_bytes()[..]).bind::<BigInt, _>(now).load(connection)
}

/// Some rows belong to an instance without a lease, and `owner` has one.
pub(super) fn has_lost_rows(connection: &mut SqliteConnection, owner: InstanceId, now: i64) -> QueryResult<bool> {
    lost_owners(connection, owner, now).map(|lost| !lost.is_empty())
}

/// Makes at most `limit` of such rows `owner`'s, from each that lost them.
pub(super) fn take_over(connection: &mut SqliteConnection, owner: InstanceId, now: i64, limit: usize) -> QueryResult<()> {
    for lost in lost_owners(connection, owner, now)? {
        sql_query("UPDATE outbox SET owner = ?1 WHERE seq IN (SELECT seq FROM outbox WHERE owner = ?2 ORDER BY due_at, seq LIMIT ?3)")
            .bind::<Binary, _>(&owner.as_bytes()[..])
            .bind::<Binary, _>(lost.owner)
            .bind::<BigInt, _>(sql_limit(limit))
            .execute(connection)?;
    }
    Ok(())
}

/// See [`Store::prune`](crate::store::Store::prune).
pub(super) fn prune(connection: &mut SqliteConnection, retention: Retention, limit: usize, now: i64) -> QueryResult<u64> {
    let mut run = |statement: &str, until: i64| {
        sql_query(statement).bind::<BigInt, _>(until).bind::<BigInt, _>(sql_limit(limit)).execute(connection).map(|rows| rows as u64)
    };
    let mut gone = run(
        "DELETE FROM dedup WHERE seq IN (SELECT seq FROM dedup WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
           AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = dedup.seq)
           AND NOT EXISTS (SELECT 1 FROM parked WHERE parked.seq = dedup.seq)",
        now,
    )?;
    // Keys that had to stay move out of the way, so that they are not looked at each time.
    run(
        &format!(
            "UPDATE dedup SET expires_at = ?1 + {WAITING_KEY_MS}
             WHERE seq IN (SELECT seq FROM dedup WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)
               AND (EXISTS (SELECT 1 FROM outbox WHERE outbox.seq = dedup.seq)
                 OR EXISTS (SELECT 1 FROM parked WHERE parked.seq = dedup.seq))"
        ),
        now,
    )?;
    let until = now.saturating_sub(millis(retention.events));
    gone += run("DELETE FROM event WHERE seq IN (SELECT seq FROM published WHERE at <= ?1 ORDER BY at, seq LIMIT ?2)", until)?;
    run("DELETE FROM published WHERE (at, seq) IN (SELECT at, seq FROM published WHERE at <= ?1 ORDER BY at, seq LIMIT ?2)", until)?;
    gone += run(
        "DELETE FROM conflict WHERE rowid IN (SELECT rowid FROM conflict WHERE at <= ?1 ORDER BY at LIMIT ?2)",
        now.saturating_sub(millis(retention.conflicts)),
    )?;
    // A dead instance's row is only of use to a reader of the table; it is out of the count.
    run(
        "DELETE FROM instance WHERE rowid IN (SELECT rowid FROM instance WHERE alive_until <= ?1 LIMIT ?2)",
        now.saturating_sub(86_400_000),
    )?;
    Ok(gone)
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
