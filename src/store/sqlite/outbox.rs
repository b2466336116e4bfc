//! The role [`Outbox`] in SQLite, and parked rows of the spool.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Text};

use super::claims::{self, confirm};
use super::schema::{dedup, event, outbox, parked, published};
use super::upkeep::{self, sql_limit};
use super::{SqliteStore, length, load_event, now, order};
use crate::domain::delivery::{InstanceId, MessageKey};
use crate::domain::sink::SinkName;
use crate::store::claim::{Choice, DueRows};
use crate::store::in_order::OrderedChoice;
use crate::store::row::{EventRow, millis};
use crate::store::{
    Confirms, FromKey, InMemory, OrderedRows, Outbox, Room, Seq, StoreError, StoredEvent,
};

/// Adds at most `?3` rows that wait for sink `?1` to sink `?2`, unless the event waits there already.
const COPY_WAITING: &str = "
    INSERT OR IGNORE INTO outbox (seq, sink, key, owner, bytes, since, due_at, order_key)
    SELECT seq, ?2, key, ?4, bytes, since, ?5, order_key FROM outbox WHERE sink = ?1 ORDER BY seq LIMIT ?3";

/// Adds the events of at most `?2` rows that wait for sink `?1` to those that were published at `?3`.
const KEEP_WAITING: &str = "
    INSERT OR IGNORE INTO published (seq, at, sink)
    SELECT seq, ?3, sink FROM outbox WHERE sink = ?1 ORDER BY seq LIMIT ?2";

/// Deletes at most `?2` rows that wait for sink `?1`, in the same order.
const DELETE_WAITING: &str = "
    DELETE FROM outbox
    WHERE sink = ?1 AND seq IN (SELECT seq FROM outbox WHERE sink = ?1 ORDER BY seq LIMIT ?2)";

impl SqliteStore {
    /// Claims `rows` that are due; see [`Outbox::claim`].
    fn claim_due(
        &self,
        (owner, sink, rows): (InstanceId, &SinkName, DueRows),
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let now = now();
        self.take_over((owner, sink), room, now)?;
        self.read(|connection| {
            let mut choice = Choice::new(room, skip);
            let of = (owner, sink, rows);
            claims::offer(connection, of, now, self.longest_retry, &mut choice)?;
            Ok(choice.stored(events(connection, choice.seqs())?))
        })
    }
}

impl Outbox for SqliteStore {
    fn claim(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        self.claim_due((owner, sink, DueRows::All), room, skip)
    }

