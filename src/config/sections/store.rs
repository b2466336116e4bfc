//! `[store]`

use std::path::PathBuf;
use std::time::Duration;

use crate::config::define::{section, words};
use crate::config::option::{
    Bytes, Count, DAY_SECS, Days, Flag, GIB, HOUR_MS, Millis, SecretUrl, Secs, Text, one_of,
};
use crate::config::rules;
use crate::config::secret::Secret;

section! {
    /// Database of the events.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Store given {
        /// The largest `retry_max_ms` of a sink: no row is due later than that.
        pub longest_retry: Duration;
        /// Time that refused deliveries are kept: `quarantine.keep_days`.
        pub keep_refused: Duration;
    } {
        /// Database: "sqlite://data/hookweir.db" for one instance and no server, or
        /// "postgres://user:password@host:port/database" for any number of instances. To keep the password
        /// out of this file, name where the URL is: "env:NAME", "file:PATH" or "credential:NAME" (systemd).
        pub url: StoreUrl = "store.url", SecretUrl("`sqlite://` or `postgres://` URL, or a reference to one"), "sqlite://data/hookweir.db";
        /// "auto" updates the schema at start. With "check", a start with an old schema fails until
        /// `hookweir migrate` has run.
        pub migrate: Migrate = "store.migrate", one_of::<Migrate>(), "auto";
        /// PostgreSQL schema of the tables.
        pub schema: String = "store.schema", Text("name of a PostgreSQL schema", rules::schema_name), "hookweir";
        /// Time to connect.
        pub connect_timeout: Duration = "store.connect_timeout_ms", Millis(10..=HOUR_MS), 2000;
        /// Time after which PostgreSQL cancels a statement. Lower values free a writer sooner, higher values
        /// ride out a slow disk.
        pub statement_timeout: Duration = "store.statement_timeout_ms", Millis(10..=HOUR_MS), 5000;
        /// true accepts a database that can lose an acknowledged commit (fsync or synchronous_commit off), and
        /// SQLite, spool and file sink in memory (tmpfs). For trials only: it breaks the promise.
        pub allow_unsafe_durability: bool = "store.allow_unsafe_durability", Flag, false;
        /// Time that published events stay in the database, to be looked at and republished.
        pub keep_events: Duration = "store.keep_events_days", Days(0..=3660), 3;
        /// Bytes in use in the database above which the oldest published events are deleted before
        /// keep_events_days. Events that wait and keys stay. Set it alike for all instances: one of them
        /// deletes. 0 deletes by age only.
        pub keep_events_below: u64 = "store.keep_events_below_bytes", Bytes(0..=1024 * GIB), 0;
        /// Time that the bodies of conflicts (a known id with another body) stay in the database.
        pub keep_conflicts: Duration = "store.keep_conflicts_days", Days(0..=3660), 30;
        /// Bytes of the bodies of conflicts above which the oldest ones are deleted before keep_conflicts_days;
        /// each counts as its body, its headers and 512 more. Set it alike for all instances: one of them
        /// deletes. 0 deletes by age only.
        pub keep_conflicts_below: u64 = "store.keep_conflicts_below_bytes", Bytes(0..=1024 * GIB), 0;
        /// Interval between deletions of expired rows. Lower values keep tables smaller, higher values save
        /// I/O.
        pub prune_interval: Duration = "store.prune_interval_secs", Secs(1..=DAY_SECS), 10;
        /// Most rows of each kind that one deletion removes.
        pub prune_rows: usize = "store.prune_rows", Count(1..=1_000_000), 5000;
        /// Time that an instance keeps its rows without a sign of life; then another instance takes them over.
        /// Lower values take over sooner, higher values tolerate longer stalls.
        pub lease: Duration = "store.lease_secs", Secs(3..=3600), 15;
    }
}

/// Database of the events.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreUrl {
    /// The database file.
    Sqlite(PathBuf),
    /// A libpq URL; it may hold a password.
    Postgres(Secret),
}

words! {
    /// Treatment of an old schema at start.
    pub enum Migrate {
        /// The schema is updated.
        Auto = "auto",
        /// The start fails.
        Check = "check",
    }
}
