//! Storing a batch: one statement, one transaction, one round trip. What the statement does not return was known before, and is looked
//! up by a second one.
//!
//! The statement has two forms. Most events are new, and a plain `INSERT` of a large batch takes a fifth less of PostgreSQL's time than one
//! that looks out for conflicts row by row; but one known event makes it fail, and the batch is stored by the other form then. Where known
//! events have come of late, that is the one to begin with. Each form has a second one with the columns that few events fill.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Integer, Nullable, Text};

use super::connection::was_rolled_back;
use super::session::Session;
use crate::domain::delivery::{InstanceId, Marks};
use crate::faults::mutants::Mutant;
use crate::store::row::{Decision, KnownRow, Met, decide, headers_to_text, millis};
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
            AS i (key, guard, digest, source, event_id, event_type, content_type, headers, received_at, ttl, body";

/// The columns that few events fill.
const MORE: &str = ", message, replay, conflict_of, same_bytes_as";

/// Keys go in in order, so that two batches with common keys do not wait for each other in a circle.
const KEYS: &str = "
    ), fresh AS (
        INSERT INTO dedup (key, guard, digest, source, seq, expires_at)
        SELECT key, guard, digest, source, seq, now() + ttl * interval '1 millisecond' FROM input ORDER BY key";

const KEYS_AND_MORE: &str = "
    ), fresh AS (
        INSERT INTO dedup (key, guard, digest, source, seq, expires_at, message, replay)
        SELECT key, guard, digest, source, seq, now() + ttl * interval '1 millisecond', message, replay FROM input ORDER BY key";

const EVENTS: &str = "
    ), stored AS (
        INSERT INTO event (seq, key, source, event_id, event_type, content_type, headers, received_at, body)
        SELECT seq, key, source, event_id, event_type, content_type, headers, received_at, body FROM ";

const EVENTS_AND_MORE: &str = "
    ), stored AS (
        INSERT INTO event (seq, key, source, event_id, event_type, content_type, headers, received_at, body, conflict_of, same_bytes_as)
        SELECT seq, coalesce(message, key), source, event_id, event_type, content_type, headers, received_at, body, conflict_of,
               same_bytes_as
        FROM ";

const QUEUED: &str = "
    ), queued AS (
        INSERT INTO outbox (seq, key, bytes, owner) SELECT seq, key, length(body), ";

const QUEUED_AND_MORE: &str = "
    ), queued AS (
        INSERT INTO outbox (seq, key, bytes, owner) SELECT seq, coalesce(message, key), length(body), ";

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
    /// None where no event fills these columns.
    more: Option<More<'a>>,
}

/// [`MORE`].
#[derive(Debug)]
struct More<'a> {
    messages: Vec<Option<&'a [u8]>>,
    replays: Vec<Option<&'a [u8]>>,
    conflicts_of: Vec<Option<&'a [u8]>>,
    same_bytes_as: Vec<Option<&'a [u8]>>,
}