    /// Needs no holder of the sink: one process serves from a file.
    fn claim_in_order(
        &self,
        _: InstanceId,
        sink: &SinkName,
        room: Room,
        from: FromKey,
        in_memory: &dyn Fn(&MessageKey) -> InMemory,
    ) -> Result<OrderedRows, StoreError> {
        let times = (now(), self.longest_retry);
        self.read(|connection| {
            let mut choice = OrderedChoice::new(room, in_memory);
            let next = order::offer(connection, sink, from, times, &mut choice)?;
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
        let now = now();
        self.write(|connection| confirm(connection, Confirms { sink, rows }, now))
    }

    fn postpone(&self, sink: &SinkName, rows: &[Seq], delay: Duration) -> Result<(), StoreError> {
        let due_at = now().saturating_add(millis(delay));
        self.write(|connection| {
            for Seq(seq) in rows {
                diesel::update(outbox::table.find((seq, sink.as_str())))
                    .set((
                        outbox::attempts.eq(outbox::attempts + 1),
                        outbox::due_at.eq(due_at),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn park(&self, sink: &SinkName, Seq(seq): Seq, reason: &str) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            let row = outbox::table.find((seq, sink.as_str()));
            let found = row
                .select(outbox::order_key)
                .first::<Option<i64>>(connection)
                .optional()?;
            if let Some(order_key) = found {
                diesel::delete(row).execute(connection)?;
                diesel::insert_into(parked::table)
                    .values((
                        parked::seq.eq(seq),
                        parked::sink.eq(sink.as_str()),
                        parked::reason.eq(reason),
                        parked::at.eq(now),
                        parked::order_key.eq(order_key),
                    ))
                    .on_conflict((parked::seq, parked::sink))
                    .do_update()
                    .set((
                        parked::reason.eq(reason),
                        parked::at.eq(now),
                        parked::order_key.eq(order_key),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn retry_parked(&self, sink: &SinkName, rows: &[Seq]) -> Result<u64, StoreError> {
        self.retry(sink, rows, false)
    }

    fn discard_parked(&self, sink: &SinkName, rows: &[Seq]) -> Result<u64, StoreError> {
        self.write(|connection| discard(connection, sink, rows))
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
        let (nobody, now) = (InstanceId::random(), now());
        self.write(|connection| {
            sql_query(COPY_WAITING)
                .bind::<Text, _>(from.as_str())
                .bind::<Text, _>(to.as_str())
                .bind::<BigInt, _>(sql_limit(limit))
                .bind::<Binary, _>(&nobody.as_bytes()[..])
                .bind::<BigInt, _>(now)
                .execute(connection)?;
            delete_waiting(connection, from, limit)
        })
    }

    fn discard_waiting(&self, sink: &SinkName, limit: usize) -> Result<u64, StoreError> {
        let now = now();
        self.write(|connection| {
            sql_query(KEEP_WAITING)
                .bind::<Text, _>(sink.as_str())
                .bind::<BigInt, _>(sql_limit(limit))
                .bind::<BigInt, _>(now)
                .execute(connection)?;
            delete_waiting(connection, sink, limit)
        })
    }
}

/// Moves parked rows into the outbox of an instance that does not live: the next one to look takes them over. In the spool their window
/// is counted from the outbox's time, which then is the time at which they were parked.
pub(super) fn retry(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    rows: &[Seq],
    in_spool: bool,
) -> QueryResult<u64> {
    let (nobody, now) = (InstanceId::random(), now());
    let mut moved = 0;
    for Seq(seq) in rows {
        let row = parked::table.find((seq, sink.as_str()));
        let parked = row
            .select((parked::at, parked::order_key))
            .first::<(i64, Option<i64>)>(connection)
            .optional()?;
        let found = event::table
            .find(seq)
            .select((event::key, length(event::body)))
            .first::<(Vec<u8>, i32)>(connection)
            .optional()?;
        let (Some((at, order_key)), Some((key, bytes))) = (parked, found) else {
            continue;
        };
        diesel::insert_into(outbox::table)
            .values((
                outbox::seq.eq(seq),
                outbox::sink.eq(sink.as_str()),
                outbox::key.eq(key),
                outbox::owner.eq(&nobody.as_bytes()[..]),
                outbox::bytes.eq(bytes),
                outbox::since.eq(if in_spool { at } else { now }),
                outbox::due_at.eq(now),
                outbox::order_key.eq(order_key),
            ))
            .on_conflict_do_nothing()
            .execute(connection)?;
        moved += diesel::delete(row).execute(connection)? as u64;
    }
    Ok(moved)
}

/// Deletes parked rows; see [`Outbox::discard_parked`].
pub(super) fn discard(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    rows: &[Seq],
) -> QueryResult<u64> {
    let now = now();
    let mut gone = 0;
    for Seq(seq) in rows {
        let row = parked::table.find((seq, sink.as_str()));
        if diesel::delete(row).execute(connection)? == 0 {
            continue;
        }
        gone += 1;
        if has_rows(connection, *seq)? {
            // The event is kept like a published one, and goes with the last row.
            diesel::insert_or_ignore_into(published::table)
                .values((
                    published::seq.eq(seq),
                    published::at.eq(now),
                    published::sink.eq(sink.as_str()),
                ))
                .execute(connection)?;
        } else {
            diesel::delete(event::table.find(seq)).execute(connection)?;
        }
    }
    Ok(gone)
}

fn delete_waiting(
    connection: &mut SqliteConnection,
    sink: &SinkName,
    limit: usize,
) -> QueryResult<u64> {
    sql_query(DELETE_WAITING)
        .bind::<Text, _>(sink.as_str())
        .bind::<BigInt, _>(sql_limit(limit))
        .execute(connection)
        .map(|rows| rows as u64)
}

/// Returns `true` if a sink has a row of the event, waiting or parked.
fn has_rows(connection: &mut SqliteConnection, seq: i64) -> QueryResult<bool> {
    let waits = diesel::dsl::exists(outbox::table.filter(outbox::seq.eq(seq)));
    let is_parked = diesel::dsl::exists(parked::table.filter(parked::seq.eq(seq)));
    diesel::select(waits.or(is_parked)).get_result(connection)
}

/// Returns the events with these numbers. One may have been confirmed in between.
fn events(connection: &mut SqliteConnection, seqs: Vec<i64>) -> QueryResult<Vec<EventRow>> {
    let mut rows = Vec::new();
    for seq in seqs {
        rows.extend(load_event(connection, seq)?);
    }
    Ok(rows)
}

impl SqliteStore {
    /// Takes over rows of instances without a live lease.
    fn take_over(
        &self,
        (owner, sink): (InstanceId, &SinkName),
        room: Room,
        now: i64,
    ) -> Result<(), StoreError> {
        let look = upkeep::Look {
            owner,
            sink,
            now,
            lease: self.lease,
        };
        if self.read(|connection| upkeep::has_lost_rows(connection, look))? {
            self.write(|connection| upkeep::take_over(connection, look, room.events))?;
        }
        Ok(())
    }

    /// Moves parked rows of the spool or of the store into the outbox.
    pub(super) fn retry(
        &self,
        sink: &SinkName,
        rows: &[Seq],
        in_spool: bool,
    ) -> Result<u64, StoreError> {
        self.write(|connection| retry(connection, sink, rows, in_spool))
    }

    /// Deletes parked rows of the spool with their events and keys: nothing else knows the keys, and a redelivery is an event then.
    pub(super) fn discard_with_keys(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.write(|connection| {
            let mut gone = 0;
            for Seq(seq) in rows {
                let row = parked::table.filter(parked::seq.eq(seq));
                if diesel::delete(row).execute(connection)? == 0 {
                    continue;
                }
                diesel::delete(event::table.find(seq)).execute(connection)?;
                diesel::delete(dedup::table.find(seq)).execute(connection)?;
                gone += 1;
            }
            Ok(gone)
        })
    }
}
