//! Connections to PostgreSQL: bounded in time where the network can tell, and each checked to be durable before it is used.

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, CustomizeConnection, Error as PoolError, NopErrorHandler, Pool, PooledConnection};
use diesel::result::{DatabaseErrorKind, Error};
use diesel::sql_query;
use diesel::sql_types::{Bool, Text};

use crate::config::model;
use crate::config::secret::Secret;
use crate::control;
use crate::store::StoreError;

pub(super) type Connection = PooledConnection<ConnectionManager<PgConnection>>;

/// What every connection is told.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) schema: String,
    statement_timeout_ms: u128,
    allow_unsafe_durability: bool,
}

impl Session {
    pub(super) fn new(config: &model::Store) -> Self {
        Self {
            schema: config.schema.clone(),
            statement_timeout_ms: config.statement_timeout.as_millis(),
            allow_unsafe_durability: config.allow_unsafe_durability,
        }
    }

    /// Sets the session up, in one round trip, and fails where a commit would not be on disk. Repeated on each connection, since behind
    /// the same address there may be another server after a failover.
    ///
    /// Tables here go from empty to half a million rows and back faster than statistics follow: `enable_seqscan = off` keeps to the
    /// indexes that each statement is made for, and `plan_cache_mode` to the plan that was made of it once: for an event that goes alone, a
    /// fifth of PostgreSQL's time went into planning. `work_mem` holds a batch of the largest default size.
    pub(super) fn set_up(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let timeout = self.statement_timeout_ms;
        let synced = if control::makes("synchronous_commit_off") { "off" } else { "on" };
        let settings = format!(
            "SELECT current_setting('fsync') = 'on' AS fsync,
                    current_setting('full_page_writes') = 'on' AS full_page_writes,
                    set_config('synchronous_commit',
                        CASE current_setting('synchronous_commit') WHEN 'remote_apply' THEN 'remote_apply' ELSE '{synced}' END, false)
                        IN ('on', 'remote_apply') AS synchronous_commit,
                    concat(set_config('search_path', quote_ident($1), false),
                        set_config('statement_timeout', '{timeout}', false),
                        set_config('lock_timeout', '{}', false),
                        set_config('idle_in_transaction_session_timeout', '{}', false),
                        set_config('enable_seqscan', 'off', false),
                        set_config('plan_cache_mode', 'force_generic_plan', false),
                        set_config('jit', 'off', false),
                        set_config('work_mem', '32MB', false)) AS rest",
            timeout / 2,
            timeout * 2
        );
        let durability =
            sql_query(settings).bind::<Text, _>(&self.schema).get_result::<Durability>(connection).map_err(|error| unavailable(&error))?;
        let off = [
            ("fsync", durability.fsync),
            ("full_page_writes", durability.full_page_writes),
            ("synchronous_commit", durability.synchronous_commit),
        ]
        .into_iter()
        .filter_map(|(setting, on)| (!on).then_some(setting))
        .collect::<Vec<_>>()
        .join(", ");
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
}

#[derive(QueryableByName)]
struct Durability {
    #[diesel(sql_type = Bool)]
    fsync: bool,
    #[diesel(sql_type = Bool)]
    full_page_writes: bool,
    #[diesel(sql_type = Bool)]
    synchronous_commit: bool,
}

impl CustomizeConnection<PgConnection, PoolError> for Session {
    fn on_acquire(&self, connection: &mut PgConnection) -> Result<(), PoolError> {
        self.set_up(connection).map_err(|error| PoolError::QueryError(Error::QueryBuilderError(error.into())))
    }
}

/// The URL with time limits: on connecting, and on a peer that no longer answers.
pub(super) fn url(url: &Secret, config: &model::Store) -> Result<String, StoreError> {
    let url = std::str::from_utf8(url.expose()).map_err(|_| StoreError::Unfit("store.url: not UTF-8".into()))?;
    let seconds = config.connect_timeout.as_millis().div_ceil(1000).max(1);
    let limits = [
        ("connect_timeout", seconds.to_string()),
        ("keepalives_idle", "5".into()),
        ("keepalives_interval", "2".into()),
        ("keepalives_count", "3".into()),
        ("tcp_user_timeout", "10000".into()),
        ("application_name", "hookweir".into()),
        // Of several hosts, the one that takes writes.
        ("target_session_attrs", "read-write".into()),
    ];
    let mut whole = url.to_owned();
    for (name, value) in limits {
        // What the operator has set stays.
        if !url.contains(&format!("{name}=")) {
            whole += &format!("{}{name}={value}", if whole.contains('?') { '&' } else { '?' });
        }
    }
    Ok(whole)
}

/// A pool that connects in the background and never fails to be made.
pub(super) fn pool(url: &str, config: &model::Store, connections: usize) -> Pool<ConnectionManager<PgConnection>> {
    Pool::builder()
        .max_size(u32::try_from(connections).unwrap_or(u32::MAX).max(1))
        .min_idle(Some(0))
        .connection_timeout(config.connect_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_on_check_out(false)
        .error_handler(Box::new(NopErrorHandler))
        .connection_customizer(Box::new(Session::new(config)))
        .build_unchecked(ConnectionManager::new(url))
}

/// Nothing was done, because of `error`.
pub(super) fn unavailable(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL: {}", error.to_string().trim_end().replace('\n', "; ")))
}

/// Whether the server said that it rolled the statement back; if not, it may have committed. Every statement of the store is a
/// transaction of its own.
pub(super) fn was_rolled_back(connection: &mut PgConnection, error: &Error) -> bool {
    match error {
        Error::SerializationError(_) | Error::QueryBuilderError(_) => true,
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, _) => false,
        Error::DatabaseError(..) => !AnsiTransactionManager::is_broken_transaction_manager(connection),
        _ => false,
    }
}