impl<'a> More<'a> {
    fn new(batch: &[&'a NewEvent]) -> Option<Self> {
        let fills = |new: &&NewEvent| {
            new.replay.is_some() || new.marks != Marks::default() || new.own_message().is_some()
        };
        batch.iter().any(fills).then(|| Self {
            messages: batch
                .iter()
                .map(|new| new.own_message().map(|message| &message.as_bytes()[..]))
                .collect(),
            replays: batch
                .iter()
                .map(|new| new.replay.as_ref().map(|replay| &replay.as_bytes()[..]))
                .collect(),
            conflicts_of: batch
                .iter()
                .map(|new| {
                    new.marks
                        .conflict_of
                        .as_ref()
                        .map(|first| &first.as_bytes()[..])
                })
                .collect(),
            same_bytes_as: batch
                .iter()
                .map(|new| {
                    new.marks
                        .same_bytes_as
                        .as_ref()
                        .map(|first| &first.as_bytes()[..])
                })
                .collect(),
        })
    }
}

impl<'a> Rows<'a> {
    pub(super) fn new(owner: &'a InstanceId, batch: &[&'a NewEvent], confirmed: &'a [i64]) -> Self {
        Self {
            keys: batch.iter().map(|new| &new.key.as_bytes()[..]).collect(),
            guards: batch
                .iter()
                .map(|new| new.bytes_key.as_ref().map(|key| &key.as_bytes()[..]))
                .collect(),
            digests: batch.iter().map(|new| &new.digest.as_bytes()[..]).collect(),
            sources: batch.iter().map(|new| new.source.as_str()).collect(),
            event_ids: batch.iter().map(|new| new.event_id.as_str()).collect(),
            event_types: batch.iter().map(|new| new.event_type.as_deref()).collect(),
            content_types: batch
                .iter()
                .map(|new| new.content_type.as_deref())
                .collect(),
            headers: batch
                .iter()
                .map(|new| headers_to_text(&new.headers))
                .collect(),
            received_at: batch.iter().map(|new| new.received_at.0).collect(),
            ttls: batch.iter().map(|new| millis(new.window)).collect(),
            bodies: batch.iter().map(|new| &new.body[..]).collect(),
            owner: owner.as_bytes(),
            confirmed,
            more: More::new(batch),
        }
    }
}

/// The statement that stores them; `WARY` of known ones, or failing because of them; with `FULL` it has the columns of [`More`]. A type of
/// its own for each form, so that diesel prepares it once for each connection.
#[derive(Debug)]
struct Insert<'a, const WARY: bool, const FULL: bool>(&'a Rows<'a>, &'a str);

impl<const WARY: bool, const FULL: bool> QueryFragment<Pg> for Insert<'_, WARY, FULL> {
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
        if let Some(more) = rows.more.as_ref().filter(|_| FULL) {
            more.bind(&mut out)?;
        }
        out.push_sql(ARRAYS);
        out.push_sql(if FULL { MORE } else { "" });
        out.push_sql(", place)");
        let keys = if FULL { KEYS_AND_MORE } else { KEYS };
        if Mutant::UnsortedBatches.is_on() {
            out.push_sql(&keys.replace("ORDER BY key", "ORDER BY random()"));
        } else {
            out.push_sql(keys);
        }
        if WARY {
            out.push_sql(" ON CONFLICT DO NOTHING RETURNING seq");
        }
        let new = if WARY {
            "input JOIN fresh USING (seq)"
        } else {
            "input"
        };
        out.push_sql(if FULL { EVENTS_AND_MORE } else { EVENTS });
        out.push_sql(new);
        out.push_sql(if FULL { QUEUED_AND_MORE } else { QUEUED });
        out.push_bind_param::<Binary, _>(rows.owner)?;
        out.push_sql(" FROM ");
        out.push_sql(new);
        out.push_sql(RETURNED);
        out.push_sql(new);
        Ok(())
    }
}

impl More<'_> {
    fn bind<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        for column in [
            &self.messages,
            &self.replays,
            &self.conflicts_of,
            &self.same_bytes_as,
        ] {
            out.push_sql(", ");
            out.push_bind_param::<Array<Nullable<Binary>>, _>(column)?;
        }
        Ok(())
    }
}

impl<const WARY: bool, const FULL: bool> QueryId for Insert<'_, WARY, FULL> {
    type QueryId = Insert<'static, WARY, FULL>;
    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<const WARY: bool, const FULL: bool> Query for Insert<'_, WARY, FULL> {
    type SqlType = (BigInt, BigInt, Text);
}

impl<const WARY: bool, const FULL: bool> RunQueryDsl<PgConnection> for Insert<'_, WARY, FULL> {}

