//! Opening the spool's file, and the ways in which it can be unusable.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use diesel::prelude::*;
use rustix::fs::{Access, access};

use super::file::DatabaseFile;
use super::{SpoolFile, SqliteStore};
use crate::config::model;
use crate::domain::delivery::wall_clock;
use crate::runtime::disk;
use crate::runtime::folder;
use crate::store::{Housekeeping, StoreError};

/// Time that a statement waits for another one to be done with the file.
const BUSY: Duration = Duration::from_secs(5);

/// Reason why the spool's file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpoolTrouble {
    /// It is no database, or a damaged one: another has to take its place.
    Broken(String),
    /// It may be whole, and cannot be used now: no rights, a full disk, another process.
    Unusable(String),
}

impl SpoolTrouble {
    /// Returns the reason in words.
    pub fn text(&self) -> &str {
        let (Self::Broken(text) | Self::Unusable(text)) = self;
        text
    }
}

impl From<StoreError> for SpoolTrouble {
    /// SQLite's own texts for damage; diesel keeps its codes to itself.
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        let damaged = ["file is not a database", "database disk image is malformed"]
            .iter()
            .any(|damage| text.contains(damage));
        if damaged {
            Self::Broken(text)
        } else {
            Self::Unusable(text)
        }
    }
}

/// Returns the reason why `path` cannot be opened, with its owner if that is the reason.
fn denied(path: &Path, error: &io::Error) -> String {
    match fs::metadata(path) {
        Ok(file) if error.kind() == io::ErrorKind::PermissionDenied => format!(
            "{error}; its owner is user {} and its permissions are {:o}: give it to the service's user with `chown`",
            file.uid(),
            file.mode() & 0o7777
        ),
        _ => error.to_string(),
    }
}

impl SpoolFile {
    /// Opens the file at `path`, or creates it, and locks it for this process. Fails if a commit
    /// would not be on a disk, unless `unsafely`.
    pub fn open(path: &Path, unsafely: bool) -> Result<Self, SpoolTrouble> {
        if !unsafely && let Some(why) = disk::refusal(path, "the spool", "spool.path") {
            return Err(SpoolTrouble::Unusable(why));
        }
        let file = DatabaseFile::new(path);
        let unusable = |error: &dyn std::fmt::Display| {
            SpoolTrouble::Unusable(format!("{}: {error}", path.display()))
        };
        if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
            return Err(unusable(&"it is no file; move what is there away"));
        }
        file.hold()
            .map_err(|error| SpoolTrouble::Unusable(error.to_string()))?;
        file.make()
            .map_err(|error| SpoolTrouble::Unusable(error.to_string()))?;
        // SQLite tells no reason.
        if let Err(error) = access(path, Access::READ_OK | Access::WRITE_OK) {
            return Err(unusable(&denied(path, &error.into())));
        }
        if file.is_foreign().map_err(|error| unusable(&error))? {
            return Err(SpoolTrouble::Broken(format!(
                "{}: it is not a SQLite database: its first bytes are others",
                path.display()
            )));
        }
        // A pool would try for as long as a statement may take.
        SqliteConnection::establish(&path.to_string_lossy()).map_err(|error| unusable(&error))?;
        let store = SqliteStore::at(path, model::Migrate::Auto, BUSY, false)?;
        // The lock goes with the store.
        let store = SqliteStore { file, ..store };
        store.prepare()?;
        Ok(Self(store))
    }

    /// Opens the file at `path` for a command, beside the process that has it. Creates and changes
    /// nothing.
    pub fn visit(path: &Path) -> Result<Self, SpoolTrouble> {
        let store = SqliteStore::at(path, model::Migrate::Check, BUSY, false)?;
        let unusable = |error: &dyn std::fmt::Display| {
            SpoolTrouble::Unusable(format!("{}: {error}", path.display()))
        };
        if store.file.is_foreign().map_err(|error| unusable(&error))? {
            return Err(SpoolTrouble::Broken(format!(
                "{}: it is not a SQLite database: its first bytes are others",
                path.display()
            )));
        }
        // A pool would try for as long as a statement may take.
        SqliteConnection::establish(&path.to_string_lossy()).map_err(|error| unusable(&error))?;
        if !store.pending()?.is_empty() {
            return Err(unusable(
                &"its tables are those of an earlier release; the service brings them up to date when it starts",
            ));
        }
        Ok(Self(store))
    }

    /// See [`Housekeeping::still_fit`].
    pub fn fit(&self) -> Result<(), StoreError> {
        self.0.still_fit()
    }

    /// See [`Housekeeping::close`].
    pub fn close(&self) {
        self.0.close();
    }

    /// Renames the broken file at `path`, with SQLite's files beside it, so that it can be
    /// repaired. Nobody may have it open. Returns its new name.
    pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
        let now = jiff::Timestamp::from_millisecond(wall_clock().0)
            .unwrap_or_default()
            .strftime("%Y%m%dT%H%M%SZ")
            .to_string();
        let names = (0..100).map(|n| {
            if n == 0 {
                format!(".broken-{now}")
            } else {
                format!(".broken-{now}-{n}")
            }
        });
        let aside = names
            .map(|name| folder::beside(path, &name))
            .find(|aside| !aside.exists())
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "too many broken files lie beside it",
                )
            })?;
        fs::rename(path, &aside)?;
        for suffix in ["-wal", "-shm"] {
            match fs::rename(folder::beside(path, suffix), folder::beside(&aside, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        File::open(folder::of(path))?.sync_all()?;
        Ok(aside)
    }
}
