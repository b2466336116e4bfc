//! The role [`Outbox`] in PostgreSQL.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Text};

use super::{EventColumns, PostgresStore, claims, numbers, sql_limit, upkeep};
use crate::domain::delivery::{InstanceId, MessageKey};
use crate::store::claim::Choice;
use crate::store::row::millis;
use crate::store::{Outbox, Room, Seq, StoreError, StoredEvent};

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

impl Outbox for PostgresStore {
    fn claim(
        &self,
        owner: InstanceId,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let me = &owner.as_bytes()[..];
        self.run(|connection| {
            sql_query(upkeep::TAKE_OVER)
                .bind::<Binary, _>(me)
                .bind::<BigInt, _>(sql_limit(room.events))
                .bind::<BigInt, _>(millis(self.lease))
                .execute(connection)
        })?;
        self.run(|connection| {
            let mut choice = Choice::new(room, skip);
            claims::offer_due(connection, owner, &mut choice)?;
            claims::offer_stranded(connection, owner, self.longest_retry, &mut choice)?;
            // A row that was confirmed in between finds its event all the same; the caller knows which it had in memory.
            let rows = sql_query("SELECT * FROM event WHERE seq = ANY ($1)")
                .bind::<Array<BigInt>, _>(choice.seqs())
                .load::<EventColumns>(connection)?
                .into_iter()
                .map(EventColumns::into_row)
                .collect::<QueryResult<Vec<_>>>()?;
            Ok(choice.stored(rows))
        })
    }

    fn confirmed(&self, rows: &[Seq]) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "WITH gone AS (DELETE FROM outbox WHERE seq = ANY ($1) RETURNING seq) INSERT INTO published (seq) SELECT seq FROM gone",
            )
            .bind::<Array<BigInt>, _>(numbers(rows))
            .execute(connection)
            .map(drop)
        })
    }

    fn postpone(&self, rows: &[Seq], delay: Duration) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query("UPDATE outbox SET attempts = attempts + 1, due_at = now() + $2 * interval '1 millisecond' WHERE seq = ANY ($1)")
                .bind::<Array<BigInt>, _>(numbers(rows))
                .bind::<BigInt, _>(millis(delay))
                .execute(connection)
                .map(drop)
        })
    }

    fn park(&self, row: Seq, reason: &str) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "WITH gone AS (DELETE FROM outbox WHERE seq = $1 RETURNING seq) INSERT INTO parked (seq, reason) SELECT seq, $2 FROM gone",
            )
            .bind::<BigInt, _>(row.0)
            .bind::<Text, _>(reason.replace('\0', "\u{fffd}"))
            .execute(connection)
            .map(drop)
        })
    }

    fn retry_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        let nobody = InstanceId::random();
        self.run(|connection| {
            sql_query(RETRY)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .bind::<Binary, _>(&nobody.as_bytes()[..])
                .execute(connection)
                .map(|rows| rows as u64)
        })
    }

    fn discard_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.run(|connection| {
            sql_query(DISCARD)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .execute(connection)
                .map(|rows| rows as u64)
        })
    }
}
