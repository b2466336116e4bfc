//! The role [`Decisions`] in SQLite.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::BigInt;

use super::schema::conflict;
use super::{SqliteStore, audit, checkpoint, outbox};
use crate::domain::delivery::DedupKey;
use crate::domain::sink::SinkName;
use crate::store::catalog::ConflictPlace;
use crate::store::{AuditEntry, Decisions, Seq, StoreError};

/// Statements for each event, in order; `true` marks that of the event itself.
const ERASE: [(&str, bool); 3] = [
    ("DELETE FROM outbox WHERE seq = ?1", false),
    ("DELETE FROM parked WHERE seq = ?1", false),
    ("DELETE FROM event WHERE seq = ?1", true),
];

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

    fn erase(
        &self,
        rows: &[Seq],
        keys: &[DedupKey],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        let erased = self.write(|connection| {
            // What is deleted is overwritten. Parts that moved between pages before may stay until VACUUM.
            connection.batch_execute("PRAGMA secure_delete = ON")?;
            let (mut count, mut others) = (0, 0);
            for key in keys {
                let of_key = conflict::table.filter(conflict::key.eq(&key.as_bytes()[..]));
                others += diesel::delete(of_key).execute(connection)? as u64;
            }
            for Seq(row) in rows {
                for (statement, is_event) in ERASE {
                    let gone = sql_query(statement)
                        .bind::<BigInt, _>(row)
                        .execute(connection)? as u64;
                    *(if is_event { &mut count } else { &mut others }) += gone;
                }
            }
            // An event may be gone, and another body of it be there.
            let changed = if count == 0 { others } else { count };
            audit::changed(connection, entry, changed).map(|_| count)
        })?;
        checkpoint::fold(&mut *self.writer.get()?);
        Ok(erased)
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
