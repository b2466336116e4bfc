//! The role [`Outbox`] in PostgreSQL.
//!
//! A row is reached by number through `outbox_pkey`. The sink is then compared by `(sink = …) IS TRUE`, which no index can serve: with
//! statistics of an empty outbox, an index that has the sink looks as good as one that has the number, and all of it would be read.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Text};

use super::{EventColumns, PostgresStore, claims, numbers, order, sql_limit, upkeep};
use crate::domain::delivery::{InstanceId, MessageKey};
use crate::domain::sink::SinkName;
use crate::store::claim::{Choice, DueRows};
use crate::store::in_order::OrderedChoice;
use crate::store::row::{EventRow, millis};
use crate::store::{FromKey, InMemory, OrderedRows, Outbox, Room, Seq, StoreError, StoredEvent};

pub(super) const EVENTS: &str = "SELECT * FROM event WHERE seq = ANY ($1)";

const CONFIRMED: &str = "
    WITH gone AS (
        DELETE FROM outbox WHERE seq = ANY ($1) AND (sink = $2) IS TRUE RETURNING seq
    )
    INSERT INTO published (seq, sink) SELECT seq, $2 FROM gone";

const POSTPONE: &str = "
    UPDATE outbox SET attempts = attempts + 1, due_at = now() + $3 * interval '1 millisecond'
    WHERE seq = ANY ($1) AND (sink = $2) IS TRUE";

const PARK: &str = "
    WITH gone AS (
        DELETE FROM outbox WHERE seq = $1 AND (sink = $2) IS TRUE RETURNING seq, order_key
    )
    INSERT INTO parked (seq, sink, reason, order_key) SELECT seq, $2, $3, order_key FROM gone
    ON CONFLICT (seq, sink) DO UPDATE SET reason = excluded.reason, at = excluded.at, order_key = excluded.order_key";

/// Moves parked rows into the outbox of an instance that does not live: the next one to look takes them over.
/// An event that waits for the sink already counts as well: its parked row is gone.
const RETRY_PARKED: &str = "
    WITH gone AS (
        DELETE FROM parked WHERE seq = ANY ($1) AND (sink = $2) IS TRUE RETURNING seq, order_key
    ), waiting AS (
        INSERT INTO outbox (seq, key, bytes, owner, sink, order_key)
        SELECT e.seq, e.key, length(e.body), $3, $2, gone.order_key
        FROM gone CROSS JOIN LATERAL (SELECT seq, key, body FROM event WHERE event.seq = gone.seq LIMIT 1) AS e
        ON CONFLICT DO NOTHING
    )
    SELECT seq FROM gone";

/// If another sink has a row of the event, the event is kept like a published one, and goes with the last row.
const DISCARD_PARKED: &str = "
    WITH gone AS (
        DELETE FROM parked WHERE seq = ANY ($1) AND (sink = $2) IS TRUE RETURNING seq
    ), done AS MATERIALIZED (
        SELECT seq, (SELECT true FROM outbox WHERE outbox.seq = gone.seq LIMIT 1) IS NOT NULL
                 OR (SELECT true FROM parked WHERE parked.seq = gone.seq AND (sink <> $2) IS TRUE LIMIT 1) IS NOT NULL AS stays
        FROM gone
    ), kept AS (
        INSERT INTO published (seq, sink) SELECT seq, $2 FROM done WHERE stays
    ), deleted AS (
        DELETE FROM event WHERE seq = ANY (ARRAY (SELECT seq FROM done WHERE NOT stays))
    )
    SELECT seq FROM done";

