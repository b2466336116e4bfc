//! Rows of an ordered sink.

use std::time::Duration;

use diesel::prelude::*;

use super::schema::{outbox, parked};
use crate::domain::event_order::OrderKey;
use crate::domain::sink::SinkName;
use crate::store::FromKey;
use crate::store::claim::{Due, PAGE};
use crate::store::in_order::{MOST_PAGES, OF_A_KEY, OrderedChoice, OrderedRow};
use crate::store::republish::JobId;
use crate::store::row::{message_key, millis};

/// Number of keys that one claim looks at.
const KEYS: usize = MOST_PAGES * PAGE;

/// Offers rows of `sink` from the key after `from` on. Returns the place at which the next claim goes on.
pub(super) fn offer(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    from: FromKey,
    (now, longest_retry): (i64, Duration),
    choice: &mut OrderedChoice<'_>,
) -> QueryResult<FromKey> {
    let stranded = now.saturating_add(millis(longest_retry));
    let mut last = from.0;
    for _ in 0..KEYS {
        let Some(key) = key_after(connection, sink, last)? else {
            return Ok(FromKey::START);
        };
        last = key;
        offer_key(connection, sink, OrderKey(key), (now, stranded), choice)?;
        if choice.is_full() {
            break;
        }
    }
    Ok(FromKey(last))
}

/// Returns the next key that has rows.
fn key_after(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    last: i64,
) -> QueryResult<Option<i64>> {
    outbox::table
        .filter(outbox::sink.eq(sink.as_str()))
        .filter(outbox::order_key.gt(last))
        .order(outbox::order_key)
        .select(outbox::order_key.assume_not_null())
        .first(connection)
        .optional()
}

/// Offers the first rows of a key, unless a parked one is before them.
fn offer_key(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    key: OrderKey,
    (now, stranded): (i64, i64),
    choice: &mut OrderedChoice<'_>,
) -> QueryResult<()> {
    let rows = outbox::table
        .filter(outbox::sink.eq(sink.as_str()))
        .filter(outbox::order_key.eq(key.0))
        .order(outbox::seq)
        .limit(OF_A_KEY as i64)
        .select((
            outbox::due_at,
            outbox::seq,
            outbox::key,
            outbox::bytes,
            outbox::attempts,
            outbox::republished,
        ))
        .load::<(i64, i64, Vec<u8>, i32, i32, Option<Vec<u8>>)>(connection)?;
    let Some((_, first, ..)) = rows.first() else {
        return Ok(());
    };
    let is_held = diesel::select(diesel::dsl::exists(
        parked::table
            .filter(parked::sink.eq(sink.as_str()))
            .filter(parked::order_key.eq(key.0))
            .filter(parked::seq.lt(first)),
    ))
    .get_result::<bool>(connection)?;
    for (due_at, seq, message, bytes, attempts, job) in rows {
        choice.offer(OrderedRow {
            key,
            open: !is_held && (due_at <= now || due_at > stranded),
            row: Due {
                seq,
                key: message_key(&message)?,
                bytes,
                attempts,
                republished: JobId::stored(job.as_deref()),
            },
        });
    }
    Ok(())
}
