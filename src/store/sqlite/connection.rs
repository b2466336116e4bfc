//! Connections to the SQLite file: one that writes, since SQLite has one writer at a time, and one that reads meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{
    ConnectionManager, CustomizeConnection, Error, NopErrorHandler, Pool, PooledConnection,
};
use diesel::sql_types::{BigInt, Text};
use diesel::{QueryResult, sql_query};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::faults::mutants::Mutant;
use crate::store::StoreError;

pub(super) type Connection = PooledConnection<ConnectionManager<SqliteConnection>>;

/// A pool of one connection: taking it is taking the lock.
#[derive(Debug)]
pub(super) struct One {
    pool: Pool<ConnectionManager<SqliteConnection>>,
    path: PathBuf,
}

impl One {
    /// Returns a pool, also if the file cannot be opened; [`Self::get`] fails then. A commit that
    /// finds `longest_log` pages in the log copies them into the file.
    pub(super) fn new(path: &Path, longest_log: u32, busy_timeout: Duration) -> Self {
        let pool = Pool::builder()
            .max_size(1)
            // None before `get` has seen the file.
            .min_idle(Some(0))
            .connection_timeout(busy_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_on_check_out(false)
            .error_handler(Box::new(NopErrorHandler))
            .connection_customizer(Box::new(SetUp {
                longest_log,
                busy_timeout,
            }))
            .build_unchecked(ConnectionManager::new(existing(path)));
        Self {
            pool,
            path: path.to_owned(),
        }
    }

    /// Returns the connection. The file has to be there: if its folder comes while SQLite opens it, SQLite opens it for
    /// reading only, and the pool would keep that connection.
    pub(super) fn get(&self) -> Result<Connection, StoreError> {
        if self.pool.state().connections == 0 && !self.path.exists() {
            return Err(StoreError::Unavailable(format!(
                "SQLite: there is no file {} yet",
                self.path.display()
            )));
        }
        self.pool
            .get()
            .map_err(|error| StoreError::Unavailable(format!("SQLite: {error}")))
    }
}

/// Returns the URI that opens the file at `path`, and creates none: a new file in the place of a deleted one would have no tables.
fn existing(path: &Path) -> String {
    let path = path.to_string_lossy();
    format!("file:{}?mode=rw", utf8_percent_encode(&path, RESERVED))
}

/// Bytes that end a path in SQLite's URIs.
const RESERVED: &AsciiSet = &CONTROLS.add(b'?').add(b'#').add(b'%');

#[derive(Debug)]
struct SetUp {
    longest_log: u32,
    busy_timeout: Duration,
}

impl CustomizeConnection<SqliteConnection, Error> for SetUp {
    /// Every commit is synced to the disk before it returns: WAL with `synchronous = NORMAL`, which is often recommended, does not.
    fn on_acquire(&self, connection: &mut SqliteConnection) -> Result<(), Error> {
        connection
            .batch_execute(&format!(
                "PRAGMA busy_timeout = {};
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = {};
                 PRAGMA wal_autocheckpoint = {};
                 PRAGMA journal_size_limit = 67108864;
                 PRAGMA cache_size = -16384;
                 PRAGMA temp_store = MEMORY;",
                self.busy_timeout.as_millis(),
                synchronous(),
                self.longest_log
            ))
            .map_err(Error::QueryError)?;
        check_durability(connection).map_err(|error| {
            Error::QueryError(diesel::result::Error::QueryBuilderError(error.into()))
        })
    }
}

/// 2 is FULL.
fn synchronous() -> i64 {
    if Mutant::SynchronousNormal.is_on() {
        1
    } else {
        2
    }
}

/// Fails unless a commit on `connection` is on the disk when it returns.
pub(super) fn check_durability(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let unread = |error| StoreError::Unavailable(format!("SQLite: {error}"));
    let mode = sql_query("SELECT journal_mode AS value FROM pragma_journal_mode()")
        .get_result::<TextValue>(connection)
        .map_err(unread)?;
    let level = sql_query("SELECT synchronous AS value FROM pragma_synchronous()")
        .get_result::<IntValue>(connection)
        .map_err(unread)?;
    if mode.value != "wal" || level.value < synchronous() {
        return Err(StoreError::Unfit(format!(
            "SQLite works with journal_mode = {} and synchronous = {} here, where wal and 2 (FULL) are needed so that a commit survives a \
             power cut: put the file on a local disk",
            mode.value, level.value
        )));
    }
    Ok(())
}

/// Returns the versions of the applied migrations; none without a schema.
pub(in crate::store) fn applied_migrations(
    connection: &mut SqliteConnection,
) -> QueryResult<Vec<String>> {
    let table =
        "SELECT count(*) AS value FROM sqlite_master WHERE name = '__diesel_schema_migrations'";
    if sql_query(table).get_result::<IntValue>(connection)?.value == 0 {
        return Ok(Vec::new());
    }
    let versions = sql_query("SELECT version AS value FROM __diesel_schema_migrations")
        .load::<TextValue>(connection)?;
    Ok(versions.into_iter().map(|version| version.value).collect())
}

#[derive(QueryableByName)]
struct TextValue {
    #[diesel(sql_type = Text)]
    value: String,
}

#[derive(QueryableByName)]
struct IntValue {
    #[diesel(sql_type = BigInt)]
    value: i64,
}

#[cfg(test)]
mod tests {
    use diesel::connection::Connection as _;

    use super::*;

    #[test]
    fn a_missing_file_is_not_made_and_opened_once_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        // Of what ends a path in a URI.
        let path = folder.path().join("50%25 of it? #1.db");
        let one = One::new(&path, 1000, Duration::from_secs(5));
        assert!(matches!(one.get(), Err(StoreError::Unavailable(_))));
        assert_eq!(folder.path().read_dir().expect("readable").count(), 0);
        std::fs::write(&path, "").expect("written");
        one.get()
            .expect("it is there")
            .batch_execute("CREATE TABLE event (id INTEGER)")
            .expect("written to the file");
        assert!(std::fs::metadata(&path).expect("the file").len() > 0);
        // In the place of one that was deleted, a new file would have no tables.
        drop(one);
        std::fs::remove_file(&path).expect("removed");
        let opened = SqliteConnection::establish(&existing(&path));
        assert!(opened.is_err() && !path.exists());
    }
}
