//! The role [`PauseStore`] in SQLite.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::{SqliteStore, audit};
use crate::domain::pause::{Pause, PauseKind};
use crate::store::pause_rows::PauseRow;
use crate::store::{AuditEntry, PauseStore, StoreError};

const PAUSE: &str = "
    INSERT INTO pause (kind, name, caller, reason, at)
    VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (kind, name) DO NOTHING";

const RESUME: &str = "
    DELETE FROM pause WHERE kind = ?1 AND name = ?2";

const PAUSED: &str = "
    SELECT kind, name, caller, reason, at AS at_ms
    FROM pause
    ORDER BY kind, name";

impl PauseStore for SqliteStore {
    fn paused(&self) -> Result<Vec<Pause>, StoreError> {
        let rows: Vec<PauseRow> = self.read(|connection| sql_query(PAUSED).load(connection))?;
        Ok(rows.into_iter().filter_map(PauseRow::into_pause).collect())
    }

    fn pause(&self, pause: &Pause, entry: &AuditEntry) -> Result<bool, StoreError> {
        let count = self.write(|connection| {
            let rows = sql_query(PAUSE)
                .bind::<Text, _>(pause.kind.word())
                .bind::<Text, _>(&pause.name)
                .bind::<Text, _>(&pause.caller)
                .bind::<Nullable<Text>, _>(pause.reason.as_deref())
                .bind::<BigInt, _>(pause.at.0)
                .execute(connection)?;
            audit::changed(connection, entry, rows as u64)
        })?;
        Ok(count > 0)
    }

    fn resume(&self, kind: PauseKind, name: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        let count = self.write(|connection| {
            let rows = sql_query(RESUME)
                .bind::<Text, _>(kind.word())
                .bind::<Text, _>(name)
                .execute(connection)?;
            audit::changed(connection, entry, rows as u64)
        })?;
        Ok(count > 0)
    }
}
