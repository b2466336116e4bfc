//! From the configured URL to the store behind it.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;

use super::postgres::PostgresStore;
use super::sqlite::SqliteStore;
use super::{OperatorStore, Store, StoreError, migrations};
use crate::config::model;

/// Returns the store at `config.url`, for `connections` threads that use it at the same time. It
/// connects later: the database may be down, see
/// [`Housekeeping::prepare`](super::Housekeeping::prepare).
pub fn open(config: &model::Store, connections: usize) -> Result<Arc<dyn Store>, StoreError> {
    Ok(match &config.url {
        model::StoreUrl::Sqlite(path) => Arc::new(SqliteStore::new(path, config)?),
        model::StoreUrl::Postgres(url) => Arc::new(PostgresStore::new(url, config, connections)?),
    })
}

/// Returns the store at `config.url` for the admin API, beside the one that accepts deliveries: with
/// connections of its own and no thread. Fails if a PostgreSQL server cannot be reached now.
pub fn open_for_operator(
    config: &model::Store,
    connections: usize,
) -> Result<Arc<dyn OperatorStore>, StoreError> {
    Ok(match &config.url {
        model::StoreUrl::Sqlite(path) => Arc::new(SqliteStore::beside(path, config)?),
        model::StoreUrl::Postgres(url) => {
            Arc::new(PostgresStore::new(url, config, connections)?.behind_what()?)
        }
    })
}

/// Brings the schema up to date, and returns the names of the migrations that were applied.
pub fn migrate(config: &model::Store) -> Result<Vec<String>, StoreError> {
    match &config.url {
        model::StoreUrl::Sqlite(path) => SqliteStore::new(path, config)?.migrate(),
        model::StoreUrl::Postgres(url) => PostgresStore::new(url, config, 1)?.migrate(),
    }
}

/// Tries to reach and use the database, and changes nothing. Returns its findings, in sentences.
pub fn check(config: &model::Store) -> Result<Vec<String>, StoreError> {
    let pending = match &config.url {
        model::StoreUrl::Sqlite(path) if !path.exists() => {
            probe_folder(path)?;
            return Ok(vec![format!(
                "{} does not exist yet and can be created",
                path.display()
            )]);
        }
        model::StoreUrl::Sqlite(path) => SqliteStore::new(path, config)?.pending()?,
        model::StoreUrl::Postgres(url) => return PostgresStore::new(url, config, 1)?.check(),
    };
    match (pending.is_empty(), config.migrate) {
        (true, _) => Ok(vec![
            "reached, durable, and its schema is up to date".to_owned(),
        ]),
        (false, model::Migrate::Auto) => Ok(vec![format!(
            "reached and durable; a start will apply the migrations {}",
            pending.join(", ")
        )]),
        (false, model::Migrate::Check) => Err(migrations::to_be_applied(&pending)),
    }
}

/// Checks that a file can be created at `path`, or in the nearest folder above it that exists.
pub(crate) fn probe_folder(path: &Path) -> Result<(), StoreError> {
    let folder = path
        .ancestors()
        .skip(1)
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("."));
    let probe = folder.join(format!(".hookweir-check.{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .map_err(|error| {
            StoreError::Unfit(format!(
                "no file can be created in {}: {error}",
                folder.display()
            ))
        })
}