/// Rows go to an instance that does not live. If the event waits for the other sink already, its row there stays as it is.
const MOVE_WAITING: &str = "
    WITH RECURSIVE owners (owner) AS (
        (SELECT owner FROM outbox ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT o.owner FROM outbox o WHERE o.owner > owners.owner ORDER BY o.owner LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL
    ), chosen AS MATERIALIZED (
        SELECT rows.seq FROM owners CROSS JOIN LATERAL (
            SELECT seq FROM outbox
            WHERE (outbox.owner, outbox.sink) >= (owners.owner, $1) AND (outbox.owner, outbox.sink) <= (owners.owner, $1)
            ORDER BY outbox.owner, outbox.sink, due_at, seq LIMIT $3 FOR UPDATE SKIP LOCKED
        ) AS rows
        LIMIT $3
    ), gone AS (
        DELETE FROM outbox WHERE seq = ANY (ARRAY (SELECT seq FROM chosen)) AND (sink = $1) IS TRUE
        RETURNING seq, key, bytes, since, order_key
    ), moved AS (
        INSERT INTO outbox (seq, key, bytes, since, owner, sink, order_key)
        SELECT seq, key, bytes, since, $4, $2, order_key FROM gone
        ON CONFLICT DO NOTHING
    )
    SELECT seq FROM gone";

const DISCARD_WAITING: &str = "
    WITH RECURSIVE owners (owner) AS (
        (SELECT owner FROM outbox ORDER BY owner LIMIT 1)
        UNION ALL
        SELECT (SELECT o.owner FROM outbox o WHERE o.owner > owners.owner ORDER BY o.owner LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL
    ), chosen AS MATERIALIZED (
        SELECT rows.seq FROM owners CROSS JOIN LATERAL (
            SELECT seq FROM outbox
            WHERE (outbox.owner, outbox.sink) >= (owners.owner, $1) AND (outbox.owner, outbox.sink) <= (owners.owner, $1)
            ORDER BY outbox.owner, outbox.sink, due_at, seq LIMIT $2 FOR UPDATE SKIP LOCKED
        ) AS rows
        LIMIT $2
    ), gone AS (
        DELETE FROM outbox WHERE seq = ANY (ARRAY (SELECT seq FROM chosen)) AND (sink = $1) IS TRUE
        RETURNING seq
    ), kept AS (
        INSERT INTO published (seq, sink) SELECT seq, $1 FROM gone
    )
    SELECT seq FROM gone";

impl PostgresStore {
    /// Takes over rows of instances without a live lease.
    fn take_over(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
    ) -> Result<usize, StoreError> {
        self.run(|connection| {
            sql_query(upkeep::TAKE_OVER)
                .bind::<Binary, _>(&owner.as_bytes()[..])
                .bind::<BigInt, _>(sql_limit(room.events))
                .bind::<BigInt, _>(millis(self.lease))
                .bind::<Text, _>(sink.as_str())
                .execute(connection)
        })
    }

    /// Claims `rows` that are due; see [`Outbox::claim`].
    fn claim_due(
        &self,
        (owner, sink, rows): (InstanceId, &SinkName, DueRows),
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.take_over(owner, sink, room)?;
        self.run(|connection| {
            let mut choice = Choice::new(room, skip);
            let of = (owner, sink, rows);
            claims::offer(connection, of, self.longest_retry, &mut choice)?;
            Ok(choice.stored(events(connection, choice.seqs())?))
        })
    }
}

/// Returns the events with these numbers. A row that was confirmed in between still finds its event; the caller knows which it had in memory.
fn events(connection: &mut PgConnection, seqs: Vec<i64>) -> QueryResult<Vec<EventRow>> {
    let rows = sql_query(EVENTS)
        .bind::<Array<BigInt>, _>(seqs)
        .load::<EventColumns>(connection)?;
    rows.into_iter().map(EventColumns::into_row).collect()
}

/// Moves parked rows into the outbox; see [`Outbox::retry_parked`].
pub(super) fn retry(
    connection: &mut PgConnection,
    sink: &SinkName,
    rows: &[Seq],
) -> QueryResult<u64> {
    sql_query(RETRY_PARKED)
        .bind::<Array<BigInt>, _>(numbers(rows))
        .bind::<Text, _>(sink.as_str())
        .bind::<Binary, _>(&InstanceId::random().as_bytes()[..])
        .execute(connection)
        .map(|rows| rows as u64)
}

/// Deletes parked rows, while no step of a job is being made; see [`Outbox::discard_parked`].
pub(super) fn discard(
    connection: &mut PgConnection,
    sink: &SinkName,
    rows: &[Seq],
) -> QueryResult<u64> {
    sql_query(DISCARD_PARKED)
        .bind::<Array<BigInt>, _>(numbers(rows))
        .bind::<Text, _>(sink.as_str())
        .execute(connection)
        .map(|rows| rows as u64)
}

impl Outbox for PostgresStore {
    fn claim(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.claim_due((owner, sink, DueRows::All), room, skip)
    }

    fn claim_in_order(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        from: FromKey,
        in_memory: &dyn Fn(&MessageKey) -> InMemory,
    ) -> Result<OrderedRows, StoreError> {
        self.run(|connection| {
            let mut choice = OrderedChoice::new(room, in_memory);
            let mut next = FromKey::START;
            if order::hold(connection, owner, sink, self.lease)? {
                let longest = self.longest_retry;
                next = order::offer(connection, sink, from, longest, &mut choice)?;
            }
            let rows = choice.stored(events(connection, choice.seqs())?);
            Ok(OrderedRows { rows, next })
        })
    }

    fn claim_without_order(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.claim_due((owner, sink, DueRows::WithoutKey), room, skip)
    }

    fn confirmed(&self, sink: &SinkName, rows: &[Seq]) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(CONFIRMED)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .bind::<Text, _>(sink.as_str())
                .execute(connection)
                .map(drop)
        })
    }

    fn postpone(&self, sink: &SinkName, rows: &[Seq], delay: Duration) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(POSTPONE)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .bind::<Text, _>(sink.as_str())
                .bind::<BigInt, _>(millis(delay))
                .execute(connection)
                .map(drop)
        })
    }

    fn park(&self, sink: &SinkName, row: Seq, reason: &str) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(PARK)
                .bind::<BigInt, _>(row.0)
                .bind::<Text, _>(sink.as_str())
                .bind::<Text, _>(reason.replace('\0', "\u{fffd}"))
                .execute(connection)
                .map(drop)
        })
    }

    fn retry_parked(&self, sink: &SinkName, rows: &[Seq]) -> Result<u64, StoreError> {
        self.run(|connection| retry(connection, sink, rows))
    }

    fn discard_parked(&self, sink: &SinkName, rows: &[Seq]) -> Result<u64, StoreError> {
        self.delete_events(|connection| discard(connection, sink, rows))
    }

    fn move_waiting(
        &self,
        from: &SinkName,
        to: &SinkName,
        limit: usize,
    ) -> Result<u64, StoreError> {
        if from == to {
            return Ok(0);
        }
        let nobody = InstanceId::random();
        self.run(|connection| {
            sql_query(MOVE_WAITING)
                .bind::<Text, _>(from.as_str())
                .bind::<Text, _>(to.as_str())
                .bind::<BigInt, _>(sql_limit(limit))
                .bind::<Binary, _>(&nobody.as_bytes()[..])
                .execute(connection)
                .map(|rows| rows as u64)
        })
    }

    fn discard_waiting(&self, sink: &SinkName, limit: usize) -> Result<u64, StoreError> {
        self.run(|connection| {
            sql_query(DISCARD_WAITING)
                .bind::<Text, _>(sink.as_str())
                .bind::<BigInt, _>(sql_limit(limit))
                .execute(connection)
                .map(|rows| rows as u64)
        })
    }
}
