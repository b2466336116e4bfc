//! Storing a batch: keys and events row by row, outbox rows with one statement for each sink. In
//! SQLite a prepared statement for each row is faster than a large one. Half of its cost is
//! diesel's binding of values, so values that the database has already are not bound again.

use std::ops::RangeInclusive;
use std::sync::Arc;

use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_types::{BigInt, Binary, Text};

use super::length;
use super::schema::{conflict, dedup, event, outbox, published};
use crate::domain::delivery::{IdClass, InstanceId, Marks, MessageId};
use crate::domain::event_order::OrderKey;
use crate::domain::sink::{SinkName, Sinks};
use crate::store::row::{Decision, KnownRow, Met, decide, headers_to_text, millis};
use crate::store::{Inserted, NewEvent, Seq};

/// Stores `batch` with its outbox rows, inside a transaction. With `class` it also stores the
/// meaning of ids, for a file whose events go on to a store.
pub(super) fn batch(
    connection: &mut SqliteConnection,
    (owner, sinks): (InstanceId, &Sinks),
    batch: &[Arc<NewEvent>],
    now: i64,
    class: bool,
) -> QueryResult<Vec<Inserted>> {
    let inserted = batch
        .iter()
        .map(|new| insert(connection, new, now, class))
        .collect::<QueryResult<Vec<_>>>()?;
    let mut accepted = batch
        .iter()
        .zip(&inserted)
        .filter_map(|(new, inserted)| match inserted {
            Inserted::Accepted(Seq(seq)) => Some((new, *seq)),
            _ => None,
        });
    if sinks.is_selective() || sinks.is_ordered() {
        for (new, seq) in accepted {
            queue_or_keep(connection, (owner, sinks), (new, seq), now)?;
        }
    } else if let Some((_, first)) = accepted.next() {
        let last = accepted.next_back().map_or(first, |(_, last)| last);
        for sink in sinks.iter() {
            queue(connection, (owner, sink), first..=last, now)?;
        }
    }
    Ok(inserted)
}

