//! Settings of the statements, and proof that a commit under them is durable.
//!
//! A direct connection is set up once. Behind a transaction pooler (PgBouncer, "pooled" endpoints)
//! a connection is another session of the server for each transaction. Settings made before are
//! lost, or are another client's; prepared statements are missing. There each statement runs in a
//! transaction of its own that begins with the settings, and none is prepared by name.
//!
//! The insert trusts neither: it sets `synchronous_commit` for its own transaction, and fails in a
//! schema that is not the store's (`sql/insert.sql`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use diesel::connection::CacheSize;
use diesel::prelude::*;
use diesel::r2d2::{CustomizeConnection, Error as PoolError};
use diesel::result::Error;
use diesel::sql_query;
use diesel::sql_types::{Bool, Integer, Text};

use super::connection::unavailable;
use crate::config::model;
use crate::faults::mutants::Mutant;
use crate::store::StoreError;

/// Number of looks at two connections before they count as sessions of their own. A pooler gives
/// the last free session away first, so two looks suffice if no other client interferes.
const LOOKS: usize = 16;

/// Time that a transfer waits for a lock.
const TRANSFER_WAIT: &str = "30s";

/// Settings of every connection of a store.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) schema: String,
    statement_timeout_ms: u128,
    allow_unsafe_durability: bool,
    /// A transaction pooler was seen. Never unset.
    pooled: Arc<AtomicBool>,
}

impl Session {
    pub(super) fn new(config: &model::Store) -> Self {
        Self {
            schema: config.schema.clone(),
            statement_timeout_ms: config.statement_timeout.as_millis(),
            allow_unsafe_durability: config.allow_unsafe_durability,
            pooled: Arc::default(),
        }
    }

    /// Returns `true` behind a transaction pooler.
    pub(super) fn is_pooled(&self) -> bool {
        self.pooled.load(Ordering::Relaxed)
    }

    /// Returns `true` if each transaction takes the settings: those of the session may be a
    /// neighbour's.
    fn sets_each_transaction(&self) -> bool {
        self.is_pooled() && !Mutant::SettingsOfTheSession.is_on()
    }

    /// Looks for a transaction pooler before the server: two connections then share a session, or
    /// one changes its own.
    pub(super) fn look_for_pooler(&self, url: &str) -> Result<(), StoreError> {
        if self.is_pooled() {
            return Ok(());
        }
        let mut connections = Vec::new();
        for _ in 0..2 {
            match PgConnection::establish(url) {
                Ok(mut connection) => {
                    connection.set_prepared_statement_cache_size(CacheSize::Disabled);
                    connections.push(connection);
                }
                // One is all that this role may have: then nobody shares it.
                Err(_) if connections.len() == 1 => return Ok(()),
                Err(error) => return Err(unavailable(&error)),
            }
        }
        let [one, other] = &mut connections[..] else {
            return Ok(());
        };
        if share_a_session(one, other).map_err(|error| unavailable(&error))? {
            self.pooled.store(true, Ordering::Relaxed);
            tracing::warn!(
                "a transaction pooler stands before PostgreSQL: each statement is sent in a transaction of its own, with its settings, which \
                 takes four round trips in place of one. A direct connection is faster"
            );
        }
        Ok(())
    }

    /// Sets the connection up, in one round trip. Fails if a commit would not be durable. It is
    /// repeated on each connection: after a failover another server may have the address.
    pub(super) fn set_up(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        if self.is_pooled() {
            connection.set_prepared_statement_cache_size(CacheSize::Disabled);
        }
        let settings = if self.sets_each_transaction() {
            "''".to_owned()
        } else {
            self.settings(false)
        };
        let facts =
            sql_query(format!("{FACTS}, concat({settings}) AS rest")).get_result(connection);
        self.judge(&facts.map_err(|error| unavailable(&error))?)
    }

