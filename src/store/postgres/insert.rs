//! Storing a batch: one statement, one transaction, one round trip. What the statement does not return was known before, and is looked
//! up by a second one.
//!
//! The statement has two forms. Most events are new, and a plain `INSERT` of a large batch takes a fifth less of PostgreSQL's time than one
//! that looks out for conflicts row by row; but one known event makes it fail, and the batch is stored by the other form then. Where known
//! events have come of late, that is the one to begin with.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::connection::{unavailable, was_rolled_back};
use crate::control;
use crate::delivery::InstanceId;
use crate::store::row::{headers_to_text, key, millis};
use crate::store::{Inserted, NewEvent, Seq, StoreError};

/// Rows that the queue has confirmed leave the outbox.
const CONFIRMED: &str = "
    WITH gone AS (
        DELETE FROM outbox WHERE seq = ANY (";

/// The arrays, one entry a row, and each row's number and place in the batch.
const INPUT: &str = ") RETURNING seq
    ), told AS (
        INSERT INTO published (seq) SELECT seq FROM gone
    ), input AS MATERIALIZED (
        SELECT nextval('event_seq') AS seq, i.* FROM unnest(";

/// The end of the arrays.
const ARRAYS: &str = ") WITH ORDINALITY
            AS i (key, guard, digest, source, event_id, event_type, content_type, headers, received_at, ttl, body, place)";

/// Keys go in in order, so that two batches with common keys do not wait for each other in a circle.
const KEYS: &str = "
    ), fresh AS (
        INSERT INTO dedup (key, guard, digest, source, seq, expires_at)
        SELECT key, guard, digest, source, seq, now() + ttl * interval '1 millisecond' FROM input ORDER BY key";

const EVENTS: &str = "
    ), stored AS (
        INSERT INTO event (seq, key, source, event_id, event_type, content_type, headers, received_at, body)
        SELECT seq, key, source, event_id, event_type, content_type, headers, received_at, body FROM ";

const QUEUED: &str = "
    ), queued AS (
        INSERT INTO outbox (seq, key, bytes, owner) SELECT seq, key, length(body), ";

/// What is returned was new.
const RETURNED: &str = "
    )
    SELECT place, seq FROM ";

/// A batch as arrays.
#[derive(Debug)]
struct Rows<'a> {
    keys: Vec<&'a [u8]>,
    guards: Vec<Option<&'a [u8]>>,
    digests: Vec<&'a [u8]>,
    sources: Vec<&'a str>,
    event_ids: Vec<&'a str>,
    event_types: Vec<Option<&'a str>>,
    content_types: Vec<Option<&'a str>>,
    headers: Vec<String>,
    received_at: Vec<i64>,
    ttls: Vec<i64>,
    bodies: Vec<&'a [u8]>,
    owner: &'a [u8],
    confirmed: &'a [i64],
}

impl<'a> Rows<'a> {
    fn new(owner: &'a InstanceId, batch: &'a [Arc<NewEvent>], confirmed: &'a [i64]) -> Self {
        Self {
            keys: batch.iter().map(|new| &new.key.as_bytes()[..]).collect(),
            guards: batch.iter().map(|new| new.guard.as_ref().map(|guard| &guard.as_bytes()[..])).collect(),
            digests: batch.iter().map(|new| &new.digest.as_bytes()[..]).collect(),
            sources: batch.iter().map(|new| new.source.as_str()).collect(),
            event_ids: batch.iter().map(|new| new.event_id.as_str()).collect(),
            event_types: batch.iter().map(|new| new.event_type.as_deref()).collect(),
            content_types: batch.iter().map(|new| new.content_type.as_deref()).collect(),
            headers: batch.iter().map(|new| headers_to_text(&new.headers)).collect(),
            received_at: batch.iter().map(|new| new.received_at.0).collect(),
            ttls: batch.iter().map(|new| millis(new.window)).collect(),
            bodies: batch.iter().map(|new| &new.body[..]).collect(),
            owner: owner.as_bytes(),
            confirmed,
        }
    }
}

/// The statement that stores them; `WARY` of known ones, or failing because of them. A type of its own for each form, so that diesel
/// prepares it once for each connection.
#[derive(Debug)]
struct Insert<'a, const WARY: bool>(&'a Rows<'a>);

impl<const WARY: bool> QueryFragment<Pg> for Insert<'_, WARY> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let rows = self.0;
        out.push_sql(CONFIRMED);
        out.push_bind_param::<Array<BigInt>, _>(rows.confirmed)?;
        out.push_sql(INPUT);
        out.push_bind_param::<Array<Binary>, _>(&rows.keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Binary>>, _>(&rows.guards)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&rows.digests)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&rows.sources)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&rows.event_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&rows.event_types)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&rows.content_types)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&rows.headers)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&rows.received_at)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<BigInt>, _>(&rows.ttls)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Binary>, _>(&rows.bodies)?;
        out.push_sql(ARRAYS);
        if control::makes("unsorted_batches") {
            out.push_sql(&KEYS.replace("ORDER BY key", "ORDER BY random()"));
        } else {
            out.push_sql(KEYS);
        }
        if WARY {
            out.push_sql(" ON CONFLICT DO NOTHING RETURNING seq");
        }
        let new = if WARY { "input JOIN fresh USING (seq)" } else { "input" };
        out.push_sql(EVENTS);
        out.push_sql(new);
        out.push_sql(QUEUED);
        out.push_bind_param::<Binary, _>(rows.owner)?;
        out.push_sql(" FROM ");
        out.push_sql(new);
        out.push_sql(RETURNED);
        out.push_sql(new);
        Ok(())
    }
}

