//! The role [`Decisions`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, Binary};

use super::{PostgresStore, audit, outbox};
use crate::domain::sink::SinkName;
use crate::store::catalog::ConflictPlace;
use crate::store::{AuditEntry, Decisions, Seq, StoreError};

const DISCARD_CONFLICTS: &str = "
    DELETE FROM conflict WHERE (key, digest) IN (SELECT key, digest FROM unnest($1, $2) AS places (key, digest))";

impl Decisions for PostgresStore {
    fn put_back(
        &self,
        sink: &SinkName,
        rows: &[Seq],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        self.transaction(|connection| {
            let count = outbox::retry(connection, sink, rows)?;
            audit::changed(connection, entry, count)
        })
    }

    fn give_up(
        &self,
        sink: &SinkName,
        rows: &[Seq],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        self.delete_events(|connection| {
            let count = outbox::discard(connection, sink, rows)?;
            audit::changed(connection, entry, count)
        })
    }

    fn discard_conflicts(
        &self,
        places: &[ConflictPlace],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        let keys: Vec<&[u8]> = places
            .iter()
            .map(|place| &place.key.as_bytes()[..])
            .collect();
        let digests: Vec<&[u8]> = places.iter().map(|place| &place.digest[..]).collect();
        self.transaction(|connection| {
            let gone = sql_query(DISCARD_CONFLICTS)
                .bind::<Array<Binary>, _>(&keys)
                .bind::<Array<Binary>, _>(&digests)
                .execute(connection)?;
            audit::changed(connection, entry, gone as u64)
        })
    }
}
