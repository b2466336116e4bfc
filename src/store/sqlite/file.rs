//! The database file: private, locked by the one process that serves from it, and looked at before and after each commit. SQLite goes on
//! with a file that was deleted, and what is committed there is gone with the process.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::runtime::disk::Identity;
use crate::runtime::folder;
use crate::store::StoreError;

/// The first bytes of every SQLite database.
const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// A database file, with SQLite's log beside it.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    log: PathBuf,
    lock: Mutex<Option<File>>,
    seen: Mutex<Seen>,
}

/// The files that connections have open.
#[derive(Debug, Default)]
struct Seen {
    database: Option<Identity>,
    log: Option<Identity>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl DatabaseFile {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.into(),
            log: folder::beside(path, "-wal"),
            lock: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the file for this process, for as long as this value lives; false if it has it already. Fails with [`StoreError::Unfit`] if another
    /// process has it.
    pub(super) fn hold(&self) -> Result<bool, StoreError> {
        let mut held = locked(&self.lock);
        if held.is_some() {
            return Ok(false);
        }
        let lock = folder::create(folder::of(&self.path))
            .and_then(|()| folder::lock_by_name(&folder::beside(&self.path, ".lock")));
        match lock {
            Ok(lock) => *held = Some(lock),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                return Err(StoreError::Unfit(format!(
                    "{}: {error}; a SQLite file serves one process: stop the other one, or give each a file of its own",
                    self.path.display()
                )));
            }
            Err(error) => return Err(self.unavailable(&error)),
        }
        Ok(true)
    }

    /// Creates folder and file where they are missing, and takes the permissions of others away.
    pub(super) fn make(&self) -> Result<(), StoreError> {
        folder::create(folder::of(&self.path))
            .and_then(|()| folder::create_private(&self.path))
            .map_err(|error| self.unavailable(&error))?;
        for suffix in ["", "-wal", "-shm", ".lock"] {
            folder::make_private(&folder::beside(&self.path, suffix));
        }
        Ok(())
    }

    /// From now on [`Self::still_there`] is about the files that are there now.
    pub(super) fn watch(&self) -> Result<(), StoreError> {
        let of = |path: &Path| Identity::of(path).map_err(|error| self.unavailable(&error));
        *locked(&self.seen) = Seen {
            database: of(&self.path)?,
            log: of(&self.log)?,
        };
        Ok(())
    }

    /// Fails if what is committed would go into a file that was deleted, or moved away.
    pub(super) fn still_there(&self) -> Result<(), StoreError> {
        let mut seen = locked(&self.seen);
        if seen.database.is_none() {
            return Ok(());
        }
        if Identity::of(&self.path).map_err(|error| self.unavailable(&error))? != seen.database {
            return Err(self.gone(&self.path));
        }
        let log = Identity::of(&self.log).map_err(|error| self.unavailable(&error))?;
        if log != seen.log {
            // SQLite itself deletes the log where a connection was the last one to close.
            if seen.log.is_some_and(Identity::is_open) {
                return Err(self.gone(&self.log));
            }
            seen.log = log;
        }
        Ok(())
    }

    /// A file that is none of SQLite's. Opens it: only for a file that no connection of this process has open.
    pub(super) fn is_foreign(&self) -> io::Result<bool> {
        let file = fs::metadata(&self.path)?;
        if !file.is_file() || file.len() == 0 {
            return Ok(false);
        }
        let mut header = [0; HEADER.len()];
        match io::Read::read_exact(&mut File::open(&self.path)?, &mut header) {
            Ok(()) => Ok(header != *HEADER),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn gone(&self, path: &Path) -> StoreError {
        StoreError::Unfit(format!(
            "{} was deleted, moved or replaced while in use: deliveries are answered 503, since what is committed now would be gone with this \
             process. Put it back, or restart: a new database is begun then. What the old one holds can be copied from /proc/{}/fd before",
            path.display(),
            std::process::id()
        ))
    }

    fn unavailable(&self, error: &io::Error) -> StoreError {
        StoreError::Unavailable(format!("{}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_who_has_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/a.db");
        let first = DatabaseFile::new(&path);
        assert!(first.hold().expect("free"));
        assert!(!first.hold().expect("it has it already"));
        let refused = DatabaseFile::new(&path)
            .hold()
            .expect_err("the first has it");
        assert!(
            matches!(&refused, StoreError::Unfit(text) if text.contains(&std::process::id().to_string())),
            "{refused}"
        );
        drop(first);
        DatabaseFile::new(&path).hold().expect("free again");
    }

    #[test]
    fn a_file_that_is_none_of_sqlites_is_told_from_an_empty_one_and_from_a_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = DatabaseFile::new(&folder.path().join("a.db"));
        assert!(file.is_foreign().is_err(), "it is not there");
        for (content, foreign) in [
            (&b""[..], false),
            (b"garbage", true),
            (b"sixteen bytes and more", true),
            (b"SQLite format 3\0...", false),
        ] {
            fs::write(file.path(), content).expect("written");
            assert_eq!(file.is_foreign().expect("readable"), foreign, "{content:?}");
        }
        assert!(
            !DatabaseFile::new(folder.path())
                .is_foreign()
                .expect("readable"),
            "a folder"
        );
    }
}
