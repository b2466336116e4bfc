//! From the configured URL to the store behind it.

use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{Store, StoreError};
use crate::config::model;

/// The store at `config.url`, for `connections` threads that use it at the same time. Nothing is connected to yet: the database may be
/// down, see [`Store::prepare`].
pub fn open(config: &model::Store, connections: usize) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &config.url {
        model::StoreUrl::Sqlite(path) => Arc::new(SqliteStore::new(path, config)?),
        model::StoreUrl::Postgres(url) => Arc::new(PostgresStore::new(url, config, connections)?),
    })
}

/// Brings the schema up to date, and returns the names of the migrations that were applied.
pub fn migrate(config: &model::Store) -> Result<Vec<String>, StoreError> {
    match &config.url {
        model::StoreUrl::Sqlite(path) => SqliteStore::new(path, config)?.migrate(),
        model::StoreUrl::Postgres(url) => PostgresStore::new(url, config, 1)?.migrate(),
    }
}
