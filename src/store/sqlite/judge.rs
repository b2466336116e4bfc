//! Storing the events of a batch one by one after they failed together, and finding the cause: a
//! row, or the database.

use std::sync::Arc;

use diesel::prelude::*;
use diesel::result::Error;

use crate::store::probe::good_event;
use crate::store::{Inserted, NewEvent};

/// Stores each of `batch` by `store`, in a savepoint of its own, inside a transaction. A row is
/// refused only if it fails before and after a good event went through. Any other error is the
/// database's, and ends everything.
pub(super) fn each(
    connection: &mut SqliteConnection,
    batch: &[Arc<NewEvent>],
    store: impl Fn(&mut SqliteConnection, &[Arc<NewEvent>]) -> QueryResult<Vec<Inserted>>,
) -> QueryResult<Vec<Inserted>> {
    let mut inserted = Vec::with_capacity(batch.len());
    for row in batch.chunks(1) {
        let mut tries = 0;
        inserted.extend(loop {
            tries += 1;
            let error = match connection.transaction(|connection| store(connection, row)) {
                Ok(done) => break done,
                Err(error) => error,
            };
            let good = [good_event(row, true)?];
            let undone = connection.transaction(|connection| {
                store(connection, &good)?;
                Err::<(), _>(Error::RollbackTransaction)
            });
            if !matches!(undone, Err(Error::RollbackTransaction)) {
                return Err(error);
            }
            if tries == 2 {
                break vec![Inserted::Refused(error.to_string())];
            }
        });
    }
    Ok(inserted)
}
