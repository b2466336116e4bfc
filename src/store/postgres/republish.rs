//! The role [`Republish`] in PostgreSQL.
//!
//! A step is a transaction of a few statements. It and each deletion of events exclude each other by a lock of the transaction: an event
//! that gets a row is not deleted by a statement that began before the row was there.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::{EventColumns, PostgresStore, audit, catalog, outbox, sql_limit};
use crate::domain::delivery::SourceName;
use crate::domain::event_order::OrderKey;
use crate::domain::sink::{SinkName, Sinks};
use crate::store::catalog::{EventQuery, EventSummary, LOOK, PAGE};
use crate::store::catalog_rows::{OLDEST_EVENTS, SummaryRow};
use crate::store::republish::{
    self, Choice, Job, JobId, JobState, NewJob, NextEvents, Stepped, step_size,
};
use crate::store::republish_rows::{
    CANCEL, Copied, JobRow, LOOKED_UP, LookedUpRow, StepRow, republish_reads,
};
use crate::store::row::{EventRow, millis};
use crate::store::{AuditEntry, Republish, Seq, StoreError};

const BEGIN: &str = "
    INSERT INTO republish_job (id, caller, choice, pace, expected, state, after_seq, until_seq)
    SELECT $1, $2, $3, $4, $5, 'running', -1, coalesce((SELECT seq FROM event ORDER BY seq DESC LIMIT 1), -1)
    ON CONFLICT (id) DO NOTHING";

macro_rules! jobs {
    ($rest:literal) => {
        concat!(
            "SELECT id, caller, choice, pace, expected, state, (extract(epoch FROM created_at) * 1000)::bigint AS created,
                 (extract(epoch FROM changed_at) * 1000)::bigint AS changed, events, copies,
                 CASE WHEN state = 'done' THEN until_seq ELSE after_seq END AS reached FROM republish_job ",
            $rest
        )
    };
}

const JOBS: &str = jobs!("ORDER BY id DESC LIMIT $1");
const RUNNING: &str = jobs!("WHERE state = 'running' ORDER BY id LIMIT $1");
const JOB: &str = jobs!("WHERE id = $1");

/// Two instances do not step at once: the second waits, and finds the place that the first has left.
const PLACE: &str = "
    SELECT pace, after_seq, until_seq, ceil(extract(epoch FROM due_at - now()) * 1000)::bigint AS due_in
    FROM republish_job WHERE id = $1 AND state = 'running' FOR UPDATE";

/// Lock of a step. A deletion of events takes the same one shared.
const LOCK: &str = "SELECT pg_advisory_xact_lock(hashtextextended('hookweir events ' || $1, 0))";
const LOCK_SHARED: &str =
    "SELECT pg_advisory_xact_lock_shared(hashtextextended('hookweir events ' || $1, 0))";

/// Rows go to an instance that does not live, named by the job: the next one to look takes them over.
const COPY: &str = "
    INSERT INTO outbox (seq, sink, key, bytes, owner, order_key, republished)
    SELECT e.seq, wanted.sink, e.key, length(e.body), $4, wanted.order_key, $4
    FROM unnest($1, $2, $3) AS wanted (seq, sink, order_key)
    CROSS JOIN LATERAL (SELECT seq, key, body FROM event WHERE event.seq = wanted.seq LIMIT 1) AS e
    ON CONFLICT DO NOTHING";

/// The pause begins at the end of the step.
const MOVE_ON: &str = "
    UPDATE republish_job SET after_seq = $2, state = $3, events = events + $4, copies = copies + $5, changed_at = now(),
        due_at = clock_timestamp() + $6 * interval '1 millisecond'
    WHERE id = $1";

republish_reads!(PgConnection, load_event);

fn load_event(connection: &mut PgConnection, seq: i64) -> QueryResult<Option<EventRow>> {
    let row = sql_query(outbox::EVENTS)
        .bind::<Array<BigInt>, _>(vec![seq])
        .get_result::<EventColumns>(connection)
        .optional()?;
    row.map(EventColumns::into_row).transpose()
}

impl Republish for PostgresStore {
    fn begin_job(&self, job: &NewJob, entry: &AuditEntry) -> Result<(), StoreError> {
        self.transaction(|connection| {
            let begun = sql_query(BEGIN)
                .bind::<Binary, _>(&job.id.as_bytes()[..])
                .bind::<Text, _>(&job.caller)
                .bind::<Text, _>(&job.choice)
                .bind::<BigInt, _>(i64::from(job.pace))
                .bind::<Nullable<BigInt>, _>(job.expected.map(u64::cast_signed))
                .execute(connection)?;
            match begun {
                0 => Ok(()),
                _ => audit::record(connection, entry),
            }
        })
    }

