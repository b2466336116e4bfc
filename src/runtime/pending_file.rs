//! A file that is written under another name, and gets its own name when it is whole and on the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use uuid::Uuid;

use super::folder;

/// A private file that has not got its name yet. Dropped before, it is removed.
#[derive(Debug)]
pub(crate) struct PendingFile {
    partial: PathBuf,
    name: PathBuf,
}

impl PendingFile {
    /// Creates the empty file. Fails if `name` is taken.
    pub(crate) fn create(name: &Path) -> io::Result<Self> {
        if name.symlink_metadata().is_ok() {
            return Err(taken());
        }
        // A container's process has the same number after each start.
        let partial = folder::beside(name, &format!(".partial-{}", Uuid::now_v7().simple()));
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(folder::PRIVATE)
            .open(&partial)?;
        drop(file);
        Ok(Self {
            partial,
            name: name.to_owned(),
        })
    }

    /// Returns the path until it has its name.
    pub(crate) fn path(&self) -> &Path {
        &self.partial
    }

    /// Syncs the file and gives it its name, unless another file has taken that. Returns its bytes.
    pub(crate) fn keep(self) -> io::Result<u64> {
        let file = File::open(&self.partial)?;
        file.sync_all()?;
        self.take_name().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => taken(),
            _ => error,
        })?;
        File::open(folder::of(&self.name))?.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

impl PendingFile {
    /// Gives the file its name, unless that is taken.
    fn take_name(&self) -> io::Result<()> {
        match fs::hard_link(&self.partial, &self.name) {
            Ok(()) => fs::remove_file(&self.partial),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // FAT has no links, and NFS no such rename.
            Err(_) => rename_new(&self.partial, &self.name),
        }
    }
}

/// Renames a file, and replaces none.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(
        CWD,
        from,
        CWD,
        to,
        RenameFlags::NOREPLACE,
    )?)
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // There is nothing to do about a file that cannot be removed, and most are not there.
            let _ = fs::remove_file(folder::beside(&self.partial, suffix));
        }
    }
}

fn taken() -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        "the file exists, and is not overwritten: choose another name",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_gets_its_name_whole_and_never_replaces_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = dir.path().join("backup.db");
        let names = || fs::read_dir(dir.path()).expect("readable").count();
        let pending = PendingFile::create(&name).expect("created");
        fs::write(pending.path(), b"whole").expect("written");
        assert!(!name.exists());
        assert_eq!(pending.keep().expect("kept"), 5);
        let mode = fs::metadata(&name).expect("there").permissions().mode();
        assert_eq!((mode & 0o777, names()), (0o600, 1));

        let error = PendingFile::create(&name).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        let other = dir.path().join("other.db");
        let late = PendingFile::create(&other).expect("created");
        fs::write(&other, b"first").expect("written");
        let error = late.keep().expect_err("taken meanwhile");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&other).expect("readable"), b"first");
        assert_eq!(names(), 2, "nothing is left of it");

        // As on FAT.
        let error = rename_new(&name, &other).expect_err("taken");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        rename_new(&name, &dir.path().join("third.db")).expect("renamed");
        assert_eq!(names(), 2);
    }
}
