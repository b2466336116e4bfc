//! Storing a batch: one statement, one transaction, one round trip. What the statement does not return was known before, and is looked
//! up by a second one.
//!
//! The statement has two forms. Most events are new, and a plain `INSERT` of a large batch takes a fifth less of PostgreSQL's time than one
//! that looks out for conflicts row by row; but one known event makes it fail, and the batch is stored by the other form then. Where known
//! events have come of late, that is the one to begin with.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::connection::was_rolled_back;
use super::session::Session;
use crate::control;
use crate::delivery::InstanceId;
use crate::store::row::{headers_to_text, key, millis};
use crate::store::{Inserted, NewEvent, Seq};

/// Rows that the queue has confirmed leave the outbox.
const CONFIRMED: &str = "
    WITH gone AS (
        DELETE FROM outbox WHERE seq = ANY (";

/// The arrays, one entry a row, and each row's number and place in the batch. Evaluated before anything is stored, so that the transaction
/// is durable (see [`Session::guard`]) from its first row on.
const INPUT: &str = ") RETURNING seq
    ), told AS (
        INSERT INTO published (seq) SELECT seq FROM gone
    ), input AS MATERIALIZED (
        SELECT nextval('event_seq') AS seq, ";

/// Between the guard of the transaction and the arrays.
const UNNEST: &str = " AS synced, i.* FROM unnest(";

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
    SELECT place, seq, synced FROM ";

/// A batch as arrays.
#[derive(Debug)]
pub(super) struct Rows<'a> {
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
    pub(super) fn new(owner: &'a InstanceId, batch: &'a [Arc<NewEvent>], confirmed: &'a [i64]) -> Self {
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
struct Insert<'a, const WARY: bool>(&'a Rows<'a>, &'a str);

impl<const WARY: bool> QueryFragment<Pg> for Insert<'_, WARY> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        let rows = self.0;
        out.push_sql(CONFIRMED);
        out.push_bind_param::<Array<BigInt>, _>(rows.confirmed)?;
        out.push_sql(INPUT);
        out.push_sql(self.1);
        out.push_sql(UNNEST);
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
    type SqlType = (BigInt, BigInt, Text);
}

impl<const WARY: bool> RunQueryDsl<PgConnection> for Insert<'_, WARY> {}

impl Rows<'_> {
    /// Place and number of each event that was new.
    pub(super) fn store(&self, connection: &mut PgConnection, session: &Session, wary: bool) -> QueryResult<Vec<(i64, i64)>> {
        let stored = session.run(connection, |connection| self.load(connection, session, wary))?;
        if let Some((_, _, in_force)) = stored.iter().find(|(_, _, in_force)| !session.is_durable(in_force)) {
            return Err(Error::DeserializationError(format!("the commit was not durable: synchronous_commit was {in_force}").into()));
        }
        Ok(stored.into_iter().map(|(place, seq, _)| (place, seq)).collect())
    }

    /// Stores them and rolls that back. Fails where storing them does.
    pub(super) fn try_out(&self, connection: &mut PgConnection, session: &Session, wary: bool) -> QueryResult<()> {
        let undone = session.run(connection, |connection| {
            connection.transaction(|connection| {
                self.load(connection, session, wary)?;
                Err::<(), _>(Error::RollbackTransaction)
            })
        });
        match undone {
            Err(Error::RollbackTransaction) => Ok(()),
            undone => undone,
        }
    }

    fn load(&self, connection: &mut PgConnection, session: &Session, wary: bool) -> QueryResult<Vec<(i64, i64, String)>> {
        match wary {
            false => Insert::<false>(self, session.guard()).load(connection),
            true => Insert::<true>(self, session.guard()).load(connection),
        }
    }
}

/// Why a batch is not known to be stored.
pub(super) enum Failed {
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
pub(super) fn together(
    connection: &mut PgConnection,
    session: &Session,
    owner: InstanceId,
    batch: &[Arc<NewEvent>],
    confirmed: &[i64],
    last_known: &LastKnown,
) -> Result<Vec<Inserted>, Failed> {
    let rows = Rows::new(&owner, batch, confirmed);
    let mut plain = (!last_known.is_recent()).then(|| rows.store(connection, session, false));
    if let Some(Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) = plain {
        last_known.note();
        plain = None;
    }
    let stored = plain.unwrap_or_else(|| rows.store(connection, session, true));
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
        let mut known = session.run(connection, |connection| look_up(connection, &known)).map_err(Failed::Ambiguous)?.into_iter();
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
