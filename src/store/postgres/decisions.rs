//! The role [`Decisions`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary};

use super::{PostgresStore, audit, numbers, outbox};
use crate::domain::delivery::DedupKey;
use crate::domain::sink::SinkName;
use crate::store::catalog::ConflictPlace;
use crate::store::{AuditEntry, Decisions, Seq, StoreError};

const DISCARD_CONFLICTS: &str = "
    DELETE FROM conflict WHERE (key, digest) IN (SELECT key, digest FROM unnest($1, $2) AS places (key, digest))";

/// Statements for all events, in order; `true` marks that of the events themselves.
const ERASE: [(&str, bool); 3] = [
    ("DELETE FROM outbox WHERE seq = ANY ($1)", false),
    ("DELETE FROM parked WHERE seq = ANY ($1)", false),
    ("DELETE FROM event WHERE seq = ANY ($1)", true),
];

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

    fn erase(
        &self,
        rows: &[Seq],
        keys: &[DedupKey],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError> {
        let rows = numbers(rows);
        let keys: Vec<&[u8]> = keys.iter().map(|key| &key.as_bytes()[..]).collect();
        self.delete_events(|connection| {
            let mut count = 0;
            let mut others = sql_query("DELETE FROM conflict WHERE key = ANY ($1)")
                .bind::<Array<Binary>, _>(&keys)
                .execute(connection)? as u64;
            for (statement, is_event) in ERASE {
                let gone = sql_query(statement)
                    .bind::<Array<BigInt>, _>(&rows)
                    .execute(connection)? as u64;
                *(if is_event { &mut count } else { &mut others }) += gone;
            }
            // An event may be gone, and another body of it be there.
            let changed = if count == 0 { others } else { count };
            audit::changed(connection, entry, changed).map(|_| count)
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