    /// Returns the settings of the server that decide its speed, and the way to it, in a sentence.
    pub(super) fn describe(&self, connection: &mut PgConnection) -> QueryResult<String> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = Text)]
            settings: String,
        }
        let way = if self.is_pooled() {
            "by way of a transaction pooler (four round trips a statement)"
        } else {
            "directly"
        };
        let row: Row = sql_query(
            "SELECT string_agg(name || ' = ' || current_setting(name), ', ' ORDER BY name) AS settings FROM unnest(ARRAY[
                 'shared_buffers', 'max_wal_size', 'checkpoint_timeout', 'autovacuum_naptime', 'server_version']) AS name",
        )
        .get_result(connection)?;
        Ok(format!(
            "reached {way}; {}: docs/operations/tuning.md says what to set, and its gain",
            row.settings
        ))
    }

    fn judge(&self, facts: &Facts) -> Result<(), StoreError> {
        if facts.standby {
            return Err(StoreError::Unavailable(
                "PostgreSQL: the server is a standby (in recovery), and takes no writes".into(),
            ));
        }
        let off = facts.off();
        if off.is_empty() {
            return Ok(());
        }
        if self.allow_unsafe_durability {
            tracing::warn!(
                "PostgreSQL runs with {off} off: events that were answered 2xx CAN BE LOST (store.allow_unsafe_durability = true)"
            );
            return Ok(());
        }
        Err(StoreError::Unfit(format!(
            "PostgreSQL runs with {off} off, so that a committed event can be lost: turn it on in postgresql.conf, or, for trials only, set \
             store.allow_unsafe_durability = true"
        )))
    }

    /// Runs `work` under the settings: directly on a direct connection, in a transaction behind a
    /// pooler.
    pub(super) fn run<T>(
        &self,
        connection: &mut PgConnection,
        work: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> QueryResult<T> {
        if !self.sets_each_transaction() {
            return work(connection);
        }
        connection
            .build_transaction()
            .read_committed()
            .run(|connection| {
                sql_query(format!("SELECT concat({})", self.settings(true))).execute(connection)?;
                work(connection)
            })
    }

    /// Sets what a change of the schema needs, and takes a lock against other changes, for the
    /// current transaction. A lock of the session would stay with a pooler.
    pub(super) fn begin_migration(
        &self,
        connection: &mut PgConnection,
        wait: &str,
    ) -> QueryResult<()> {
        let path = self.search_path(true);
        sql_query(format!(
            "SELECT concat({path}, set_config('statement_timeout', '0', true), set_config('lock_timeout', '{wait}', true),
                 set_config('idle_in_transaction_session_timeout', '0', true))"
        ))
        .execute(connection)?;
        sql_query("SELECT pg_advisory_xact_lock(hashtextextended('hookweir migrate ' || $1, 0))")
            .bind::<Text, _>(&self.schema)
            .execute(connection)
            .map(drop)
    }

    /// Sets what a transaction needs that reads or writes whole tables.
    pub(super) fn begin_transfer(&self, connection: &mut PgConnection) -> QueryResult<()> {
        let (path, durable) = (self.search_path(true), synchronous_commit(true));
        sql_query(format!(
            "SELECT concat({path}, {durable}, set_config('statement_timeout', '0', true), set_config('lock_timeout', '{TRANSFER_WAIT}', true),
                 set_config('idle_in_transaction_session_timeout', '0', true), set_config('enable_seqscan', 'on', true))"
        ))
        .execute(connection)
        .map(drop)
    }

    /// Returns `true` if this setting, as the insert has returned it, makes a commit durable.
    pub(super) fn is_durable(&self, synchronous_commit: &str) -> bool {
        matches!(synchronous_commit, "on" | "remote_apply") || self.allow_unsafe_durability
    }

    fn search_path(&self, local: bool) -> String {
        format!(
            "set_config('search_path', quote_ident({}), {local})",
            quoted(&self.schema)
        )
    }

    /// Returns the settings. Tables go from empty to half a million rows and back faster than
    /// statistics follow. `enable_seqscan = off` keeps to the indexes that each statement is made
    /// for. `plan_cache_mode` keeps the first plan: for an event that goes alone, a fifth of
    /// PostgreSQL's time went into planning. `work_mem` holds a batch of the largest default size.
    fn settings(&self, local: bool) -> String {
        let (path, timeout) = (self.search_path(local), self.statement_timeout_ms);
        let others = [
            ("statement_timeout", timeout.to_string()),
            ("lock_timeout", (timeout / 2).to_string()),
            (
                "idle_in_transaction_session_timeout",
                (timeout * 2).to_string(),
            ),
            // A statement that waited for another's commit looks again, and is not refused.
            ("default_transaction_isolation", "read committed".into()),
            ("enable_seqscan", "off".into()),
            ("plan_cache_mode", "force_generic_plan".into()),
            ("jit", "off".into()),
            ("work_mem", "32MB".into()),
        ];
        let others: Vec<String> = others
            .iter()
            .map(|(name, value)| format!("set_config('{name}', '{value}', {local})"))
            .collect();
        format!(
            "{path}, {}, {}",
            synchronous_commit(local),
            others.join(", ")
        )
    }
}

