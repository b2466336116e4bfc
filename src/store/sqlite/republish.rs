//! The role [`Republish`] in SQLite. A step is one write transaction, so nothing is deleted meanwhile.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::{SqliteStore, audit, catalog, load_event, now};
use crate::domain::delivery::SourceName;
use crate::domain::event_order::OrderKey;
use crate::domain::sink::{SinkName, Sinks};
use crate::store::catalog::{EventQuery, EventSummary, LOOK, PAGE};
use crate::store::catalog_rows::{OLDEST_EVENTS, SummaryRow};
use crate::store::republish::{
    self, Choice, Job, JobId, JobState, NewJob, NextEvents, Stepped, step_size, time_of,
};
use crate::store::republish_rows::{
    CANCEL, JobRow, LOOKED_UP, LookedUpRow, StepRow, republish_reads,
};
use crate::store::{AuditEntry, Republish, Seq, StoreError};

const BEGIN: &str = "
    INSERT OR IGNORE INTO republish_job (id, caller, choice, pace, expected, state, created_at, changed_at, due_at, after_seq, until_seq)
    SELECT ?1, ?2, ?3, ?4, ?5, 'running', ?6, ?6, ?6, -1, coalesce(max(seq), -1) FROM event";

macro_rules! jobs {
    ($rest:literal) => {
        concat!(
            "SELECT id, caller, choice, pace, expected, state, created_at AS created, changed_at AS changed, events, copies FROM republish_job ",
            $rest
        )
    };
}

const JOBS: &str = jobs!("ORDER BY id DESC LIMIT ?1");
const RUNNING: &str = jobs!("WHERE state = 'running' ORDER BY id LIMIT ?1");
const JOB: &str = jobs!("WHERE id = ?1");

const PLACE: &str = "
    SELECT pace, after_seq, until_seq, due_at - ?2 AS due_in FROM republish_job WHERE id = ?1 AND state = 'running'";

const COPY: &str = "
    INSERT OR IGNORE INTO outbox (seq, sink, key, owner, bytes, since, due_at, order_key, republished)
    SELECT seq, ?2, key, ?3, length(body), ?4, ?4, ?5, ?3 FROM event WHERE seq = ?1";

const MOVE_ON: &str = "
    UPDATE republish_job SET after_seq = ?2, state = ?3, events = events + ?4, copies = copies + ?5, changed_at = ?6, due_at = ?7
    WHERE id = ?1";

republish_reads!(SqliteConnection, load_event);

impl Republish for SqliteStore {
    fn begin_job(&self, job: &NewJob, entry: &AuditEntry) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            let begun = sql_query(BEGIN)
                .bind::<Binary, _>(&job.id.as_bytes()[..])
                .bind::<Text, _>(&job.caller)
                .bind::<Text, _>(&job.choice)
                .bind::<BigInt, _>(i64::from(job.pace))
                .bind::<Nullable<BigInt>, _>(job.expected.map(u64::cast_signed))
                .bind::<BigInt, _>(now)
                .execute(connection)?;
            match begun {
                0 => Ok(()),
                _ => audit::record(connection, entry),
            }
        })
    }

    fn cancel_job(&self, id: JobId, entry: &AuditEntry) -> Result<bool, StoreError> {
        self.write(|connection| {
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
        let row = self.read(|connection| {
            let row = sql_query(JOB).bind::<Binary, _>(&id.as_bytes()[..]);
            row.get_result::<JobRow>(connection).optional()
        })?;
        Ok(row.and_then(JobRow::into_job))
    }

    fn next_of(&self, choice: &Choice, after: Seq, limit: usize) -> Result<NextEvents, StoreError> {
        let range = (after.0, i64::MAX - 1);
        self.read(|connection| read_next(connection, choice, range, limit.min(PAGE)))
    }

    fn step(&self, id: JobId, choice: &Choice, sinks: &Sinks) -> Result<Stepped, StoreError> {
        let now = now();
        self.write(|connection| step(connection, (id, choice), sinks, now))
    }
}

impl SqliteStore {
    fn read_jobs(&self, statement: &'static str, limit: usize) -> Result<Vec<Job>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<JobRow> = self.read(|connection| {
            let rows = sql_query(statement).bind::<BigInt, _>(limit);
            rows.load(connection)
        })?;
        Ok(rows.into_iter().filter_map(JobRow::into_job).collect())
    }
}

/// Makes the next step of a job, in the current transaction.
fn step(
    connection: &mut SqliteConnection,
    (id, choice): (JobId, &Choice),
    sinks: &Sinks,
    now: i64,
) -> QueryResult<Stepped> {
    let place: Option<StepRow> = sql_query(PLACE)
        .bind::<Binary, _>(&id.as_bytes()[..])
        .bind::<BigInt, _>(now)
        .get_result(connection)
        .optional()?;
    let Some(place) = place else {
        return Ok(Stepped::Ended);
    };
    if let Some(wait) = place.wait() {
        return Ok(Stepped::DueIn(wait));
    }
    let range = (place.after_seq, place.until_seq);
    let next = read_next(connection, choice, range, step_size(place.pace()))?;
    let mut written = 0;
    for (seq, sink, key) in copies(connection, &next.events, choice.to.as_ref(), sinks)? {
        written += sql_query(COPY)
            .bind::<BigInt, _>(seq)
            .bind::<Text, _>(sink.as_str())
            .bind::<Binary, _>(&id.as_bytes()[..])
            .bind::<BigInt, _>(now)
            .bind::<Nullable<BigInt>, _>(key)
            .execute(connection)?;
    }
    let state = next.next.map_or(JobState::Done, |_| JobState::Running);
    let due_in = place.due_after(time_of(next.events.len(), place.pace()));
    sql_query(MOVE_ON)
        .bind::<Binary, _>(&id.as_bytes()[..])
        .bind::<BigInt, _>(next.next.map_or(place.until_seq, |seq| seq.0))
        .bind::<Text, _>(state.word())
        .bind::<BigInt, _>(next.events.len() as i64)
        .bind::<BigInt, _>(written as i64)
        .bind::<BigInt, _>(now)
        .bind::<BigInt, _>(now.saturating_add(due_in))
        .execute(connection)?;
    Ok(place.stepped(state, due_in))
}
