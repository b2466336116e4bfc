//! Folders and files that must survive a power failure and stay private.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of a file with bodies or secrets in it.
pub(crate) const PRIVATE: u32 = 0o600;

/// Creates a private folder and those above it, and syncs their names to the disk. Without that, a
/// power failure can remove the folder together with synced files in it.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder
        .parent()
        .filter(|above| !above.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    create(above)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}

/// Returns the folder of `path`.
pub(crate) fn of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// Returns `path` with `suffix` appended to its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates the empty private file `path` unless it exists. Never opens an existing one: closing it
/// would release SQLite's locks on it.
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
    {
        Ok(file) => file
            .sync_all()
            .and_then(|()| File::open(of(path))?.sync_all()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes the permissions of all other users on the file `path`, with a log line. A file of
/// another user stays as it is, with a warning.
pub(crate) fn make_private(path: &Path) {
    let Some(mode) = crate::runtime::disk::open_to_others(path) else {
        return;
    };
    match fs::set_permissions(path, Permissions::from_mode(mode & !0o077)) {
        Ok(()) => tracing::info!(
            "{}: its permissions were {mode:o}, and are {:o} from now on",
            path.display(),
            mode & !0o077
        ),
        Err(error) => tracing::warn!(
            "{}: others may read it (permissions {mode:o}), and that cannot be changed: {error}",
            path.display()
        ),
    }
}

/// Locks the file `path` while the result is kept, and leaves it empty: a reader of all files of an
/// event folder finds nothing in it. The kernel releases the lock with the process.
pub(crate) fn lock(path: &Path) -> io::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(PRIVATE)
        .open(path)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::Error(error)) => return Err(error),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // For the error message only.
            let _ = lock.take(20).read_to_string(&mut holder);
            let holder = holder
                .trim()
                .trim_start_matches("pid ")
                .parse::<u32>()
                .map_or_else(|_| String::new(), |id| format!(" (its process id is {id})"));
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another process uses it{holder}"),
            ));
        }
    }
    lock.set_len(0)?;
    Ok(lock)
}

/// Locks the file `path` and writes this process's id into it, for the error message of another process.
pub(crate) fn lock_by_name(path: &Path) -> io::Result<File> {
    let mut lock = lock(path)?;
    // The id is for error messages only, so a full disk is no failure.
    let _ = writeln!(lock, "pid {}", std::process::id());
    Ok(lock)
}