impl CustomizeConnection<PgConnection, PoolError> for Session {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), PoolError> {
        self.set_up(connection)
            .map_err(|error| PoolError::QueryError(Error::QueryBuilderError(error.into())))
    }
}

/// Returns `true` if two connections share a session. Two clients of one pool do, sooner or later.
fn share_a_session(one: &mut PgConnection, other: &mut PgConnection) -> QueryResult<bool> {
    let first = session_of(one)?;
    for _ in 0..LOOKS {
        if session_of(other)? == first || session_of(one)? != first {
            return Ok(true);
        }
    }
    Ok(false)
}

fn session_of(connection: &mut PgConnection) -> QueryResult<i32> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Integer)]
        pid: i32,
    }
    Ok(sql_query("SELECT pg_backend_pid() AS pid")
        .get_result::<Row>(connection)?
        .pid)
}

/// Returns the expression that sets `synchronous_commit`. A stronger setting than "on" stays.
fn synchronous_commit(local: bool) -> String {
    let synced = if Mutant::SynchronousCommitOff.is_on() {
        "off"
    } else {
        "on"
    };
    format!(
        "set_config('synchronous_commit',
             CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE '{synced}' END, {local})"
    )
}

/// Returns a string for SQL text.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Facts that a server tells about itself. Neon and Aurora keep their log in a storage of their
/// own, and run with `fsync` or `full_page_writes` off by design. Neon's servers have the two
/// settings by which their storage knows them, of 32 hexadecimal digits each. Aurora's have the
/// function `aurora_version` in the system's own schema.
const FACTS: &str = "
    SELECT current_setting('fsync') = 'on' AS fsync,
           current_setting('full_page_writes') = 'on' AS full_page_writes,
           coalesce(current_setting('neon.tenant_id', true) ~ '^[0-9a-f]{32}$'
               AND current_setting('neon.timeline_id', true) ~ '^[0-9a-f]{32}$', false) AS neon,
           EXISTS (SELECT FROM pg_proc WHERE proname = 'aurora_version' AND pronamespace = 'pg_catalog'::regnamespace) AS aurora,
           pg_is_in_recovery() AS standby";

#[derive(Clone, Copy, Debug, Default, QueryableByName)]
struct Facts {
    #[diesel(sql_type = Bool)]
    fsync: bool,
    #[diesel(sql_type = Bool)]
    full_page_writes: bool,
    #[diesel(sql_type = Bool)]
    neon: bool,
    #[diesel(sql_type = Bool)]
    aurora: bool,
    #[diesel(sql_type = Bool)]
    standby: bool,
}

impl Facts {
    /// Returns the settings that are off and make commits less than durable.
    fn off(&self) -> String {
        let elsewhere = self.neon || self.aurora;
        let off = [
            ("fsync", self.fsync || elsewhere),
            ("full_page_writes", self.full_page_writes || elsewhere),
        ];
        off.into_iter()
            .filter_map(|(setting, fine)| (!fine).then_some(setting))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