    fn cancel_job(&self, id: JobId, entry: &AuditEntry) -> Result<bool, StoreError> {
        self.transaction(|connection| {
            let cancel = sql_query(CANCEL).bind::<Binary, _>(&id.as_bytes()[..]);
            if cancel.execute(connection)? == 0 {
                return Ok(false);
            }
            audit::record(connection, entry).map(|()| true)
        })
    }

    fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.read_jobs(JOBS, limit)
    }

    fn running_jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError> {
        self.read_jobs(RUNNING, limit)
    }

    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError> {
        let row = self.run(|connection| {
            let row = sql_query(JOB).bind::<Binary, _>(&id.as_bytes()[..]);
            row.get_result::<JobRow>(connection).optional()
        })?;
        Ok(row.and_then(JobRow::into_job))
    }

    fn next_of(&self, choice: &Choice, after: Seq, limit: usize) -> Result<NextEvents, StoreError> {
        let range = (after.0, i64::MAX - 1);
        self.run(|connection| read_next(connection, choice, range, limit.min(PAGE)))
    }

    fn step(&self, id: JobId, choice: &Choice, sinks: &Sinks) -> Result<Stepped, StoreError> {
        let schema = &self.session.schema;
        self.transaction(|connection| step(connection, schema, (id, choice), sinks))
    }
}

impl PostgresStore {
    /// Runs statements that delete events while no step is being made.
    pub(super) fn delete_events<T>(
        &self,
        work: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        self.transaction(|connection| {
            sql_query(LOCK_SHARED)
                .bind::<Text, _>(&self.session.schema)
                .execute(connection)?;
            work(connection)
        })
    }

    /// Runs statements in one transaction.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        self.run(|connection| connection.transaction(work))
    }

    fn read_jobs(&self, statement: &'static str, limit: usize) -> Result<Vec<Job>, StoreError> {
        let rows: Vec<JobRow> = self.run(|connection| {
            let rows = sql_query(statement).bind::<BigInt, _>(sql_limit(limit));
            rows.load(connection)
        })?;
        Ok(rows.into_iter().filter_map(JobRow::into_job).collect())
    }
}

/// Makes the next step of a job, in the current transaction.
fn step(
    connection: &mut PgConnection,
    schema: &str,
    (id, choice): (JobId, &Choice),
    sinks: &Sinks,
) -> QueryResult<Stepped> {
    let place: Option<StepRow> = sql_query(PLACE)
        .bind::<Binary, _>(&id.as_bytes()[..])
        .get_result(connection)
        .optional()?;
    let Some(place) = place else {
        return Ok(Stepped::Ended);
    };
    if let Some(wait) = place.wait() {
        return Ok(Stepped::DueIn(wait));
    }
    sql_query(LOCK)
        .bind::<Text, _>(schema)
        .execute(connection)?;
    let range = (place.after_seq, place.until_seq);
    let next = read_next(connection, choice, range, step_size(place.pace()))?;
    let copies = copies(connection, &next.events, choice.to.as_ref(), sinks)?;
    let written = sql_query(COPY)
        .bind::<Array<BigInt>, _>(copies.iter().map(|copy| copy.0).collect::<Vec<_>>())
        .bind::<Array<Text>, _>(
            copies
                .iter()
                .map(|copy| copy.1.as_str())
                .collect::<Vec<_>>(),
        )
        .bind::<Array<Nullable<BigInt>>, _>(copies.iter().map(|copy| copy.2).collect::<Vec<_>>())
        .bind::<Binary, _>(&id.as_bytes()[..])
        .execute(connection)?;
    let state = next.next.map_or(JobState::Done, |_| JobState::Running);
    let pause = place.pause(next.events.len());
    sql_query(MOVE_ON)
        .bind::<Binary, _>(&id.as_bytes()[..])
        .bind::<BigInt, _>(next.next.map_or(place.until_seq, |seq| seq.0))
        .bind::<Text, _>(state.word())
        .bind::<BigInt, _>(next.events.len() as i64)
        .bind::<BigInt, _>(written as i64)
        .bind::<BigInt, _>(millis(pause))
        .execute(connection)?;
    Ok(StepRow::stepped(state, pause))
}
