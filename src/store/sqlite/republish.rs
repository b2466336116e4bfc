//! The role [`Republish`] in SQLite.
//!
//! Events for a step are read beside the writer. The step is a write transaction with the rows alone: it checks that the job is where it
//! was, and leaves out events that were deleted or parked meanwhile.

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
    self, Choice, Job, JobId, JobState, NewJob, NextEvents, SHORTEST_PAUSE, Stepped, step_size,
};
use crate::store::republish_rows::{
    CANCEL, Copied, JobRow, LOOKED_UP, LookedUpRow, StepRow, republish_reads,
};
use crate::store::row::millis;
use crate::store::{AuditEntry, Republish, Seq, StoreError};

const BEGIN: &str = "
    INSERT OR IGNORE INTO republish_job (id, caller, choice, pace, expected, state, created_at, changed_at, due_at, after_seq, until_seq)
    SELECT ?1, ?2, ?3, ?4, ?5, 'running', ?6, ?6, ?6, -1, coalesce(max(seq), -1) FROM event";

macro_rules! jobs {
    ($rest:literal) => {
        concat!(
            "SELECT id, caller, choice, pace, expected, state, created_at AS created, changed_at AS changed, events, copies,
                 CASE WHEN state = 'done' THEN until_seq ELSE after_seq END AS reached FROM republish_job ",
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
    SELECT seq, ?2, key, ?3, length(body), ?4, ?4, ?5, ?3 FROM event
    WHERE seq = ?1 AND NOT EXISTS (SELECT 1 FROM parked WHERE parked.seq = ?1 AND parked.sink = ?2)";

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
        let found = self.read(|connection| {
            connection.transaction(|connection| look(connection, (id, choice), sinks))
        })?;
        match found {
            Err(stepped) => Ok(stepped),
            Ok(found) => self.write(|connection| step(connection, id, &found)),
        }
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

/// Events for the next step of a job, read while others write.
struct Found {
    /// Place of the job when they were read.
    after_seq: i64,
    /// Number of the events.
    events: usize,
    /// Number up to which all events were looked at. None at the end.
    next: Option<Seq>,
    copies: Vec<Copied>,
}

/// Returns the place of a job that runs.
fn place(connection: &mut SqliteConnection, id: JobId) -> QueryResult<Option<StepRow>> {
    sql_query(PLACE)
        .bind::<Binary, _>(&id.as_bytes()[..])
        .bind::<BigInt, _>(now())
        .get_result(connection)
        .optional()
}

/// Returns the events for the next step of a job, if it is due.
fn look(
    connection: &mut SqliteConnection,
    (id, choice): (JobId, &Choice),
    sinks: &Sinks,
) -> QueryResult<Result<Found, Stepped>> {
    let Some(place) = place(connection, id)? else {
        return Ok(Err(Stepped::Ended));
    };
    if let Some(wait) = place.wait() {
        return Ok(Err(Stepped::DueIn(wait)));
    }
    let range = (place.after_seq, place.until_seq);
    let next = read_next(connection, choice, range, step_size(place.pace()))?;
    Ok(Ok(Found {
        after_seq: place.after_seq,
        events: next.events.len(),
        next: next.next,
        copies: copies(connection, &next.events, choice.to.as_ref(), sinks)?,
    }))
}

/// Makes the next step of a job, in the current transaction. Does nothing if another instance has made
/// it since the look.
fn step(connection: &mut SqliteConnection, id: JobId, found: &Found) -> QueryResult<Stepped> {
    let Some(place) = place(connection, id)? else {
        return Ok(Stepped::Ended);
    };
    if place.after_seq != found.after_seq {
        return Ok(Stepped::DueIn(place.wait().unwrap_or(SHORTEST_PAUSE)));
    }
    let now = now();
    let mut written = 0;
    for (seq, sink, key) in &found.copies {
        written += sql_query(COPY)
            .bind::<BigInt, _>(seq)
            .bind::<Text, _>(sink.as_str())
            .bind::<Binary, _>(&id.as_bytes()[..])
            .bind::<BigInt, _>(now)
            .bind::<Nullable<BigInt>, _>(key)
            .execute(connection)?;
    }
    let state = found.next.map_or(JobState::Done, |_| JobState::Running);
    let pause = place.pause(found.events);
    sql_query(MOVE_ON)
        .bind::<Binary, _>(&id.as_bytes()[..])
        .bind::<BigInt, _>(found.next.map_or(place.until_seq, |seq| seq.0))
        .bind::<Text, _>(state.word())
        .bind::<BigInt, _>(found.events as i64)
        .bind::<BigInt, _>(written as i64)
        .bind::<BigInt, _>(now)
        .bind::<BigInt, _>(now.saturating_add(millis(pause)))
        .execute(connection)?;
    Ok(StepRow::stepped(state, pause))
}

#[cfg(test)]
mod tests {
    use diesel::connection::SimpleConnection;

    use super::*;
    use crate::store::migrations;

    #[derive(QueryableByName)]
    struct Sum {
        #[diesel(sql_type = BigInt)]
        copies: i64,
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }

    /// Returns a database with two published events, and a job for both.
    fn database() -> (SqliteConnection, JobId) {
        let mut connection = SqliteConnection::establish(":memory:").expect("opened");
        migrations::run(&mut connection, migrations::SQLITE).expect("migrated");
        connection
            .batch_execute(
                "INSERT INTO event (seq, key, source, event_id, headers, received_at, body)
                 VALUES (1, zeroblob(32), 'shop', 'a', '[]', 1, 'x'), (2, zeroblob(32), 'shop', 'b', '[]', 1, 'x')",
            )
            .expect("stored");
        let id = JobId::new();
        sql_query(BEGIN)
            .bind::<Binary, _>(&id.as_bytes()[..])
            .bind::<Text, _>("ann")
            .bind::<Text, _>("{}")
            .bind::<BigInt, _>(100)
            .bind::<Nullable<BigInt>, _>(None::<i64>)
            .bind::<BigInt, _>(now())
            .execute(&mut connection)
            .expect("begun");
        (connection, id)
    }

    fn found(connection: &mut SqliteConnection, id: JobId) -> Found {
        let found = look(connection, (id, &Choice::default()), &Sinks::default());
        let Ok(Ok(found)) = found else {
            panic!("the job is not due");
        };
        assert_eq!((found.events, found.copies.len()), (2, 2));
        found
    }

    /// Returns the copies that the job has counted, and the rows of the outbox.
    fn made(connection: &mut SqliteConnection) -> (i64, i64) {
        let sum = "SELECT copies, (SELECT count(*) FROM outbox) AS rows FROM republish_job";
        let sum: Sum = sql_query(sum).get_result(connection).expect("read");
        (sum.copies, sum.rows)
    }

    #[test]
    fn an_event_that_is_parked_or_deleted_between_look_and_step_gets_no_row() {
        let (mut connection, id) = database();
        let found = found(&mut connection, id);
        connection
            .batch_execute(
                "INSERT INTO parked (seq, sink, reason, at) VALUES (1, 'default', 'no', 1);
                 DELETE FROM event WHERE seq = 2",
            )
            .expect("changed");
        assert_eq!(step(&mut connection, id, &found), Ok(Stepped::Ended));
        assert_eq!(made(&mut connection), (0, 0));
    }

    #[test]
    fn of_two_instances_that_look_at_once_one_makes_the_step() {
        let (mut connection, id) = database();
        let (one, two) = (found(&mut connection, id), found(&mut connection, id));
        let half = Found {
            next: Some(Seq(1)),
            copies: one.copies[..1].to_vec(),
            ..one
        };
        assert!(matches!(
            step(&mut connection, id, &half),
            Ok(Stepped::DueIn(_))
        ));
        assert!(matches!(
            step(&mut connection, id, &two),
            Ok(Stepped::DueIn(_))
        ));
        assert_eq!(made(&mut connection), (1, 1));
    }
}
