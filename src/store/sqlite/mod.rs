//! The store in one SQLite file: for one instance, with no server to run.

mod checkpoint;
mod claims;
mod connection;
mod fetched;
mod file;
mod given_up;
mod insert;
mod judge;
mod learned;
mod schema;
mod spool;
mod spool_file;
mod upkeep;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::prelude::*;
use diesel::result::Error;
use diesel::sqlite::Sqlite;

pub use self::spool::{SpoolFile, SpoolUsage};
pub use self::spool_file::SpoolTrouble;

use self::checkpoint::Checkpoints;
use self::claims::{confirm, runs};
use self::connection::One;
use self::file::DatabaseFile;
use self::schema::{clock, event, instance, outbox, parked};
use super::claim::Choice;
use super::clock::DeletionClock;
use super::row::{EventRow, marks, message_key, millis};
use super::{
    Backlog, FetchedKey, Inserted, Learned, LearnedSecret, NewEvent, Parked, Retention, Room, Seq,
    Store, StoreError, StoredEvent, migrations,
};
use crate::config::model;
use crate::config::secret::Secret;
use crate::domain::delivery::{InstanceId, MessageKey, SourceName, wall_clock};

/// The store in one SQLite file.
#[derive(Debug)]
pub(super) struct SqliteStore {
    file: DatabaseFile,
    migrate: model::Migrate,
    writer: One,
    reader: One,
    /// None where commits copy the log by themselves.
    checkpoints: Option<Checkpoints>,
    /// Whether events go on to a store, so that the meaning of their ids is stored as well.
    keeps_class: bool,
    prepared: AtomicBool,
    /// Held a moment ago: whoever had a lease before is dead, and that is still to be written down.
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

    /// With `checkpoints_beside` a thread copies the log into the file, else commits do: in the spool.
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

    /// Applies the migrations that are missing.
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

    /// A connection where none may have been possible yet; says what to do where the file is none of SQLite's.
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

    /// The names of the migrations that are missing in a database that is fit for use.
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

    fn failed(&self, error: &Error) -> StoreError {
        StoreError::Unavailable(self.text(error))
    }

    fn text(&self, error: &Error) -> String {
        format!("{}: {error}", self.file.path().display())
    }
}

/// What undoes a transaction around a migration.
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

impl Store for SqliteStore {
    /// One connection writes. A second thread would wait for it with a batch that could have been larger.
    fn writers(&self, _: usize) -> usize {
        1
    }

