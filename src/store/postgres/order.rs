//! Rows of an ordered sink, and the instance that holds the sink.
//!
//! Sink and key are compared in a row, which only `outbox_order` can serve.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, Text};

use super::sql_limit;
use crate::domain::delivery::InstanceId;
use crate::domain::event_order::OrderKey;
use crate::domain::sink::SinkName;
use crate::store::FromKey;
use crate::store::claim::{Due, PAGE};
use crate::store::in_order::{MOST_PAGES, OF_A_KEY, OrderedChoice, OrderedRow};
use crate::store::republish::JobId;
use crate::store::row::{message_key, millis};

/// Hops from key to key along the index, whatever the number of rows, and reads the first rows of each key at most `$5`. If the first row of
/// a key is not due, or a parked one is before it, the key has one row of nulls.
const ROWS: &str = "
    WITH RECURSIVE keys (order_key) AS (
        (SELECT order_key FROM outbox
         WHERE order_key IS NOT NULL AND (sink, order_key) > ($1, $2) AND (sink, order_key) <= ($1, 9223372036854775807)
         ORDER BY sink, order_key LIMIT 1)
        UNION ALL
        SELECT (SELECT o.order_key FROM outbox o
                WHERE o.order_key IS NOT NULL AND (o.sink, o.order_key) > ($1, keys.order_key) AND (o.sink, o.order_key) <= ($1, 9223372036854775807)
                ORDER BY o.sink, o.order_key LIMIT 1)
        FROM keys WHERE keys.order_key IS NOT NULL
    )
    SELECT keys.order_key, rows.seq, rows.key, rows.bytes, rows.attempts, rows.republished, rows.due
    FROM keys CROSS JOIN LATERAL (
        SELECT o.seq, o.due_at <= now() OR o.due_at > now() + $4 * interval '1 millisecond' AS due FROM outbox o
        WHERE o.order_key IS NOT NULL AND (o.sink, o.order_key) >= ($1, keys.order_key) AND (o.sink, o.order_key) <= ($1, keys.order_key)
        ORDER BY o.sink, o.order_key, o.seq LIMIT 1
    ) AS first LEFT JOIN LATERAL (
        SELECT o.seq, o.key, o.bytes, o.attempts, o.republished, o.due_at <= now() OR o.due_at > now() + $4 * interval '1 millisecond' AS due FROM outbox o
        WHERE first.due
          AND (SELECT true FROM parked p WHERE p.order_key IS NOT NULL
                 AND (p.sink, p.order_key) >= ($1, keys.order_key) AND (p.sink, p.order_key, p.seq) < ($1, keys.order_key, first.seq)
               ORDER BY p.sink, p.order_key, p.seq LIMIT 1) IS NULL
          AND o.order_key IS NOT NULL AND (o.sink, o.order_key) >= ($1, keys.order_key) AND (o.sink, o.order_key) <= ($1, keys.order_key)
        ORDER BY o.sink, o.order_key, o.seq LIMIT $5
    ) AS rows ON true
    LIMIT $3";

/// Returns `true` if instance `$2` holds sink `$1`.
const HOLDS: &str = "SELECT owner = $2 AS holds FROM sink_holder WHERE sink = $1";

/// Gives sink `$1` to instance `$2`, if that has a live lease and the holder has none. See `upkeep::TAKE_OVER` for leases.
const HOLD: &str = "
    INSERT INTO sink_holder (sink, owner)
    SELECT $1, $2 WHERE EXISTS (
        SELECT FROM instance WHERE id = $2 AND alive_until > now()
           AND alive_until <= now() + 2 * coalesce(lease_ms, $3) * interval '1 millisecond')
    ON CONFLICT (sink) DO UPDATE SET owner = excluded.owner WHERE NOT EXISTS (
        SELECT FROM instance WHERE id = sink_holder.owner AND alive_until > now()
           AND alive_until <= now() + 2 * coalesce(lease_ms, $3) * interval '1 millisecond')";

#[derive(QueryableByName)]
struct Holds {
    #[diesel(sql_type = Bool)]
    holds: bool,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = BigInt)]
    order_key: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    seq: Option<i64>,
    #[diesel(sql_type = Nullable<Binary>)]
    key: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Integer>)]
    bytes: Option<i32>,
    #[diesel(sql_type = Nullable<Integer>)]
    attempts: Option<i32>,
    #[diesel(sql_type = Nullable<Binary>)]
    republished: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Bool>)]
    due: Option<bool>,
}

impl Row {
    /// Returns the row, unless it stands for a key that waits.
    fn into_ordered(self) -> QueryResult<Option<OrderedRow>> {
        let (Some(seq), Some(key), Some(bytes), Some(attempts), Some(open)) =
            (self.seq, self.key, self.bytes, self.attempts, self.due)
        else {
            return Ok(None);
        };
        Ok(Some(OrderedRow {
            key: OrderKey(self.order_key),
            open,
            row: Due {
                seq,
                key: message_key(&key)?,
                bytes,
                attempts,
                republished: JobId::stored(self.republished.as_deref()),
            },
        }))
    }
}

/// Returns `true` if `owner` holds `sink`, from now on if no instance with a live lease does.
pub(super) fn hold(
    connection: &mut PgConnection,
    owner: InstanceId,
    sink: &SinkName,
    lease: Duration,
) -> QueryResult<bool> {
    let holds = |connection: &mut PgConnection| {
        let row = sql_query(HOLDS)
            .bind::<Text, _>(sink.as_str())
            .bind::<Binary, _>(&owner.as_bytes()[..])
            .get_result::<Holds>(connection);
        row.optional()
            .map(|row| row.is_some_and(|Holds { holds }| holds))
    };
    if holds(connection)? {
        return Ok(true);
    }
    sql_query(HOLD)
        .bind::<Text, _>(sink.as_str())
        .bind::<Binary, _>(&owner.as_bytes()[..])
        .bind::<BigInt, _>(millis(lease))
        .execute(connection)?;
    holds(connection)
}

/// Offers rows of `sink` from the key after `from` on. Returns the place at which the next claim goes on.
pub(super) fn offer(
    connection: &mut PgConnection,
    sink: &SinkName,
    from: FromKey,
    longest_retry: Duration,
    choice: &mut OrderedChoice<'_>,
) -> QueryResult<FromKey> {
    let mut from = from;
    for _ in 0..MOST_PAGES {
        let mut rows: Vec<Row> = sql_query(ROWS)
            .bind::<Text, _>(sink.as_str())
            .bind::<BigInt, _>(from.0)
            .bind::<BigInt, _>(sql_limit(PAGE))
            .bind::<BigInt, _>(millis(longest_retry))
            .bind::<BigInt, _>(sql_limit(OF_A_KEY))
            .load(connection)?;
        rows.sort_by_key(|row| (row.order_key, row.seq));
        let (count, last) = (rows.len(), rows.last().map(|row| row.order_key));
        for row in rows {
            let key = row.order_key;
            if let Some(row) = row.into_ordered()? {
                choice.offer(row);
            }
            if choice.is_full() {
                return Ok(FromKey(key));
            }
        }
        match last {
            Some(last) if count == PAGE => from = FromKey(last),
            _ => return Ok(FromKey::START),
        }
    }
    Ok(from)
}
