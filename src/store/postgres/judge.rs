//! Storing a batch if something fails, and finding the cause: a row, or the server.
//!
//! diesel does not show SQLSTATE, and texts are in any language. So an event that is known to be
//! good is stored in the same way, on the same connection, and rolled back. If that fails too, the
//! row is not the cause. A row is refused only if it fails, alone and at once, before and after the
//! good event went through. Any other failure is an error of the store, and the events are kept for
//! another try.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error};

use super::connection::unavailable;
use super::insert::{Failed, LastKnown, together};
use super::insert_statement::{ConfirmedRows, Rows};
use super::session::Session;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::faults::mutants::Mutant;
use crate::store::probe::good_event;
use crate::store::{Inserted, NewEvent, StoreError};

/// Number of attempts for a whole batch before its rows are taken apart. Guards are not in key
/// order, so that two batches can deadlock.
const TRIES: u32 = 3;
/// Time after which an error came from a wait for a lock or a disk, unless good events take as
/// long.
const AT_ONCE: Duration = Duration::from_millis(500);

/// Dependencies of an insert.
pub(super) struct Around<'a> {
    pub(super) session: &'a Session,
    pub(super) owner: InstanceId,
    pub(super) sinks: &'a Sinks,
    pub(super) last_known: &'a LastKnown,
    /// Replaces a connection whose statements fail. Returns `false` if there is no other.
    pub(super) renew: &'a dyn Fn(&mut PgConnection) -> bool,
}

/// Stores `batch`, in parts if some of its rows cannot be stored. The `confirmed` rows go with the
/// whole batch, or not at all, so that they cannot spoil the parts. Returns `true` with the results
/// if they went. Gives up after `limit`.
pub(super) fn insert(
    connection: &mut PgConnection,
    around: &Around<'_>,
    batch: &[Arc<NewEvent>],
    confirmed: ConfirmedRows<'_>,
    limit: Duration,
) -> Result<(Vec<Inserted>, bool), StoreError> {
    let mut parts = Parts {
        around,
        until: Instant::now() + limit,
        stored: 0,
    };
    let mut error = match parts.try_together(connection, batch, confirmed, TRIES)? {
        Ok(inserted) => return Ok((inserted, true)),
        Err(error) => error,
    };
    if Mutant::RowsToBlame.is_on() {
        return if batch.len() > 1 {
            Ok((parts.apart(connection, batch, error)?, false))
        } else {
            Err(parts.given_up(&error))
        };
    }
    if parts.probe(connection, batch).is_err() {
        // Statements, settings or rights of this connection may be lost: a new one tells.
        if !(around.renew)(connection) {
            return Err(parts.given_up(&error));
        }
        error = match parts.try_together(connection, batch, confirmed, 1)? {
            Ok(inserted) => return Ok((inserted, true)),
            Err(error) => error,
        };
        parts
            .probe(connection, batch)
            .map_err(|_| parts.given_up(&error))?;
    }
    Ok((parts.apart(connection, batch, error)?, false))
}

struct Parts<'a> {
    around: &'a Around<'a>,
    until: Instant,
    stored: usize,
}

