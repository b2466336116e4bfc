//! Keys and certificates that deliveries named and that were fetched.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Text};

use super::PostgresStore;
use crate::store::row::millis;
use crate::store::{FETCHED_KEYS, FetchedKey, KEEP_FETCHED, StoreError};

#[derive(QueryableByName)]
struct Row {
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

impl PostgresStore {
    pub(super) fn keep_fetched_key(&self, key: &FetchedKey) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "INSERT INTO fetched_key (source, name, place, answer) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (source, name) DO UPDATE SET place = excluded.place, answer = excluded.answer, at = now()",
            )
            .bind::<Text, _>(&key.source)
            .bind::<Text, _>(&key.name)
            .bind::<Binary, _>(&key.place)
            .bind::<Binary, _>(&key.answer)
            .execute(connection)?;
            sql_query(
                "DELETE FROM fetched_key WHERE at < now() - $2 * interval '1 millisecond' OR (source = $1
                   AND name IN (SELECT name FROM fetched_key WHERE source = $1 ORDER BY at DESC OFFSET $3))",
            )
            .bind::<Text, _>(&key.source)
            .bind::<BigInt, _>(millis(KEEP_FETCHED))
            .bind::<BigInt, _>(FETCHED_KEYS as i64)
            .execute(connection)
            .map(drop)
        })
    }

    pub(super) fn fetched_keys(&self) -> Result<Vec<FetchedKey>, StoreError> {
        const READ: &str = "SELECT source, name, place, answer, (extract(epoch FROM now() - at) * 1000)::bigint AS age_ms
                            FROM fetched_key ORDER BY source, name";
        let rows: Vec<Row> = self.run(|connection| sql_query(READ).load(connection))?;
        let key = |Row {
                       source,
                       name,
                       place,
                       answer,
                       age_ms,
                   }| FetchedKey {
            source,
            name,
            place,
            answer,
            age: Duration::from_millis(u64::try_from(age_ms).unwrap_or(0)),
        };
        Ok(rows.into_iter().map(key).collect())
    }
}