impl<const WARY: bool> QueryId for Insert<'_, WARY> {
    type QueryId = Insert<'static, WARY>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const WARY: bool> Query for Insert<'_, WARY> {
    type SqlType = (BigInt, BigInt);
}

impl<const WARY: bool> RunQueryDsl<PgConnection> for Insert<'_, WARY> {}

/// Why a batch is not known to be stored.
enum Failed {
    /// Nothing of it was committed.
    Clean(Error),
    /// Some of it may be.
    Ambiguous(Error),
}

/// When an event that was known last came to be stored.
#[derive(Debug, Default)]
pub(super) struct LastKnown(Mutex<Option<Instant>>);

impl LastKnown {
    /// Longer than the first pauses between a provider's redeliveries. Past it, a known event costs a failed statement once more, and an
    /// error in PostgreSQL's log.
    const RECENT: Duration = Duration::from_secs(600);

    fn is_recent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|last| last.elapsed() < Self::RECENT)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Stores `batch` and tells `confirmed`, all or nothing.
fn together(
    connection: &mut PgConnection,
    owner: InstanceId,
    batch: &[Arc<NewEvent>],
    confirmed: &[i64],
    last_known: &LastKnown,
) -> Result<Vec<Inserted>, Failed> {
    let rows = Rows::new(&owner, batch, confirmed);
    let mut plain = (!last_known.is_recent()).then(|| Insert::<false>(&rows).load(connection));
    if let Some(Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) = plain {
        last_known.note();
        plain = None;
    }
    let stored = plain.unwrap_or_else(|| Insert::<true>(&rows).load(connection));
    let fresh: Vec<(i64, i64)> = match stored {
        Ok(fresh) => fresh,
        Err(error) if was_rolled_back(connection, &error) => return Err(Failed::Clean(error)),
        Err(error) => return Err(Failed::Ambiguous(error)),
    };
    let mut inserted: Vec<Option<Inserted>> = vec![None; batch.len()];
    for (place, seq) in fresh {
        if let Some(entry) = usize::try_from(place - 1).ok().and_then(|place| inserted.get_mut(place)) {
            *entry = Some(Inserted::Accepted(Seq(seq)));
        }
    }
    let known: Vec<&NewEvent> = batch.iter().zip(&inserted).filter(|(_, entry)| entry.is_none()).map(|(new, _)| &**new).collect();
    if !known.is_empty() {
        last_known.note();
        // From here on an error leaves accepted events behind, which the sweep of this instance's own rows will find.
        let mut known = look_up(connection, &known).map_err(Failed::Ambiguous)?.into_iter();
        inserted.iter_mut().filter(|entry| entry.is_none()).for_each(|entry| *entry = known.next());
    }
    inserted.into_iter().collect::<Option<Vec<_>>>().ok_or_else(|| Failed::Ambiguous(Error::NotFound))
}