impl Rows<'_> {
    /// Place and number of each event that was new.
    pub(super) fn store(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        wary: bool,
    ) -> QueryResult<Vec<(i64, i64)>> {
        let stored = session.run(connection, |connection| {
            self.load(connection, session, wary)
        })?;
        if let Some((_, _, in_force)) = stored
            .iter()
            .find(|(_, _, in_force)| !session.is_durable(in_force))
        {
            return Err(Error::DeserializationError(
                format!("the commit was not durable: synchronous_commit was {in_force}").into(),
            ));
        }
        Ok(stored
            .into_iter()
            .map(|(place, seq, _)| (place, seq))
            .collect())
    }

    /// Stores them and rolls that back. Fails where storing them does.
    pub(super) fn try_out(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        wary: bool,
    ) -> QueryResult<()> {
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

    fn load(
        &self,
        connection: &mut PgConnection,
        session: &Session,
        wary: bool,
    ) -> QueryResult<Vec<(i64, i64, String)>> {
        match (wary, self.more.is_some()) {
            (false, false) => Insert::<false, false>(self, session.guard()).load(connection),
            (false, true) => Insert::<false, true>(self, session.guard()).load(connection),
            (true, false) => Insert::<true, false>(self, session.guard()).load(connection),
            (true, true) => Insert::<true, true>(self, session.guard()).load(connection),
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
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some_and(|last| last.elapsed() < Self::RECENT)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// How often an event is tried that is neither known nor stored: its key was past its time, or pruned, and another instance was faster.
const ROUNDS: u32 = 4;

/// Stores `batch` and tells `confirmed`, all or nothing.
pub(super) fn together(
    connection: &mut PgConnection,
    session: &Session,
    owner: InstanceId,
    batch: &[Arc<NewEvent>],
    confirmed: &[i64],
    last_known: &LastKnown,
) -> Result<Vec<Inserted>, Failed> {
    let all: Vec<&NewEvent> = batch.iter().map(|new| &**new).collect();
    let rows = Rows::new(&owner, &all, confirmed);
    let mut plain = (!last_known.is_recent()).then(|| rows.store(connection, session, false));
    if let Some(Err(Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _))) = plain {
        last_known.note();
        plain = None;
    }
    let stored = plain.unwrap_or_else(|| rows.store(connection, session, true));
    let fresh = match stored {
        Ok(fresh) => fresh,
        Err(error) if was_rolled_back(connection, &error) => return Err(Failed::Clean(error)),
        Err(error) => return Err(Failed::Ambiguous(error)),
    };
    let mut inserted: Vec<Option<Inserted>> = vec![None; batch.len()];
    accept(&mut inserted, &(0..batch.len()).collect::<Vec<_>>(), &fresh);
    // From here on an error leaves accepted events behind, which the sweep of this instance's own rows will find.
    for round in 0..ROUNDS {
        let left: Vec<usize> = (0..batch.len())
            .filter(|at| inserted[*at].is_none())
            .collect();
        if left.is_empty() {
            break;
        }
        last_known.note();
        let known: Vec<&NewEvent> = left.iter().map(|at| all[*at]).collect();
        if round > 0 {
            let fresh = Rows::new(&owner, &known, &[])
                .store(connection, session, true)
                .map_err(Failed::Ambiguous)?;
            accept(&mut inserted, &left, &fresh);
        }
        let left: Vec<usize> = left
            .into_iter()
            .filter(|at| inserted[*at].is_none())
            .collect();
        let known: Vec<&NewEvent> = left.iter().map(|at| all[*at]).collect();
        let known = session
            .run(connection, |connection| look_up(connection, &known))
            .map_err(Failed::Ambiguous)?;
        for (at, known) in left.iter().zip(known) {
            inserted[*at] = known;
        }
    }
    inserted
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Failed::Ambiguous(Error::NotFound))
}

/// Notes the events that were stored; `places` are those of the rows in the batch.
fn accept(inserted: &mut [Option<Inserted>], places: &[usize], fresh: &[(i64, i64)]) {
    for (place, seq) in fresh {
        let at = usize::try_from(place - 1)
            .ok()
            .and_then(|row| places.get(row));
        if let Some(entry) = at.and_then(|at| inserted.get_mut(*at)) {
            *entry = Some(Inserted::Accepted(Seq(*seq)));
        }
    }
}

/// What is known of events that were not new; None for one that is to be tried again. Keeps the bodies of those that conflict.
fn look_up(
    connection: &mut PgConnection,
    known: &[&NewEvent],
) -> QueryResult<Vec<Option<Inserted>>> {
    let mut inserted = Vec::with_capacity(known.len());
    let (mut conflicts, mut over) = (Vec::new(), Vec::new());
    for (new, met) in known.iter().zip(met(connection, known)?) {
        inserted.push(match decide(new, &met)? {
            Decision::Known(known) => {
                if matches!(known, Inserted::Conflict(_)) {
                    conflicts.push(*new);
                }
                Some(known)
            }
            Decision::GivesWay => {
                over.push(&new.key.as_bytes()[..]);
                None
            }
            Decision::Gone => None,
        });
    }
    keep_conflicts(connection, &conflicts)?;
    if !over.is_empty() {
        // What another instance has made anew meanwhile is not past its time.
        sql_query(GIVE_WAY)
            .bind::<Array<Binary>, _>(&over)
            .execute(connection)?;
    }
    Ok(inserted)
}

/// Rows past their time whose message is named by nothing else stay, under the key of that, for as long as they would have.
const GIVE_WAY: &str = "
    UPDATE dedup SET key = message
    WHERE key = ANY ($1) AND expires_at <= now() AND substr(message, 1, 16) = substr(message, 17) AND message <> key";

/// The rows that events met, by each of their keys.
fn met(connection: &mut PgConnection, known: &[&NewEvent]) -> QueryResult<Vec<Met>> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        place: i64,
        #[diesel(sql_type = Integer)]
        by: i32,
        #[diesel(sql_type = BigInt)]
        seq: i64,
        #[diesel(sql_type = Binary)]
        key: Vec<u8>,
        #[diesel(sql_type = Nullable<Binary>)]
        message: Option<Vec<u8>>,
        #[diesel(sql_type = Binary)]
        digest: Vec<u8>,
        #[diesel(sql_type = BigInt)]
        time_left: i64,
    }
    let keys: Vec<&[u8]> = known.iter().map(|new| &new.key.as_bytes()[..]).collect();
    let guards: Vec<Option<&[u8]>> = known
        .iter()
        .map(|new| new.bytes_key.as_ref().map(|key| &key.as_bytes()[..]))
        .collect();
    let replays: Vec<Option<&[u8]>> = known
        .iter()
        .map(|new| new.replay.as_ref().map(|key| &key.as_bytes()[..]))
        .collect();
    let rows: Vec<Row> = sql_query(MET)
        .bind::<Array<Binary>, _>(&keys)
        .bind::<Array<Nullable<Binary>>, _>(&guards)
        .bind::<Array<Nullable<Binary>>, _>(&replays)
        .load(connection)?;
    let mut met: Vec<Met> = known.iter().map(|_| Met::default()).collect();
    for Row {
        place,
        by,
        seq,
        key,
        message,
        digest,
        time_left: left,
    } in rows
    {
        let Some(met) = usize::try_from(place - 1)
            .ok()
            .and_then(|at| met.get_mut(at))
        else {
            continue;
        };
        let row = Some(KnownRow {
            seq,
            key,
            message,
            digest,
            left,
        });
        match by {
            0 => met.by_key = row,
            1 => met.by_bytes = row,
            _ => met.by_replay = row,
        }
    }
    Ok(met)
}

/// Of each event the rows with its key (0), its bytes (1) and what was signed (2). Each is one look into an index, whatever the planner
/// believes of the tables.
const MET: &str = "
    SELECT i.place, found.by, found.seq, found.key, found.message, found.digest,
           ceil(extract(epoch FROM found.expires_at - now()) * 1000)::bigint AS time_left
    FROM unnest($1, $2, $3) WITH ORDINALITY AS i (key, guard, replay, place)
    CROSS JOIN LATERAL (
        (SELECT 0 AS by, d.* FROM dedup d WHERE d.key = i.key LIMIT 1)
        UNION ALL (SELECT 1, d.* FROM dedup d WHERE d.guard = i.guard LIMIT 1)
        UNION ALL (SELECT 2, d.* FROM dedup d WHERE d.replay = i.replay LIMIT 1)
    ) AS found";

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
