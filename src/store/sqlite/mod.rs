//! The store in one SQLite file: for one instance, with no server to run.

mod audit;
mod catalog;
mod checkpoint;
mod claims;
mod connection;
mod cursor;
mod decisions;
mod file;
mod finder;
mod housekeeping;
mod insert;
mod intake;
mod judge;
mod order;
mod outbox;
mod pause;
mod quarantine;
mod relocation;
mod republish;
mod schema;
mod secrets;
mod size;
mod spool;
mod spool_erasure;
mod spool_file;
mod transfer;
mod upkeep;

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::Error;
use diesel::sqlite::Sqlite;

pub use self::spool::{SpoolFile, SpoolUsage};
pub use self::spool_file::SpoolTrouble;

pub(super) use self::connection::applied_migrations;

use self::checkpoint::Checkpoints;
use self::connection::One;
use self::file::DatabaseFile;
use self::schema::event;
use super::clock::DeletionClock;
use super::row::{EventRow, marks, message_key};
use super::{StoreError, migrations};
use crate::config::model;
use crate::domain::delivery::wall_clock;

/// The store in one SQLite file.
#[derive(Debug)]
pub(super) struct SqliteStore {
    file: DatabaseFile,
    migrate: model::Migrate,
    writer: One,
    reader: One,
    /// Thread that copies the log. None if commits do.
    checkpoints: Option<Checkpoints>,
    /// Events go on to a store, so that the meaning of their ids is stored too.
    keeps_class: bool,
    prepared: AtomicBool,
    /// The file was locked a moment ago: instances with a lease are dead, and their leases have to
    /// be deleted.
    alone: AtomicBool,
    lease: Duration,
    longest_retry: Duration,
    deletion_clock: DeletionClock,
}

impl SqliteStore {
    pub(super) fn new(path: &Path, config: &model::Store) -> Result<Self, StoreError> {
        let store = Self::at(path, config.migrate, config.statement_timeout, true)?;
        Ok(Self {
            lease: config.lease,
            longest_retry: config.longest_retry,
            ..store
        })
    }

    /// Returns a store beside the one that accepts deliveries, without a thread of its own.
    pub(super) fn beside(path: &Path, config: &model::Store) -> Result<Self, StoreError> {
        let migrate = model::Migrate::Check;
        Self::at(path, migrate, config.statement_timeout, false)
    }

    /// Opens the file at `path`. With `checkpoints_beside` a thread copies the log into the file;
    /// in the spool commits do.
    fn at(
        path: &Path,
        migrate: model::Migrate,
        busy_timeout: Duration,
        checkpoints_beside: bool,
    ) -> Result<Self, StoreError> {
        let longest_log = if checkpoints_beside {
            checkpoint::LONGEST_LOG
        } else {
            checkpoint::LONG_LOG
        };
        Ok(Self {
            file: DatabaseFile::new(path),
            migrate,
            writer: One::new(path, longest_log, busy_timeout),
            reader: One::new(path, longest_log, busy_timeout),
            checkpoints: if checkpoints_beside {
                Some(Checkpoints::start(path, busy_timeout)?)
            } else {
                None
            },
            keeps_class: !checkpoints_beside,
            prepared: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            lease: Duration::ZERO,
            longest_retry: Duration::ZERO,
            deletion_clock: DeletionClock::default(),
        })
    }

    /// Applies the missing migrations.
    pub(super) fn migrate(&self) -> Result<Vec<String>, StoreError> {
        self.file.make()?;
        let mut connection = self.first_connection()?;
        let applied =
            connection::applied_migrations(&mut connection).map_err(|error| self.failed(&error))?;
        if migrations::check::<Sqlite>(migrations::SQLITE, &applied).is_ok() {
            return Ok(Vec::new());
        }
        // Exclusive, so that of two processes the second finds the work done.
        connection
            .exclusive_transaction(|connection| {
                migrations::run(connection, migrations::SQLITE).map_err(Failed::Store)
            })
            .map_err(|failed| failed.into_store_error(self))
    }

