//! The role [`Audit`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use uuid::Uuid;

use super::PostgresStore;
use crate::store::audit::RecordedRow;
use crate::store::{Audit, AuditEntry, AuditRow, StoreError};

/// Stores an entry once, also if the statement is repeated.
const RECORD: &str = "
    INSERT INTO audit (id, instance, caller, action, subject, count, reason)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (id) DO NOTHING";

/// Entries, the newest first. The index on the time leads to them.
const RECORDED: &str = "
    SELECT id, (extract(epoch FROM at) * 1000)::bigint AS at, caller, action, subject, count, reason FROM audit
    WHERE $1 IS NULL OR (audit.at, audit.id) < (SELECT entry.at, entry.id FROM audit entry WHERE entry.id = $1)
    ORDER BY audit.at DESC, audit.id DESC LIMIT $2";

impl Audit for PostgresStore {
    fn record(&self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.run(|connection| record(connection, entry))
    }

    fn recorded(
        &self,
        before: Option<[u8; 16]>,
        limit: usize,
    ) -> Result<Vec<AuditRow>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<RecordedRow> = self.run(|connection| {
            sql_query(RECORDED)
                .bind::<Nullable<Binary>, _>(before.as_ref().map(|id| &id[..]))
                .bind::<BigInt, _>(limit)
                .load(connection)
        })?;
        Ok(rows
            .into_iter()
            .filter_map(RecordedRow::into_entry)
            .collect())
    }
}

/// Stores an entry in the current transaction.
pub(super) fn record(connection: &mut PgConnection, entry: &AuditEntry) -> QueryResult<()> {
    // PostgreSQL refuses a text with a NUL.
    let text = |text: &str| text.replace('\0', "\u{fffd}");
    sql_query(RECORD)
        .bind::<Binary, _>(&Uuid::now_v7().as_bytes()[..])
        .bind::<Binary, _>(&entry.instance.as_bytes()[..])
        .bind::<Text, _>(text(&entry.caller))
        .bind::<Text, _>(entry.action.word())
        .bind::<Text, _>(text(&entry.subject))
        .bind::<BigInt, _>(entry.rows())
        .bind::<Nullable<Text>, _>(entry.reason.as_deref().map(text))
        .execute(connection)
        .map(drop)
}

/// Stores an entry with the number of rows that were changed, in the current transaction. Returns the
/// number. Without a change there is no entry.
pub(super) fn changed(
    connection: &mut PgConnection,
    entry: &AuditEntry,
    count: u64,
) -> QueryResult<u64> {
    if count > 0 {
        let entry = AuditEntry {
            count,
            ..entry.clone()
        };
        record(connection, &entry)?;
    }
    Ok(count)
}
