//! All that a store holds, brought into another store: a backup, and its way back.
//!
//! A backup is a SQLite store. It holds everything but leases, so that what waits is taken over by the next
//! instance.

mod backup_file;
mod ends;
mod row;
mod tables;

pub(super) mod postgres;
pub(super) mod sqlite;

use std::path::Path;

use diesel::result::Error;
use diesel::sqlite::SqliteConnection;

use self::backup_file::BackupFile;
pub(super) use self::backup_file::copy_into;
pub(super) use self::ends::{TableReader, TableWriter, carry};
pub(super) use self::row::{CarriedRow, Cell};
pub(super) use self::tables::{CARRIED, CarriedTable, CellKind};
use super::StoreError;
use super::postgres::PostgresStore;
use super::relocation::Relocation;
use super::sqlite::SqliteStore;
use crate::config::model;
use crate::runtime::pending_file::PendingFile;

/// Number of rows, by kind, in words.
type RowCounts = Vec<(&'static str, u64)>;

/// Numbers that are left free after a restore. The numbers of events that came after the backup are among
/// them, and are not given again: a reader by number sees each later event.
const FREE_NUMBERS: i64 = 1_000_000_000;

/// Contents of a store that were carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Number of rows of each table that has some, with a word for them.
    pub rows: RowCounts,
    /// Size of the backup, in bytes.
    pub bytes: u64,
    /// Remark for the person who has made a backup of a store that has a mark of a move.
    pub remark: Option<String>,
}

/// Error that rolls a transfer back.
pub(super) struct TransferError(pub(super) StoreError);

impl From<Error> for TransferError {
    fn from(error: Error) -> Self {
        Self(StoreError::Unavailable(error.to_string()))
    }
}

impl From<StoreError> for TransferError {
    fn from(error: StoreError) -> Self {
        Self(error)
    }
}

/// Writes all that the store holds at this moment into the new file `place`, and checks it. Instances go on
/// meanwhile.
pub fn backup(config: &model::Store, place: &Path) -> Result<Contents, StoreError> {
    let written = |error| StoreError::Unfit(format!("{}: {error}", place.display()));
    let file = PendingFile::create(place).map_err(written)?;
    let mut mark = None;
    let expected = match &config.url {
        model::StoreUrl::Sqlite(path) => {
            SqliteStore::new(path, config)?.copy_into(file.path())?;
            None
        }
        model::StoreUrl::Postgres(url) => {
            let store = PostgresStore::new(url, config, 1)?.behind_what()?;
            let mut to = BackupFile::begin(file.path())?;
            let last = |from: &mut dyn TableReader| {
                mark = Relocation::whole(from)?;
                let rows = carry_all(from, &mut to)?;
                to.set_last_number(from.last_number()?)?;
                Ok(rows)
            };
            let rows = store.carry_out(last)?;
            BackupFile::end(to)?;
            Some(rows)
        }
    };
    let (rows, mark_of_file) = BackupFile::finish(file.path())?;
    if expected.is_some_and(|expected| expected != rows) {
        return Err(StoreError::Unfit(
            "the backup does not hold what was read: the disk or SQLite has failed; nothing is left of it".into(),
        ));
    }
    let bytes = file.keep().map_err(written)?;
    let remark = mark.or(mark_of_file).map(|mark| mark.remark());
    Ok(Contents {
        rows,
        bytes,
        remark,
    })
}

/// Brings all that the backup at `place` holds into the empty store of `config`, in one transaction.
pub fn restore(config: &model::Store, place: &Path) -> Result<Contents, StoreError> {
    let backup = BackupFile::open(place)?;
    let bytes = backup.bytes();
    let mut from = backup.connect()?;
    let rows = into_empty(config, &mut |to| {
        let rows = carry_all(&mut from, to)?;
        let last = TableReader::last_number(&mut from)?;
        to.set_last_number(last.saturating_add(FREE_NUMBERS))?;
        Ok(rows)
    })?;
    Ok(Contents {
        rows,
        bytes,
        remark: None,
    })
}

/// Runs `work` in one transaction on the store of `config`, which has to be empty and without an instance.
fn into_empty(
    config: &model::Store,
    work: &mut dyn FnMut(&mut dyn TableWriter) -> Result<RowCounts, StoreError>,
) -> Result<RowCounts, StoreError> {
    let mut checked = |to: &mut dyn TableWriter| {
        refuse_rows(to)?;
        work(to)
    };
    match &config.url {
        model::StoreUrl::Sqlite(path) => SqliteStore::new(path, config)?.carry_in(&mut checked),
        model::StoreUrl::Postgres(url) => PostgresStore::new(url, config, 1)?
            .behind_what()?
            .carry_in(&mut checked),
    }
}

/// Fails if the store holds anything.
pub(super) fn refuse_rows(to: &mut dyn TableWriter) -> Result<(), StoreError> {
    let found = counts(to)?;
    if found.is_empty() {
        return Ok(());
    }
    let found: Vec<String> = found
        .iter()
        .map(|(rows, count)| format!("{count} {rows}"))
        .collect();
    Err(StoreError::Unfit(format!(
        "the store is not empty ({}), and nothing was changed: name an empty one, a new file or schema, in store.url or store.schema",
        found.join(", ")
    )))
}

/// Copies every table. Returns the number of rows of each that has some.
fn carry_all(
    from: &mut dyn TableReader,
    to: &mut dyn TableWriter,
) -> Result<RowCounts, StoreError> {
    let mut rows = Vec::new();
    for table in CARRIED {
        let stored = carry(from, to, table, "")?;
        let found = to.count(table)?;
        if found != stored {
            return Err(StoreError::Unavailable(format!(
                "table {}: {stored} rows were stored and {found} are there",
                table.name
            )));
        }
        rows.push((table.rows, stored));
    }
    rows.retain(|(_, count)| *count > 0);
    Ok(rows)
}

/// Returns the number of rows of each table that has some.
pub(super) fn counts(of: &mut dyn TableWriter) -> Result<RowCounts, StoreError> {
    let mut rows = Vec::new();
    for table in CARRIED {
        rows.push((table.rows, of.count(table)?));
    }
    rows.retain(|(_, count)| *count > 0);
    Ok(rows)
}

/// Returns the number of rows of each table that a backup holds.
fn counts_of_file(connection: &mut SqliteConnection) -> Result<RowCounts, StoreError> {
    counts(connection)
}
