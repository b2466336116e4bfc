//! The role [`Audit`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use uuid::Uuid;

use super::PostgresStore;
use crate::store::{Audit, AuditEntry, StoreError};

/// Stores an entry once, also if the statement is repeated.
const RECORD: &str = "
    INSERT INTO audit (id, instance, caller, action, subject, count, reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO NOTHING";

impl Audit for PostgresStore {
    fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        let id = Uuid::now_v7();
        self.run(|connection| {
            sql_query(RECORD)
                .bind::<Binary, _>(&id.as_bytes()[..])
                .bind::<Binary, _>(&entry.instance.as_bytes()[..])
                .bind::<Text, _>(&entry.caller)
                .bind::<Text, _>(entry.action.word())
                .bind::<Text, _>(&entry.subject)
                .bind::<BigInt, _>(entry.rows())
                .bind::<Nullable<Text>, _>(entry.reason.as_deref())
                .execute(connection)
                .map(drop)
        })
    }
}
