//! Connections to PostgreSQL: bounded in time where the network can tell, and each checked before it is used.

use diesel::connection::{AnsiTransactionManager, TransactionManager};
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, NopErrorHandler, Pool, PooledConnection};
use diesel::result::{DatabaseErrorKind, Error};

use super::session::Session;
use crate::config::model;
use crate::config::secret::Secret;
use crate::store::StoreError;

pub(super) type Connection = PooledConnection<ConnectionManager<PgConnection>>;

/// The URL with time limits: on connecting, and on a peer that no longer answers.
pub(super) fn url(url: &Secret, config: &model::Store) -> Result<String, StoreError> {
    let url = std::str::from_utf8(url.expose())
        .map_err(|_| StoreError::Unfit("store.url: not UTF-8".into()))?;
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
            whole += &format!(
                "{}{name}={value}",
                if whole.contains('?') { '&' } else { '?' }
            );
        }
    }
    Ok(whole)
}

/// A pool that connects in the background and never fails to be made.
pub(super) fn pool(
    url: &str,
    config: &model::Store,
    session: &Session,
    connections: usize,
) -> Pool<ConnectionManager<PgConnection>> {
    Pool::builder()
        .max_size(u32::try_from(connections).unwrap_or(u32::MAX).max(1))
        .min_idle(Some(0))
        .connection_timeout(config.connect_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_on_check_out(false)
        .error_handler(Box::new(NopErrorHandler))
        .connection_customizer(Box::new(session.clone()))
        .build_unchecked(ConnectionManager::new(url))
}

/// Returns the error of a call that did nothing, because of `error`.
pub(super) fn unavailable(error: &impl std::fmt::Display) -> StoreError {
    StoreError::Unavailable(format!(
        "PostgreSQL: {}",
        error.to_string().trim_end().replace('\n', "; ")
    ))
}

/// Returns `true` if the server said that it rolled the statement back. Otherwise it may have
/// committed: every statement of the store is a transaction of its own.
pub(super) fn was_rolled_back(connection: &mut PgConnection, error: &Error) -> bool {
    match error {
        Error::SerializationError(_) | Error::QueryBuilderError(_) => true,
        Error::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        ) => false,
        Error::DatabaseError(..) => {
            !AnsiTransactionManager::is_broken_transaction_manager(connection)
        }
        _ => false,
    }
}