/// What is known of events that were not new; keeps the bodies of those that conflict.
fn look_up(connection: &mut PgConnection, known: &[&NewEvent]) -> QueryResult<Vec<Inserted>> {
    #[derive(QueryableByName)]
    struct First {
        #[diesel(sql_type = Nullable<Binary>)]
        digest: Option<Vec<u8>>,
        #[diesel(sql_type = Nullable<Binary>)]
        guarded: Option<Vec<u8>>,
    }
    let keys: Vec<&[u8]> = known.iter().map(|new| &new.key.as_bytes()[..]).collect();
    let guards: Vec<Option<&[u8]>> = known.iter().map(|new| new.guard.as_ref().map(|guard| &guard.as_bytes()[..])).collect();
    let firsts: Vec<First> = sql_query(
        // Not joins, which the planner might make of the whole table.
        "SELECT (SELECT digest FROM dedup WHERE dedup.key = i.key) AS digest,
                (SELECT dedup.key FROM dedup WHERE dedup.guard = i.guard) AS guarded
         FROM unnest($1, $2) WITH ORDINALITY AS i (key, guard, place)
         ORDER BY place",
    )
    .bind::<Array<Binary>, _>(&keys)
    .bind::<Array<Nullable<Binary>>, _>(&guards)
    .load(connection)?;
    let mut conflicts = Vec::new();
    let mut inserted = Vec::with_capacity(known.len());
    for (new, first) in known.iter().zip(firsts) {
        inserted.push(match (first.digest, first.guarded) {
            (Some(digest), _) if digest == new.digest.as_bytes() => Inserted::Duplicate(new.key),
            (Some(_), _) => {
                conflicts.push(*new);
                Inserted::Conflict(new.key)
            }
            (None, Some(guarded)) => Inserted::Duplicate(key(&guarded)?),
            // It expired and was pruned between the two statements: the provider's retry will be new.
            (None, None) => return Err(Error::NotFound),
        });
    }
    keep_conflicts(connection, &conflicts)?;
    Ok(inserted)
}

fn keep_conflicts(connection: &mut PgConnection, conflicts: &[&NewEvent]) -> QueryResult<()> {
    // One by one: they are rare, and large bodies need not be copied into one more array.
    for new in conflicts {
        sql_query(
            "INSERT INTO conflict (key, digest, source, event_id, content_type, headers, received_at, body)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind::<Binary, _>(&new.key.as_bytes()[..])
        .bind::<Binary, _>(&new.digest.as_bytes()[..])
        .bind::<Text, _>(new.source.as_str())
        .bind::<Text, _>(new.event_id.as_str())
        .bind::<Nullable<Text>, _>(new.content_type.as_deref())
        .bind::<Text, _>(headers_to_text(&new.headers))
        .bind::<BigInt, _>(new.received_at.0)
        .bind::<Binary, _>(&new.body[..])
        .execute(connection)?;
    }
    Ok(())
}

/// How often a whole batch is tried before its rows are taken apart. Guards are not in key order, so that batches can deadlock by them.
const TRIES: u32 = 3;
/// So many rows refused, and none stored, means that it is not the rows.
const REFUSED_AT_MOST: usize = 8;

/// Stores `batch`, in parts if some of its rows cannot be stored. `confirmed` is told with the whole batch, or not at all: where that fails,
/// they shall not be what spoils the parts. Says whether it was.
///
/// diesel does not show SQLSTATE, so that a deadlock, a full disk and a row that PostgreSQL refuses look alike: which it is, is told by
/// trying again, and then by halves.
pub(super) fn insert(
    connection: &mut PgConnection,
    owner: InstanceId,
    batch: &[Arc<NewEvent>],
    confirmed: &[i64],
    last_known: &LastKnown,
    limit: Duration,
) -> Result<(Vec<Inserted>, bool), StoreError> {
    let mut parts = Parts { owner, last_known, until: Instant::now() + limit, stored: 0, refused: 0 };
    match parts.try_together(connection, batch, confirmed, TRIES)? {
        Ok(inserted) => Ok((inserted, true)),
        Err(error) if is_about_a_row(&error) || batch.len() > 1 => Ok((parts.apart(connection, batch, error)?, false)),
        Err(error) => Err(unavailable(&error)),
    }
}

struct Parts<'a> {
    owner: InstanceId,
    last_known: &'a LastKnown,
    until: Instant,
    stored: usize,
    refused: usize,
}