    fn prepare(&self) -> Result<(), StoreError> {
        match self.migrate {
            model::Migrate::Auto => drop(self.migrate()?),
            model::Migrate::Check => {
                self.file.make()?;
                drop(self.first_connection()?);
                let applied = self.read(connection::applied_migrations)?;
                migrations::check::<Sqlite>(migrations::SQLITE, &applied)?;
            }
        }
        connection::check_durability(&mut *self.writer.get()?)?;
        self.file.watch()?;
        if self.alone.load(Ordering::Acquire) {
            self.write(|connection| diesel::delete(instance::table).execute(connection))?;
            self.alone.store(false, Ordering::Release);
        }
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    fn hold(&self) -> Result<(), StoreError> {
        if self.file.hold()? {
            self.alone.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn still_fit(&self) -> Result<(), StoreError> {
        self.file.still_there()
    }

    fn close(&self) {
        if self.prepared.swap(false, Ordering::AcqRel)
            && let Err(error) = self
                .writer
                .get()
                .map(|mut connection| checkpoint::fold(&mut connection))
        {
            tracing::warn!(%error, "SQLite's log could not be copied into its file: a copy of the database needs the -wal beside it as well");
        }
    }

    fn insert(
        &self,
        owner: InstanceId,
        batch: &[Arc<NewEvent>],
    ) -> Result<Vec<Inserted>, StoreError> {
        Ok(self.insert_and_confirm(owner, batch, &[])?.0)
    }

    fn insert_and_confirm(
        &self,
        owner: InstanceId,
        batch: &[Arc<NewEvent>],
        rows: &[Seq],
    ) -> Result<(Vec<Inserted>, bool), StoreError> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable(format!(
                "{}: not prepared yet",
                self.file.path().display()
            )));
        }
        self.file.still_there()?;
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.finish(&mut *self.writer.get()?);
        }
        let now = now();
        let mut begun = false;
        let together = self.write(|connection| {
            begun = true;
            confirm(connection, rows, now)?;
            insert::batch(connection, owner, batch, now, self.keeps_class)
        });
        match together {
            // One row may have spoilt it for all.
            Err(StoreError::Unavailable(_)) if begun => {}
            done => {
                let inserted = done?;
                self.file.still_there()?;
                if let Some(checkpoints) = &self.checkpoints {
                    checkpoints.committed(batch);
                }
                return Ok((inserted, true));
            }
        }
        let apart = self.write(|connection| {
            judge::each(connection, batch, |connection, new| {
                insert::batch(connection, owner, new, now, self.keeps_class)
            })
        })?;
        self.file.still_there()?;
        Ok((apart, false))
    }

    fn waiting(&self, rows: &[Seq]) -> Result<Vec<bool>, StoreError> {
        self.read(|connection| {
            rows.iter()
                .map(|row| {
                    diesel::select(diesel::dsl::exists(outbox::table.find(row.0)))
                        .get_result(connection)
                })
                .collect()
        })
    }

    fn claim(
        &self,
        owner: InstanceId,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let now = now();
        let look = upkeep::Look {
            owner,
            now,
            lease: self.lease,
        };
        if self.read(|connection| upkeep::has_lost_rows(connection, look))? {
            self.write(|connection| upkeep::take_over(connection, look, room.events))?;
        }
        self.read(|connection| {
            let mut choice = Choice::new(room, skip);
            claims::offer(connection, owner, now, self.longest_retry, &mut choice)?;
            let mut rows = Vec::new();
            for seq in choice.seqs() {
                // It may have been confirmed in between.
                rows.extend(load_event(connection, seq)?);
            }
            Ok(choice.stored(rows))
        })
    }

    fn confirmed(&self, rows: &[Seq]) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| confirm(connection, rows, now))
    }

    fn postpone(&self, rows: &[Seq], delay: Duration) -> Result<(), StoreError> {
        let due_at = now().saturating_add(millis(delay));
        self.write(|connection| {
            for Seq(seq) in rows {
                diesel::update(outbox::table.find(seq))
                    .set((
                        outbox::attempts.eq(outbox::attempts + 1),
                        outbox::due_at.eq(due_at),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn park(&self, row: Seq, reason: &str) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            if diesel::delete(outbox::table.find(row.0)).execute(connection)? == 1 {
                diesel::insert_into(parked::table)
                    .values((
                        parked::seq.eq(row.0),
                        parked::reason.eq(reason),
                        parked::at.eq(now),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn parked(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.list_parked(after, limit)
    }

    fn parked_event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError> {
        self.show_parked(row)
    }

    fn retry_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.retry(rows, false)
    }

    fn discard_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.discard(rows, false)
    }

    fn renew_lease(&self, owner: InstanceId, lease: Duration) -> Result<(), StoreError> {
        let lasts = (
            instance::alive_until.eq(now().saturating_add(millis(lease))),
            instance::lease_ms.eq(millis(lease)),
        );
        self.write(|connection| {
            diesel::insert_into(instance::table)
                .values((instance::id.eq(&owner.as_bytes()[..]), lasts))
                .on_conflict(instance::id)
                .do_update()
                .set(lasts)
                .execute(connection)
                .map(drop)
        })
    }

    fn release(&self, owner: InstanceId) -> Result<(), StoreError> {
        self.write(|connection| {
            diesel::delete(instance::table.find(&owner.as_bytes()[..]))
                .execute(connection)
                .map(drop)
        })
    }

    fn prune(&self, retention: Retention, limit: usize) -> Result<u64, StoreError> {
        let now = now();
        let last = self.read(|connection| {
            clock::table
                .find(1)
                .select(clock::seen)
                .first::<i64>(connection)
                .optional()
        })?;
        if !self.deletion_clock.is_believed(now, last) {
            return Ok(0);
        }
        self.write(|connection| upkeep::prune(connection, retention, limit, now))
    }

    fn learn(&self, source: &SourceName, secret: &Secret) -> Result<Learned, StoreError> {
        self.learn_secret(source, secret)
    }

    fn learned(&self) -> Result<Vec<LearnedSecret>, StoreError> {
        self.learned_secrets()
    }

    fn forget(&self, source: &SourceName) -> Result<bool, StoreError> {
        self.forget_secret(source)
    }

    fn keep_fetched(&self, key: &FetchedKey) -> Result<(), StoreError> {
        self.keep_fetched_key(key)
    }

    fn fetched(&self) -> Result<Vec<FetchedKey>, StoreError> {
        self.fetched_keys()
    }

    fn backlog(&self) -> Result<Backlog, StoreError> {
        let now = now();
        self.read(|connection| claims::backlog(connection, now))
    }
}

fn load_event(connection: &mut SqliteConnection, seq: i64) -> QueryResult<Option<EventRow>> {
    type Row = (
        Vec<u8>,
        String,
        String,
        Option<String>,
        Option<String>,
        String,
        i64,
        Vec<u8>,
        Option<Vec<u8>>,
        Option<Vec<u8>>,
    );
    let row = event::table
        .find(seq)
        .select((
            event::key,
            event::source,
            event::event_id,
            event::event_type,
            event::content_type,
            event::headers,
            event::received_at,
            event::body,
            event::conflict_of,
            event::same_bytes_as,
        ))
        .first::<Row>(connection)
        .optional()?;
    row.map(
        |(
            key,
            source,
            event_id,
            event_type,
            content_type,
            headers,
            received_at,
            body,
            conflict_of,
            same_bytes_as,
        )| {
            let marks = marks(conflict_of.as_deref(), same_bytes_as.as_deref())?;
            Ok(EventRow {
                seq,
                message: message_key(&key)?,
                marks,
                source,
                event_id,
                event_type,
                content_type,
                headers,
                received_at,
                body,
            })
        },
    )
    .transpose()
}
