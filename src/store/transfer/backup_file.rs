//! The file of a backup: a SQLite store that no instance has.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::Text;
use diesel::sqlite::Sqlite;

use super::sqlite::failed;
use super::{RowCounts, counts_of_file};
use crate::runtime::pending_file::PendingFile;
use crate::store::relocation::{Relocation, StoreEnd as _};
use crate::store::sqlite::applied_migrations;
use crate::store::{StoreError, migrations};

/// A backup that is whole and of a schema that this release knows.
pub(super) struct BackupFile {
    path: PathBuf,
    /// Copy with the present schema, if the backup is older. Removed at the end.
    migrated: Option<PendingFile>,
}

impl BackupFile {
    /// Opens the empty file at `path`, and gives it the schema. It is synced when it is kept: until then
    /// nothing depends on it.
    pub(super) fn begin(path: &Path) -> Result<SqliteConnection, StoreError> {
        let mut connection = connect(path)?;
        connection
            .batch_execute(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -16384",
            )
            .map_err(|error| failed(&error))?;
        migrations::run::<Sqlite>(&mut connection, migrations::SQLITE)?;
        connection
            .batch_execute("BEGIN")
            .map_err(|error| failed(&error))?;
        Ok(connection)
    }

    /// Ends the writing that [`Self::begin`] has begun.
    pub(super) fn end(mut connection: SqliteConnection) -> Result<(), StoreError> {
        connection
            .batch_execute("COMMIT")
            .map_err(|error| failed(&error))
    }

    /// Removes what belongs to instances, and checks the file. Returns the number of rows of each table
    /// that has some, and the mark of a move that the store had.
    pub(super) fn finish(path: &Path) -> Result<(RowCounts, Option<Relocation>), StoreError> {
        let mut connection = connect(path)?;
        let mark = Relocation::whole(&mut connection)?;
        connection
            .batch_execute("PRAGMA journal_mode = DELETE; DELETE FROM instance; DELETE FROM clock; DELETE FROM relocation")
            .map_err(|error| failed(&error))?;
        // Of a store that a move has closed.
        connection.reopen()?;
        check_integrity(&mut connection, path)?;
        Ok((counts_of_file(&mut connection)?, mark))
    }

    /// Opens a backup to read it. An older one is copied beside itself, and the copy brought up to date.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            return Err(StoreError::Unfit(format!(
                "{} is no file: name one that `hookweir backup` has written",
                path.display()
            )));
        }
        let mut connection = connect(path)?;
        check_integrity(&mut connection, path)?;
        let applied = applied_migrations(&mut connection).map_err(|error| failed(&error))?;
        if applied.is_empty() {
            return Err(StoreError::Unfit(format!(
                "{} is no backup of Hookweir: it has none of its tables",
                path.display()
            )));
        }
        migrations::refuse_later::<Sqlite>(migrations::SQLITE, &applied)?;
        let missing = migrations::pending::<Sqlite>(migrations::SQLITE, &applied)?;
        let mut opened = Self {
            path: path.to_owned(),
            migrated: None,
        };
        if !missing.is_empty() {
            opened.migrated = Some(migrated_copy(&mut connection, path)?);
        }
        Ok(opened)
    }

    /// Returns a connection that reads the backup.
    pub(super) fn connect(&self) -> Result<SqliteConnection, StoreError> {
        connect(self.migrated.as_ref().map_or(&self.path, PendingFile::path))
    }

    /// Returns the size of the backup, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.path.metadata().map_or(0, |file| file.len())
    }
}

/// Copies the backup into a file beside it, and brings the copy up to date.
fn migrated_copy(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<PendingFile, StoreError> {
    let name = crate::runtime::folder::beside(path, ".migrated");
    let copy = PendingFile::create(&name)
        .map_err(|error| StoreError::Unfit(format!("{}: {error}", name.display())))?;
    copy_into(connection, copy.path())?;
    let mut connection = connect(copy.path())?;
    migrations::run::<Sqlite>(&mut connection, migrations::SQLITE)?;
    Ok(copy)
}

/// Copies the whole database of a connection, as it is at this moment, into an empty file.
pub(in crate::store) fn copy_into(
    connection: &mut SqliteConnection,
    path: &Path,
) -> Result<(), StoreError> {
    sql_query("VACUUM INTO ?")
        .bind::<Text, _>(path.to_string_lossy().into_owned())
        .execute(connection)
        .map(drop)
        .map_err(|error| failed(&error))
}

fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::establish(&path.to_string_lossy())
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))
}

/// Fails if the file is damaged, or no SQLite database.
fn check_integrity(connection: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    #[derive(QueryableByName)]
    struct Finding {
        #[diesel(sql_type = Text)]
        integrity_check: String,
    }
    let found = sql_query("PRAGMA integrity_check(1)").get_result::<Finding>(connection);
    let damage = match found {
        Ok(Finding { integrity_check }) if integrity_check == "ok" => return Ok(()),
        Ok(Finding { integrity_check }) => integrity_check,
        Err(error) => error.to_string(),
    };
    Err(StoreError::Unfit(format!(
        "{} is damaged, or no SQLite database, and nothing was changed: {damage}",
        path.display()
    )))
}