impl Parts<'_> {
    /// The outer error ends it all; the inner one says that none of these rows was stored.
    fn try_together(
        &mut self,
        connection: &mut PgConnection,
        rows: &[Arc<NewEvent>],
        confirmed: &[i64],
        tries: u32,
    ) -> Result<Result<Vec<Inserted>, Error>, StoreError> {
        let mut tried = 0;
        loop {
            tried += 1;
            match together(connection, self.owner, rows, confirmed, self.last_known) {
                Ok(inserted) => {
                    self.stored += rows.len();
                    return Ok(Ok(inserted));
                }
                Err(Failed::Ambiguous(error)) => return Err(StoreError::Ambiguous(format!("PostgreSQL: {error}"))),
                Err(Failed::Clean(error)) if Instant::now() >= self.until => return Err(self.given_up(&error)),
                // Smaller rows may still find room, and the others would look refused for good.
                Err(Failed::Clean(error)) if is_about_the_disk(&error) => return Err(self.given_up(&error)),
                Err(Failed::Clean(error)) if tried >= tries || is_about_a_row(&error) => return Ok(Err(error)),
                Err(Failed::Clean(_)) => thread::sleep(Duration::from_millis(2 + RandomState::new().hash_one(tried) % 30)),
            }
        }
    }

    fn apart(&mut self, connection: &mut PgConnection, rows: &[Arc<NewEvent>], error: Error) -> Result<Vec<Inserted>, StoreError> {
        if let [_] = rows {
            self.refused += 1;
            if self.refused >= REFUSED_AT_MOST && self.stored == 0 {
                return Err(self.given_up(&error));
            }
            return Ok(vec![Inserted::Refused(error.to_string())]);
        }
        let mut inserted = Vec::with_capacity(rows.len());
        let (left, right) = rows.split_at(rows.len() / 2);
        for half in [left, right] {
            inserted.extend(match self.try_together(connection, half, &[], 2)? {
                Ok(inserted) => inserted,
                Err(error) => self.apart(connection, half, error)?,
            });
        }
        Ok(inserted)
    }

    fn given_up(&self, error: &Error) -> StoreError {
        match (self.stored, unavailable(error)) {
            (1.., StoreError::Unavailable(text)) => StoreError::Ambiguous(text),
            (_, error) => error,
        }
    }
}

/// A full disk, by the words that PostgreSQL has for it; diesel does not show its code.
fn is_about_the_disk(error: &Error) -> bool {
    let Error::DatabaseError(_, information) = error else { return false };
    information.message().contains("No space left on device") || information.hint().is_some_and(|hint| hint.contains("disk space"))
}

/// Errors that say which they are.
fn is_about_a_row(error: &Error) -> bool {
    matches!(error, Error::DatabaseError(DatabaseErrorKind::NotNullViolation | DatabaseErrorKind::CheckViolation, _))
}
