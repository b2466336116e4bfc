//! Storing a batch: one statement, one transaction, one round trip. What the statement does not return was known before, and is looked
//! up by a second one.
//!
//! The plain form of the statement fails if a key is known; the batch is then stored by the wary form. If known events came recently, the
//! wary form is tried first.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};

use super::connection::was_rolled_back;
use super::insert_statement::{ConfirmedRows, Rows};
use super::known::look_up;
use super::session::Session;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::store::{Inserted, NewEvent, Seq};

/// Failure to store a batch.
pub(super) enum Failed {
    /// Nothing of it was committed.
    Clean(Error),
    /// Some of it may be.
    Ambiguous(Error),
}

/// Time at which a known event last came to be stored.
#[derive(Debug, Default)]
pub(super) struct LastKnown(Mutex<Option<Instant>>);

impl LastKnown {
    /// Time after which the plain form is tried again. It is longer than the first pauses between a
    /// provider's redeliveries. A known event then costs a failed statement, and an error in
    /// PostgreSQL's log.
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

/// Number of attempts for an event that is neither known nor stored. Its key was past its time, or
/// deleted, and another instance was faster.
const ROUNDS: u32 = 4;

/// Stores `batch` and removes the `confirmed` rows, all or nothing.
pub(super) fn together(
    connection: &mut PgConnection,
    session: &Session,
    (owner, sinks): (InstanceId, &Sinks),
    batch: &[Arc<NewEvent>],
    confirmed: ConfirmedRows<'_>,
    last_known: &LastKnown,
) -> Result<Vec<Inserted>, Failed> {
    let all: Vec<&NewEvent> = batch.iter().map(|new| &**new).collect();
    let rows = Rows::new(&owner, sinks, &all, confirmed);
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
        if round > 0 {
            let known: Vec<&NewEvent> = left.iter().map(|at| all[*at]).collect();
            let fresh = Rows::new(&owner, sinks, &known, ConfirmedRows::NONE)
                .store(connection, session, true)
                .map_err(Failed::Ambiguous)?;
            accept(&mut inserted, &left, &fresh);
        }
        recognize(connection, session, &all, &mut inserted).map_err(Failed::Ambiguous)?;
    }
    inserted
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| Failed::Ambiguous(Error::NotFound))
}

/// Looks up the events that were not stored, and notes those that are known.
fn recognize(
    connection: &mut PgConnection,
    session: &Session,
    all: &[&NewEvent],
    inserted: &mut [Option<Inserted>],
) -> QueryResult<()> {
    let left: Vec<usize> = (0..all.len())
        .filter(|at| inserted[*at].is_none())
        .collect();
    let events: Vec<&NewEvent> = left.iter().map(|at| all[*at]).collect();
    let known = session.run(connection, |connection| look_up(connection, &events))?;
    for (at, known) in left.iter().zip(known) {
        inserted[*at] = known;
    }
    Ok(())
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
