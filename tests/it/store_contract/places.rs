//! Places of test stores: a file or a schema for each, gone when the test ends.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::{Connection, SimpleConnection};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use hookweir::config::model;
use hookweir::config::secret::Secret;
use hookweir::store::{Store, open};

/// A database for one test.
pub(crate) trait Place: Sync {
    /// A new and empty one.
    fn fresh() -> Self;
    /// The configuration of a store in it.
    fn config(&self) -> model::Store;
    /// Runs SQL behind the store's back.
    fn execute(&self, sql: &str);
    /// The number that `SELECT count(*) FROM what` returns.
    fn count(&self, what: &str) -> i64;
    /// SQL that makes each insert of an event whose id begins with `prefix` fail, if it is in `event`.
    fn refuse(&self, prefix: &str);
    /// Moves a time of every row of `table` by so many milliseconds.
    fn shift(&self, table: &str, column: &str, millis: i64);
    /// SQL that is true where `column` is later than so many milliseconds from now.
    fn later(&self, column: &str, millis: i64) -> String;
    /// SQL of the migrations' undoing, the last one first.
    fn down(&self) -> &'static str;
    /// SQL is SQLite's.
    fn is_sqlite(&self) -> bool {
        false
    }

    /// A store that is ready for use.
    fn store(&self) -> Arc<dyn Store> {
        let store = open(&self.config(), 4).expect("a store");
        store.prepare().expect("prepared");
        store
    }
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

pub(crate) fn config(url: model::StoreUrl, schema: &str) -> model::Store {
    model::Store {
        url,
        migrate: model::Migrate::Auto,
        schema: schema.into(),
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(20),
        allow_unsafe_durability: false,
        keep_events: Duration::from_secs(3600),
        keep_events_below: 0,
        keep_conflicts_below: 0,
        keep_conflicts: Duration::from_secs(3600),
        keep_refused: Duration::from_secs(3600),
        prune_interval: Duration::from_millis(50),
        prune_rows: 1000,
        lease: Duration::from_secs(15),
        longest_retry: Duration::from_secs(3600),
    }
}

/// A file in a temporary folder.
pub(crate) struct Sqlite(tempfile::TempDir);

impl Sqlite {
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.0.path().join("data/test.db-wal"))
            .expect("a log")
            .len()
    }

    fn connect(&self) -> SqliteConnection {
        let path = self.0.path().join("data/test.db");
        let mut connection =
            SqliteConnection::establish(&path.to_string_lossy()).expect("the file");
        connection
            .batch_execute("PRAGMA busy_timeout = 10000")
            .expect("a pragma");
        connection
    }
}

impl Place for Sqlite {
    fn fresh() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn config(&self) -> model::Store {
        config(
            model::StoreUrl::Sqlite(self.0.path().join("data/test.db")),
            "unused",
        )
    }

    fn execute(&self, sql: &str) {
        self.connect().batch_execute(sql).expect(sql);
    }

    fn count(&self, what: &str) -> i64 {
        diesel::sql_query(format!("SELECT count(*) AS count FROM {what}"))
            .get_result::<Count>(&mut self.connect())
            .expect("a count")
            .count
    }

    fn refuse(&self, prefix: &str) {
        self.execute(&format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON event WHEN NEW.event_id LIKE '{prefix}%' BEGIN SELECT RAISE(ABORT, 'refused'); END"
        ));
    }

    fn shift(&self, table: &str, column: &str, millis: i64) {
        self.execute(&format!(
            "UPDATE {table} SET {column} = {column} + {millis}"
        ));
    }

    fn later(&self, column: &str, millis: i64) -> String {
        format!(
            "{column} > {}",
            hookweir::domain::delivery::wall_clock().0 + millis
        )
    }

    fn is_sqlite(&self) -> bool {
        true
    }

    fn down(&self) -> &'static str {
        concat!(
            include_str!("../../../migrations/sqlite/2026-11-29-000017_conflict_size/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000016_confirm_sink/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000015_relocation/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000014_verified_by/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000013_quarantine/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000012_pause/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000011_republish/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000010_event_order/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-29-000009_audit/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-28-000008_sinks/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-28-000007_fetched_key/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-28-000006_clock/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-28-000004_identity/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-25-000003_learned_secret/down.sql"),
            include_str!("../../../migrations/sqlite/2026-11-23-000001_store/down.sql")
        )
    }
}

/// A schema in the server of `HOOKWEIR_TEST_POSTGRES`.
pub(crate) struct Postgres {
    pub(crate) url: String,
    pub(crate) schema: String,
}

impl Postgres {
    pub(crate) fn at(url: String) -> Self {
        Self {
            url,
            schema: format!("Test {}", uuid::Uuid::now_v7()),
        }
    }

    pub(crate) fn connect(&self) -> PgConnection {
        let mut connection = PgConnection::establish(&self.url).expect("the server");
        connection
            .batch_execute(&format!(
                "SET client_min_messages = error; SET search_path = \"{}\"",
                self.schema
            ))
            .expect("a setting");
        connection
    }
}

impl Place for Postgres {
    fn fresh() -> Self {
        Self::at(std::env::var("HOOKWEIR_TEST_POSTGRES").expect("run tests/run"))
    }

    fn config(&self) -> model::Store {
        config(
            model::StoreUrl::Postgres(Secret::new(self.url.as_bytes())),
            &self.schema,
        )
    }

    fn execute(&self, sql: &str) {
        self.connect().batch_execute(sql).expect(sql);
    }

    fn count(&self, what: &str) -> i64 {
        diesel::sql_query(format!("SELECT count(*) AS count FROM {what}"))
            .get_result::<Count>(&mut self.connect())
            .expect("a count")
            .count
    }

    fn refuse(&self, prefix: &str) {
        self.execute(&format!(
            "ALTER TABLE event ADD CONSTRAINT refuse CHECK (event_id NOT LIKE '{prefix}%')"
        ));
    }

    fn shift(&self, table: &str, column: &str, millis: i64) {
        self.execute(&format!(
            "UPDATE {table} SET {column} = {column} + {millis} * interval '1 millisecond'"
        ));
    }

    fn later(&self, column: &str, millis: i64) -> String {
        format!("{column} > now() + {millis} * interval '1 millisecond'")
    }

    fn down(&self) -> &'static str {
        concat!(
            include_str!("../../../migrations/postgres/2026-11-29-000017_conflict_size/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000016_confirm_sink/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000015_relocation/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000014_verified_by/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000013_quarantine/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000012_pause/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000011_republish/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000010_event_order/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-29-000009_audit/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-28-000008_sinks/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-28-000007_fetched_key/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-28-000006_clock/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-28-000005_outbox_due/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-28-000004_identity/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-25-000003_learned_secret/down.sql"),
            include_str!("../../../migrations/postgres/2026-11-23-000001_store/down.sql")
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(mut connection) = PgConnection::establish(&self.url) {
            let _ = connection.batch_execute(&format!(
                "SET client_min_messages = error; DROP SCHEMA IF EXISTS \"{}\" CASCADE",
                self.schema
            ));
        }
    }
}