    /// Returns a connection that may be the first one. The error says what to do if the file is no
    /// SQLite database.
    fn first_connection(&self) -> Result<connection::Connection, StoreError> {
        self.writer.get().map_err(|error| match self.file.is_foreign() {
            Ok(true) => StoreError::Unfit(format!(
                "{} is not a SQLite database: its first bytes are others. Nothing is stored, and deliveries are answered 503. Bring a backup \
                 back, or move it away together with its -wal, and a new one is begun",
                self.file.path().display()
            )),
            _ => error,
        })
    }

    /// Returns the names of the missing migrations, in a database that is fit for use.
    pub(super) fn pending(&self) -> Result<Vec<String>, StoreError> {
        connection::check_durability(&mut *self.writer.get()?)?;
        migrations::pending::<Sqlite>(
            migrations::SQLITE,
            &self.read(connection::applied_migrations)?,
        )
    }

    /// Runs `work` in one transaction that is on the disk when this returns.
    fn write<T>(
        &self,
        mut work: impl FnMut(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let mut committing = false;
        self.writer
            .get()?
            .immediate_transaction(|connection| {
                let done = work(connection)?;
                committing = true;
                Ok(done)
            })
            .map_err(|error: Error| match committing {
                true => StoreError::Ambiguous(self.text(&error)),
                false => self.failed(&error),
            })
    }

    fn read<T>(
        &self,
        work: impl FnOnce(&mut SqliteConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        work(&mut *self.reader.get()?).map_err(|error| self.failed(&error))
    }

    /// Returns the reason for `error`: a file that was deleted, or the words of SQLite.
    fn failed(&self, error: &Error) -> StoreError {
        self.file
            .still_there()
            .err()
            .unwrap_or_else(|| StoreError::Unavailable(self.text(error)))
    }

    fn text(&self, error: &Error) -> String {
        format!("{}: {error}", self.file.path().display())
    }
}

#[diesel::declare_sql_function]
extern "SQL" {
    fn length(bytes: diesel::sql_types::Binary) -> diesel::sql_types::Integer;
}

/// Error that rolls a migration's transaction back.
enum Failed {
    Query(Error),
    Store(StoreError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}

impl Failed {
    fn into_store_error(self, store: &SqliteStore) -> StoreError {
        match self {
            Self::Query(error) => store.failed(&error),
            Self::Store(error) => error,
        }
    }
}

fn now() -> i64 {
    wall_clock().0
}

/// Columns of an event.
#[derive(Queryable, Selectable)]
#[diesel(table_name = event)]
struct EventColumns {
    key: Vec<u8>,
    source: String,
    event_id: String,
    event_type: Option<String>,
    content_type: Option<String>,
    headers: String,
    received_at: i64,
    body: Vec<u8>,
    conflict_of: Option<Vec<u8>>,
    same_bytes_as: Option<Vec<u8>>,
    verified_by: Option<String>,
}

impl EventColumns {
    fn into_row(self, seq: i64) -> QueryResult<EventRow> {
        Ok(EventRow {
            seq,
            message: message_key(&self.key)?,
            marks: marks(self.conflict_of.as_deref(), self.same_bytes_as.as_deref())?,
            source: self.source,
            event_id: self.event_id,
            event_type: self.event_type,
            content_type: self.content_type,
            headers: self.headers,
            received_at: self.received_at,
            body: self.body,
            verified_by: self.verified_by,
        })
    }
}

/// Returns an event with its headers and body.
fn load_event(connection: &mut SqliteConnection, seq: i64) -> QueryResult<Option<EventRow>> {
    event::table
        .find(seq)
        .select(EventColumns::as_select())
        .first(connection)
        .optional()?
        .map(|columns| columns.into_row(seq))
        .transpose()
}
