//! The role [`QuarantineStore`] in SQLite.

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};

use super::{SqliteStore, audit, checkpoint, now};
use crate::store::catalog::PAGE;
use crate::store::quarantine::{
    NewRefused, RefusedBounds, RefusedDelivery, RefusedPlace, RefusedQuery, RefusedSummary,
    RefusedUsage,
};
use crate::store::quarantine_rows::{self as rows, quarantine_reads};
use crate::store::{AuditAction, AuditEntry, QuarantineStore, StoreError};

const KEEP: &str = "
    INSERT INTO quarantine (at, source, received_at, request_id, reason, detail, method, target, peer, cut, bytes, size, headers, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

/// Deletes at most `?3` of a source, up to a number.
const EVICT: &str = "
    DELETE FROM quarantine WHERE number IN (
        SELECT number FROM quarantine WHERE source = ?1 AND number <= ?2 ORDER BY number LIMIT ?3)";

const DISCARD: &str = "DELETE FROM quarantine WHERE number = ?1";

quarantine_reads!(SqliteConnection);

impl QuarantineStore for SqliteStore {
    fn keep_refused(&self, batch: &[NewRefused]) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            for refused in batch {
                sql_query(KEEP)
                    .bind::<BigInt, _>(now)
                    .bind::<Text, _>(refused.source.as_str())
                    .bind::<BigInt, _>(refused.received_at.0)
                    .bind::<Text, _>(&refused.request_id)
                    .bind::<Text, _>(refused.reason)
                    .bind::<Text, _>(&refused.detail)
                    .bind::<Text, _>(&refused.method)
                    .bind::<Text, _>(&refused.target)
                    .bind::<Nullable<Text>, _>(refused.peer.as_deref())
                    .bind::<Bool, _>(refused.is_cut)
                    .bind::<BigInt, _>(rows::sql_number(refused.body.len() as u64))
                    .bind::<BigInt, _>(rows::sql_number(refused.size()))
                    .bind::<Binary, _>(&refused.headers[..])
                    .bind::<Binary, _>(&refused.body[..])
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn evict_refused(
        &self,
        source: &str,
        bounds: RefusedBounds,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let Some(number) = self.read(|connection| read_beyond(connection, source, bounds))? else {
            return Ok(0);
        };
        self.write(|connection| {
            sql_query(EVICT)
                .bind::<Text, _>(source)
                .bind::<BigInt, _>(number)
                .bind::<BigInt, _>(rows::sql_number(limit as u64))
                .execute(connection)
                .map(|gone| gone as u64)
        })
    }

    fn verify_alone(&self, work: &mut dyn FnMut()) -> Result<bool, StoreError> {
        // The file has one instance.
        work();
        Ok(true)
    }

    fn refused_usage(&self) -> Result<Vec<RefusedUsage>, StoreError> {
        self.read(read_usage)
    }

    fn refused(
        &self,
        query: &RefusedQuery,
        place: RefusedPlace,
        limit: usize,
    ) -> Result<Vec<RefusedSummary>, StoreError> {
        self.read(|connection| read_page(connection, query, place, limit))
    }

    fn refused_delivery(&self, number: i64) -> Result<Option<RefusedDelivery>, StoreError> {
        self.read(|connection| read_one(connection, number))
    }

    fn discard_refused(&self, numbers: &[i64], entry: &AuditEntry) -> Result<u64, StoreError> {
        let discarded = self.write(|connection| {
            // What is deleted is overwritten.
            connection.batch_execute("PRAGMA secure_delete = ON")?;
            let mut count = 0;
            for number in numbers {
                let gone = sql_query(DISCARD).bind::<BigInt, _>(number);
                count += gone.execute(connection)? as u64;
            }
            audit::changed(connection, entry, count)
        })?;
        if discarded > 0 && entry.action == AuditAction::Erase {
            checkpoint::fold(&mut *self.writer.get()?);
        }
        Ok(discarded)
    }
}