/// Puts an event in the outbox for each sink that wants it. An event that none wants is kept like
/// one that was published now.
fn queue_or_keep(
    connection: &mut SqliteConnection,
    (owner, sinks): (InstanceId, &Sinks),
    (new, seq): (&NewEvent, i64),
    now: i64,
) -> QueryResult<()> {
    let wanting = new.wanted_by(sinks);
    for (sink, key) in sinks.order_keys(wanting, &new.source, &new.body, &new.message) {
        queue(connection, (owner, sink), seq..=seq, now)?;
        if let Some(OrderKey(key)) = key {
            diesel::update(outbox::table.find((seq, sink.as_str())))
                .set(outbox::order_key.eq(key))
                .execute(connection)?;
        }
    }
    if wanting.is_empty() {
        diesel::insert_into(published::table)
            .values((
                published::seq.eq(seq),
                published::at.eq(now),
                published::sink.eq(""),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// Puts the events with these numbers in the outbox, for a sink. Within a transaction numbers rise, and nobody else takes one.
fn queue(
    connection: &mut SqliteConnection,
    (owner, sink): (InstanceId, &SinkName),
    seqs: RangeInclusive<i64>,
    now: i64,
) -> QueryResult<usize> {
    let now = now.into_sql::<BigInt>();
    event::table
        .filter(event::seq.between(*seqs.start(), *seqs.end()))
        .order(event::seq)
        .select((
            event::seq,
            sink.as_str().into_sql::<Text>(),
            event::key,
            owner.as_bytes()[..].into_sql::<Binary>(),
            length(event::body),
            now,
            now,
        ))
        .insert_into(outbox::table)
        .into_columns((
            outbox::seq,
            outbox::sink,
            outbox::key,
            outbox::owner,
            outbox::bytes,
            outbox::since,
            outbox::due_at,
        ))
        .execute(connection)
}

/// Stores key and event of `new`, or returns what is known of it.
fn insert(
    connection: &mut SqliteConnection,
    new: &NewEvent,
    now: i64,
    class: bool,
) -> QueryResult<Inserted> {
    let mut tried = false;
    loop {
        if let Some(seq) = insert_key(connection, new, now, class)? {
            insert_event(connection, new, seq)?;
            return Ok(Inserted::Accepted(Seq(seq)));
        }
        match decide(new, &met(connection, new, now)?)? {
            Decision::Known(known) => {
                if matches!(known, Inserted::Conflict(_)) {
                    keep_conflict(connection, new, now)?;
                }
                return Ok(known);
            }
            // Nobody else writes meanwhile.
            _ if tried => return Err(Error::NotFound),
            _ => give_way(connection, new, now)?,
        }
        tried = true;
    }
}

/// Returns the number of the new row. None if one of the keys is known.
fn insert_key(
    connection: &mut SqliteConnection,
    new: &NewEvent,
    now: i64,
    class: bool,
) -> QueryResult<Option<i64>> {
    // Columns are named one by one: an `Insertable` struct would turn a `None` into a `DEFAULT`, which SQLite lacks, and the batch would be lost.
    let usual = (
        dedup::key.eq(&new.key.as_bytes()[..]),
        dedup::guard.eq(new.bytes_key.as_ref().map(|key| &key.as_bytes()[..])),
        dedup::digest.eq(&new.digest.as_bytes()[..]),
        dedup::source.eq(new.source.as_str()),
        dedup::expires_at.eq(now.saturating_add(millis(new.window))),
    );
    let insert = diesel::insert_into(dedup::table);
    // Binding is half of what a row costs: few events fill the other columns.
    if !class && new.replay.is_none() && new.own_message().is_none() {
        return insert
            .values(usual)
            .on_conflict_do_nothing()
            .returning(dedup::seq)
            .get_result(connection)
            .optional();
    }
    let more = (
        dedup::message.eq(new.own_message().map(|message| &message.as_bytes()[..])),
        dedup::replay.eq(new.replay.as_ref().map(|replay| &replay.as_bytes()[..])),
        dedup::id_class.eq(class.then(|| class_to_number(new.class))),
        dedup::drop_same_bytes.eq(new.drop_same_bytes.filter(|_| class).map(millis)),
    );
    let (key, guard, digest, source, expires_at) = usual;
    let (message, replay, id_class, drop_same_bytes) = more;
    insert
        .values((
            key,
            guard,
            digest,
            source,
            expires_at,
            message,
            replay,
            id_class,
            drop_same_bytes,
        ))
        .on_conflict_do_nothing()
        .returning(dedup::seq)
        .get_result(connection)
        .optional()
}

fn insert_event(connection: &mut SqliteConnection, new: &NewEvent, seq: i64) -> QueryResult<usize> {
    let row = (
        event::seq.eq(seq),
        event::key.eq(&new.message.as_bytes()[..]),
        event::source.eq(new.source.as_str()),
        event::event_id.eq(new.event_id.as_str()),
        event::event_type.eq(new.event_type.as_deref()),
        event::content_type.eq(new.content_type.as_deref()),
        event::headers.eq(headers_to_text(&new.headers)),
        event::received_at.eq(new.received_at.0),
        event::body.eq(&new.body[..]),
        event::verified_by.eq(new.verified_by.as_deref()),
    );
    let inserted = diesel::insert_into(event::table)
        .values(row)
        .execute(connection)?;
    if new.marks != Marks::default() {
        let id = |first: &Option<MessageId>| first.as_ref().map(|first| first.as_bytes().to_vec());
        diesel::update(event::table.find(seq))
            .set((
                event::conflict_of.eq(id(&new.marks.conflict_of)),
                event::same_bytes_as.eq(id(&new.marks.same_bytes_as)),
            ))
            .execute(connection)?;
    }
    Ok(inserted)
}

/// Meaning of an id as the spool stores it.
const CLASSES: [(IdClass, i32); 5] = [
    (IdClass::Signed, 1),
    (IdClass::Unsigned, 2),
    (IdClass::Object, 3),
    (IdClass::Absent, 4),
    (IdClass::Body, 5),
];

fn class_to_number(class: IdClass) -> i32 {
    CLASSES
        .iter()
        .find(|(known, _)| *known == class)
        .map_or(2, |(_, number)| *number)
}

/// An event that a release before this one has spooled is published rather than kept aside.
pub(super) fn class_of(number: Option<i32>) -> IdClass {
    CLASSES
        .iter()
        .find(|(_, known)| Some(*known) == number)
        .map_or(IdClass::Unsigned, |(class, _)| *class)
}

/// Returns the rows that have one of the event's keys.
fn met(connection: &mut SqliteConnection, new: &NewEvent, now: i64) -> QueryResult<Met> {
    type Row = (i64, Vec<u8>, Option<Vec<u8>>, Vec<u8>, i64);
    let columns = (
        dedup::seq,
        dedup::key,
        dedup::message,
        dedup::digest,
        dedup::expires_at,
    );
    let by_key = dedup::table
        .filter(dedup::key.eq(&new.key.as_bytes()[..]))
        .select(columns)
        .first::<Row>(connection)
        .optional()?;
    let by_bytes = match &new.bytes_key {
        Some(key) => dedup::table
            .filter(dedup::guard.eq(&key.as_bytes()[..]))
            .select(columns)
            .first::<Row>(connection)
            .optional()?,
        None => None,
    };
    let by_replay = match &new.replay {
        Some(key) => dedup::table
            .filter(dedup::replay.eq(&key.as_bytes()[..]))
            .select(columns)
            .first::<Row>(connection)
            .optional()?,
        None => None,
    };
    let known = |row: Option<Row>| -> QueryResult<Option<KnownRow>> {
        let Some((seq, key, message, digest, expires_at)) = row else {
            return Ok(None);
        };
        let left = expires_at.saturating_sub(now);
        Ok(Some(KnownRow {
            seq,
            key,
            message,
            digest,
            left,
        }))
    };
    Ok(Met {
        by_key: known(by_key)?,
        by_bytes: known(by_bytes)?,
        by_replay: known(by_replay)?,
    })
}

/// Moves a row past its time to the key of its message, which nothing else names.
fn give_way(connection: &mut SqliteConnection, new: &NewEvent, now: i64) -> QueryResult<()> {
    let over = dedup::table.filter(
        dedup::key
            .eq(&new.key.as_bytes()[..])
            .and(dedup::expires_at.le(now))
            .and(dedup::message.is_not_null()),
    );
    diesel::update(over)
        .set(dedup::key.eq(dedup::message.assume_not_null()))
        .execute(connection)
        .map(drop)
}

fn keep_conflict(
    connection: &mut SqliteConnection,
    new: &NewEvent,
    now: i64,
) -> QueryResult<usize> {
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
