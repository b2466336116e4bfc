//! Storing a batch: keys and events row by row, outbox rows with one statement. In SQLite a prepared statement for each row is faster than
//! one that is large; but half of what a small one costs is diesel's binding of values, so that what the database has already is not
//! handed to it again.

use std::ops::RangeInclusive;
use std::sync::Arc;

use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Binary};

use super::schema::{conflict, dedup, event, outbox};
use crate::delivery::InstanceId;
use crate::store::row::{headers_to_text, key, millis};
use crate::store::{Inserted, NewEvent, Seq};

/// Stores `batch` with its outbox rows, inside a transaction.
pub(super) fn batch(connection: &mut SqliteConnection, owner: InstanceId, batch: &[Arc<NewEvent>], now: i64) -> QueryResult<Vec<Inserted>> {
    let inserted = batch.iter().map(|new| insert(connection, new, now)).collect::<QueryResult<Vec<_>>>()?;
    let mut accepted = inserted.iter().filter_map(|inserted| match inserted {
        Inserted::Accepted(Seq(seq)) => Some(*seq),
        _ => None,
    });
    if let Some(first) = accepted.next() {
        queue(connection, owner, first..=accepted.next_back().unwrap_or(first), now)?;
    }
    Ok(inserted)
}

/// Puts the events with these numbers in the outbox. Within a transaction numbers rise, and nobody else takes one.
fn queue(connection: &mut SqliteConnection, owner: InstanceId, seqs: RangeInclusive<i64>, now: i64) -> QueryResult<usize> {
    #[diesel::declare_sql_function]
    extern "SQL" {
        fn length(bytes: Binary) -> Integer;
    }
    let now = now.into_sql::<BigInt>();
    event::table
        .filter(event::seq.between(*seqs.start(), *seqs.end()))
        .order(event::seq)
        .select((event::seq, event::key, owner.as_bytes()[..].into_sql::<Binary>(), length(event::body), now, now))
        .insert_into(outbox::table)
        .into_columns((outbox::seq, outbox::key, outbox::owner, outbox::bytes, outbox::since, outbox::due_at))
        .execute(connection)
}

/// Stores key and event of `new`.
fn insert(connection: &mut SqliteConnection, new: &NewEvent, now: i64) -> QueryResult<Inserted> {
    // Columns are named one by one: an `Insertable` struct would turn a `None` into a `DEFAULT`, which SQLite lacks, and the batch would be lost.
    let seq = diesel::insert_into(dedup::table)
        .values((
            dedup::key.eq(&new.key.as_bytes()[..]),
            dedup::guard.eq(new.guard.as_ref().map(|guard| &guard.as_bytes()[..])),
            dedup::digest.eq(&new.digest.as_bytes()[..]),
            dedup::source.eq(new.source.as_str()),
            dedup::expires_at.eq(now.saturating_add(millis(new.window))),
        ))
        .on_conflict_do_nothing()
        .returning(dedup::seq)
        .get_result::<i64>(connection)
        .optional()?;
    let Some(seq) = seq else { return known(connection, new, now) };
    diesel::insert_into(event::table)
        .values((
            event::seq.eq(seq),
            event::key.eq(&new.key.as_bytes()[..]),
            event::source.eq(new.source.as_str()),
            event::event_id.eq(new.event_id.as_str()),
            event::event_type.eq(new.event_type.as_deref()),
            event::content_type.eq(new.content_type.as_deref()),
            event::headers.eq(headers_to_text(&new.headers)),
            event::received_at.eq(new.received_at.0),
            event::body.eq(&new.body[..]),
        ))
        .execute(connection)?;
    Ok(Inserted::Accepted(Seq(seq)))
}

/// An event whose key or guard is there already.
fn known(connection: &mut SqliteConnection, new: &NewEvent, now: i64) -> QueryResult<Inserted> {
    let by_key =
        dedup::table.filter(dedup::key.eq(&new.key.as_bytes()[..])).select(dedup::digest).first::<Vec<u8>>(connection).optional()?;
    match by_key {
        Some(digest) if digest == new.digest.as_bytes() => Ok(Inserted::Duplicate(new.key)),
        Some(_) => {
            keep_conflict(connection, new, now)?;
            Ok(Inserted::Conflict(new.key))
        }
        None => {
            let guard = new.guard.as_ref().ok_or(Error::NotFound)?;
            let first = dedup::table.filter(dedup::guard.eq(&guard.as_bytes()[..])).select(dedup::key).first::<Vec<u8>>(connection)?;
            Ok(Inserted::Duplicate(key(&first)?))
        }
    }
}

fn keep_conflict(connection: &mut SqliteConnection, new: &NewEvent, now: i64) -> QueryResult<usize> {
    diesel::insert_into(conflict::table)
        .values((
            conflict::key.eq(&new.key.as_bytes()[..]),
            conflict::digest.eq(&new.digest.as_bytes()[..]),
            conflict::source.eq(new.source.as_str()),
            conflict::event_id.eq(new.event_id.as_str()),
            conflict::content_type.eq(new.content_type.as_deref()),
            conflict::headers.eq(headers_to_text(&new.headers)),
            conflict::received_at.eq(new.received_at.0),
            conflict::at.eq(now),
            conflict::body.eq(&new.body[..]),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
}