impl Parts<'_> {
    /// Stores `rows` together. The outer error ends everything; the inner one means that none of
    /// the rows was stored.
    fn try_together(
        &mut self,
        connection: &mut PgConnection,
        rows: &[Arc<NewEvent>],
        confirmed: ConfirmedRows<'_>,
        tries: u32,
    ) -> Result<Result<Vec<Inserted>, Error>, StoreError> {
        let Around {
            session,
            owner,
            sinks,
            last_known,
            ..
        } = *self.around;
        let mut tried = 0;
        loop {
            tried += 1;
            match together(
                connection,
                session,
                (owner, sinks),
                rows,
                confirmed,
                last_known,
            ) {
                Ok(inserted) => {
                    self.stored += rows.len();
                    return Ok(Ok(inserted));
                }
                Err(Failed::Ambiguous(error)) => {
                    return Err(StoreError::Ambiguous(format!("PostgreSQL: {error}")));
                }
                Err(Failed::Clean(error)) if Instant::now() >= self.until => {
                    return Err(self.given_up(&error));
                }
                Err(Failed::Clean(error)) if tried >= tries || says_row(&error) => {
                    return Ok(Err(error));
                }
                Err(Failed::Clean(_)) => thread::sleep(Duration::from_millis(
                    2 + RandomState::new().hash_one(tried) % 30,
                )),
            }
        }
    }

    fn apart(
        &mut self,
        connection: &mut PgConnection,
        rows: &[Arc<NewEvent>],
        error: Error,
    ) -> Result<Vec<Inserted>, StoreError> {
        if let [_] = rows {
            return self.judge(connection, rows, error);
        }
        let mut inserted = Vec::with_capacity(rows.len());
        let (left, right) = rows.split_at(rows.len() / 2);
        for half in [left, right] {
            inserted.extend(
                match self.try_together(connection, half, ConfirmedRows::NONE, 2)? {
                    Ok(inserted) => inserted,
                    Err(error) => self.apart(connection, half, error)?,
                },
            );
        }
        Ok(inserted)
    }

    /// Decides about a row that has failed with `error`: stored after all, refused, or not decided
    /// now.
    fn judge(
        &mut self,
        connection: &mut PgConnection,
        row: &[Arc<NewEvent>],
        error: Error,
    ) -> Result<Vec<Inserted>, StoreError> {
        if Mutant::RowsToBlame.is_on() {
            return Ok(vec![Inserted::Refused(error.to_string())]);
        }
        let good = self
            .probe(connection, row)
            .map_err(|_| self.given_up(&error))?;
        let began = Instant::now();
        let error = match self.try_together(connection, row, ConfirmedRows::NONE, 1)? {
            Ok(inserted) => return Ok(inserted),
            Err(error) => error,
        };
        if says_otherwise(&error) || began.elapsed() > AT_ONCE.max(good * 4) {
            return Err(self.given_up(&error));
        }
        self.probe(connection, row)
            .map_err(|_| self.given_up(&error))?;
        Ok(vec![Inserted::Refused(error.to_string())])
    }

    /// Stores a good event as large as the largest of `rows`, by each form of the statement, and
    /// rolls it back. Returns the time that it took.
    fn probe(
        &self,
        connection: &mut PgConnection,
        rows: &[Arc<NewEvent>],
    ) -> QueryResult<Duration> {
        let began = Instant::now();
        for (wary, full) in [(false, false), (false, true), (true, false), (true, true)] {
            let good = good_event(rows, full)?;
            Rows::new(
                &self.around.owner,
                self.around.sinks,
                &[&*good],
                ConfirmedRows::NONE,
            )
            .try_out(connection, self.around.session, wary)?;
        }
        Ok(began.elapsed())
    }

    fn given_up(&self, error: &Error) -> StoreError {
        match (self.stored, unavailable(error)) {
            (1.., StoreError::Unavailable(text)) => StoreError::Ambiguous(text),
            (_, error) => error,
        }
    }
}

/// Returns `true` for errors that name a row's values. The row need not be tried with others again.
fn says_row(error: &Error) -> bool {
    matches!(
        error,
        Error::DatabaseError(
            DatabaseErrorKind::NotNullViolation | DatabaseErrorKind::CheckViolation,
            _
        )
    )
}

/// Returns `true` for errors whose kind is about no row.
fn says_otherwise(error: &Error) -> bool {
    use DatabaseErrorKind::{
        ClosedConnection, ReadOnlyTransaction, SerializationFailure, UnableToSendCommand,
    };
    matches!(
        error,
        Error::DatabaseError(
            ClosedConnection | ReadOnlyTransaction | SerializationFailure | UnableToSendCommand,
            _
        )
    )
}
