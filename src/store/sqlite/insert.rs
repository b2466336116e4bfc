//! Storing a batch, row by row with prepared statements: in SQLite that is faster than one large statement.

use diesel::prelude::*;
use diesel::result::Error;

use super::schema::{conflict, dedup, event, outbox};
use crate::delivery::InstanceId;
use crate::store::row::{headers_to_text, key, millis, size};
use crate::store::{Inserted, NewEvent, Seq};

/// Stores `new`, inside a transaction.
pub(super) fn insert(connection: &mut SqliteConnection, owner: InstanceId, new: &NewEvent, now: i64) -> QueryResult<Inserted> {
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
    diesel::insert_into(outbox::table)
        .values((
            outbox::seq.eq(seq),
            outbox::key.eq(&new.key.as_bytes()[..]),
            outbox::owner.eq(&owner.as_bytes()[..]),
            outbox::bytes.eq(size(&new.body)),
            outbox::since.eq(now),
            outbox::due_at.eq(now),
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
