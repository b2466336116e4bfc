//! The role [`Decisions`] in SQLite.

use diesel::prelude::*;

use super::schema::conflict;
use super::{SqliteStore, audit, outbox};
use crate::domain::sink::SinkName;
use crate::store::catalog::ConflictPlace;
use crate::store::{AuditEntry, Decisions, Seq, StoreError};

impl Decisions for SqliteStore {
    fn put_back(
        &self,
        sink: &SinkName,
        rows: &[Seq],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        self.write(|connection| {
            let count = outbox::retry(connection, sink, rows, false)?;
            audit::changed(connection, entry, count)
        })
    }

    fn give_up(
        &self,
        sink: &SinkName,
        rows: &[Seq],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        self.write(|connection| {
            let count = outbox::discard(connection, sink, rows)?;
            audit::changed(connection, entry, count)
        })
    }

    fn discard_conflicts(
        &self,
        places: &[ConflictPlace],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        self.write(|connection| {
            let mut count = 0;
            for place in places {
                let row = conflict::table.find((&place.key.as_bytes()[..], &place.digest[..]));
                count += diesel::delete(row).execute(connection)? as u64;
            }
            audit::changed(connection, entry, count)
        })
    }
}
