//! The role [`PauseStore`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Nullable, Text};

use super::{PostgresStore, audit};
use crate::domain::pause::{Pause, PauseKind};
use crate::store::pause_rows::PauseRow;
use crate::store::{AuditEntry, PauseStore, StoreError};

const PAUSE: &str = "
    INSERT INTO pause (kind, name, caller, reason)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (kind, name) DO NOTHING";

const RESUME: &str = "
    DELETE FROM pause WHERE kind = $1 AND name = $2";

const PAUSED: &str = "
    SELECT kind, name, caller, reason, (extract(epoch FROM at) * 1000)::bigint AS at_ms
    FROM pause
    ORDER BY kind, name";

impl PauseStore for PostgresStore {
    fn paused(&self) -> Result<Vec<Pause>, StoreError> {
        let rows: Vec<PauseRow> = self.run(|connection| sql_query(PAUSED).load(connection))?;
        Ok(rows.into_iter().filter_map(PauseRow::into_pause).collect())
    }

    fn pause(&self, pause: &Pause, entry: &AuditEntry) -> Result<bool, StoreError> {
        // PostgreSQL refuses a text with a NUL.
        let text = |text: &str| text.replace('\0', "\u{fffd}");
        let count = self.transaction(|connection| {
            let rows = sql_query(PAUSE)
                .bind::<Text, _>(pause.kind.word())
                .bind::<Text, _>(&pause.name)
                .bind::<Text, _>(text(&pause.caller))
                .bind::<Nullable<Text>, _>(pause.reason.as_deref().map(text))
                .execute(connection)?;
            audit::changed(connection, entry, rows as u64)
        })?;
        Ok(count > 0)
    }

    fn resume(&self, kind: PauseKind, name: &str, entry: &AuditEntry) -> Result<bool, StoreError> {
        let count = self.transaction(|connection| {
            let rows = sql_query(RESUME)
                .bind::<Text, _>(kind.word())
                .bind::<Text, _>(name)
                .execute(connection)?;
            audit::changed(connection, entry, rows as u64)
        })?;
        Ok(count > 0)
    }
}
