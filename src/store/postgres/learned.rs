//! Secrets that providers handed over, one for each source.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::PostgresStore;
use crate::config::secret::Secret;
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::store::row::millis;
use crate::store::{Learned, LearnedSecret, RELEARN_AFTER, StoreError};

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Nullable<Binary>)]
    secret: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    at_ms: i64,
}

const READ: &str =
    "SELECT source, secret, (extract(epoch FROM at) * 1000)::bigint AS at_ms FROM learned_secret";

impl PostgresStore {
    pub(super) fn learn_secret(
        &self,
        source: &SourceName,
        secret: &Secret,
    ) -> Result<Learned, StoreError> {
        self.run(|connection| {
            sql_query(
                "INSERT INTO learned_secret (source, secret) VALUES ($1, $2)
                 ON CONFLICT (source) DO UPDATE SET secret = excluded.secret, at = now()
                 WHERE learned_secret.secret IS NULL
                   AND (learned_secret.at < now() - $3 * interval '1 millisecond' OR learned_secret.at > now() + $3 * interval '1 millisecond')",
            )
            .bind::<Text, _>(source.as_str())
            .bind::<Binary, _>(secret.expose())
            .bind::<BigInt, _>(millis(RELEARN_AFTER))
            .execute(connection)
        })?;
        let row: Row = self.run(|connection| {
            sql_query(format!("{READ} WHERE source = $1"))
                .bind::<Text, _>(source.as_str())
                .get_result(connection)
        })?;
        Ok(Learned::of(row.secret.as_deref(), secret))
    }

    pub(super) fn learned_secrets(&self) -> Result<Vec<LearnedSecret>, StoreError> {
        let rows: Vec<Row> =
            self.run(|connection| sql_query(format!("{READ} ORDER BY source")).load(connection))?;
        let learned = |row: Row| LearnedSecret {
            source: row.source,
            secret: row.secret.map(Secret::new),
            at: UnixMillis(row.at_ms),
        };
        Ok(rows.into_iter().map(learned).collect())
    }

    pub(super) fn forget_secret(&self, source: &SourceName) -> Result<bool, StoreError> {
        self.run(|connection| {
            sql_query("UPDATE learned_secret SET secret = NULL, at = now() WHERE source = $1 AND secret IS NOT NULL")
                .bind::<Text, _>(source.as_str())
                .execute(connection)
                .map(|rows| rows > 0)
        })
    }
}
