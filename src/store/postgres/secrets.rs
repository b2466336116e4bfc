//! The role [`Secrets`] in PostgreSQL.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::PostgresStore;
use crate::config::secret::Secret;
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::store::row::millis;
use crate::store::{
    FETCHED_KEYS, FetchedKey, KEEP_FETCHED, Learned, LearnedSecret, RELEARN_AFTER, Secrets,
    StoreError,
};

/// Keeps the secret `$2` of source `$1`, unless another one is there, or was forgotten less than
/// `$3` milliseconds ago.
const LEARN: &str = "
    INSERT INTO learned_secret (source, secret)
    VALUES ($1, $2)
    ON CONFLICT (source) DO UPDATE SET secret = excluded.secret, at = now()
    WHERE learned_secret.secret IS NULL
      AND (learned_secret.at < now() - $3 * interval '1 millisecond'
        OR learned_secret.at > now() + $3 * interval '1 millisecond')";

const LEARNED_BY: &str = "
    SELECT source, secret, (extract(epoch FROM at) * 1000)::bigint AS at_ms
    FROM learned_secret
    WHERE source = $1";

const LEARNED: &str = "
    SELECT source, secret, (extract(epoch FROM at) * 1000)::bigint AS at_ms
    FROM learned_secret
    ORDER BY source";

const FORGET: &str = "
    UPDATE learned_secret SET secret = NULL, at = now()
    WHERE source = $1 AND secret IS NOT NULL";

const KEEP: &str = "
    INSERT INTO fetched_key (source, name, place, answer)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (source, name)
    DO UPDATE SET place = excluded.place, answer = excluded.answer, at = now()";

/// Deletes keys that were fetched `$2` milliseconds ago, and all but the `$3` newest of source `$1`.
const DROP_OLD: &str = "
    DELETE FROM fetched_key
    WHERE at < now() - $2 * interval '1 millisecond'
       OR (source = $1 AND name IN (
              SELECT name FROM fetched_key WHERE source = $1 ORDER BY at DESC OFFSET $3))";

const FETCHED: &str = "
    SELECT source, name, place, answer,
           (extract(epoch FROM now() - at) * 1000)::bigint AS age_ms
    FROM fetched_key
    ORDER BY source, name";

#[derive(QueryableByName)]
struct SecretRow {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Nullable<Binary>)]
    secret: Option<Vec<u8>>,
    #[diesel(sql_type = BigInt)]
    at_ms: i64,
}

#[derive(QueryableByName)]
struct FetchedRow {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Binary)]
    place: Vec<u8>,
    #[diesel(sql_type = Binary)]
    answer: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    age_ms: i64,
}

impl Secrets for PostgresStore {
    fn learn(&self, source: &SourceName, secret: &Secret) -> Result<Learned, StoreError> {
        self.run(|connection| {
            sql_query(LEARN)
                .bind::<Text, _>(source.as_str())
                .bind::<Binary, _>(secret.expose())
                .bind::<BigInt, _>(millis(RELEARN_AFTER))
                .execute(connection)
        })?;
        let row: SecretRow = self.run(|connection| {
            sql_query(LEARNED_BY)
                .bind::<Text, _>(source.as_str())
                .get_result(connection)
        })?;
        Ok(Learned::of(row.secret.as_deref(), secret))
    }

    fn learned(&self) -> Result<Vec<LearnedSecret>, StoreError> {
        let rows: Vec<SecretRow> = self.run(|connection| sql_query(LEARNED).load(connection))?;
        let learned = |row: SecretRow| LearnedSecret {
            source: row.source,
            secret: row.secret.map(Secret::new),
            at: UnixMillis(row.at_ms),
        };
        Ok(rows.into_iter().map(learned).collect())
    }

    fn forget(&self, source: &SourceName) -> Result<bool, StoreError> {
        self.run(|connection| {
            sql_query(FORGET)
                .bind::<Text, _>(source.as_str())
                .execute(connection)
                .map(|rows| rows > 0)
        })
    }

    fn keep_fetched(&self, key: &FetchedKey) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(KEEP)
                .bind::<Text, _>(&key.source)
                .bind::<Text, _>(&key.name)
                .bind::<Binary, _>(&key.place)
                .bind::<Binary, _>(&key.answer)
                .execute(connection)?;
            sql_query(DROP_OLD)
                .bind::<Text, _>(&key.source)
                .bind::<BigInt, _>(millis(KEEP_FETCHED))
                .bind::<BigInt, _>(FETCHED_KEYS as i64)
                .execute(connection)
                .map(drop)
        })
    }

    fn fetched(&self) -> Result<Vec<FetchedKey>, StoreError> {
        let rows: Vec<FetchedRow> = self.run(|connection| sql_query(FETCHED).load(connection))?;
        let key = |row: FetchedRow| FetchedKey {
            source: row.source,
            name: row.name,
            place: row.place,
            answer: row.answer,
            age: Duration::from_millis(u64::try_from(row.age_ms).unwrap_or(0)),
        };
        Ok(rows.into_iter().map(key).collect())
    }
}
