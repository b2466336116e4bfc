//! Folders and files for what must outlive a power failure, and what nobody else may read.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of a file with bodies or secrets in it.
pub(crate) const PRIVATE: u32 = 0o600;

/// Creates a folder and those above it, for nobody else to look into, and brings their names to the disk: a file that is synced in a
/// folder that is not there any more is lost all the same.
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

/// The folder that `path` lies in.
pub(crate) fn of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// `path` with `suffix` behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates the empty file `path`, for nobody else to read, unless it is there. Never opens one that is there: closing it would take
/// SQLite's locks on it away.
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

/// Takes everybody else's permissions on the file `path` away, and says so. A file that belongs to another user is left as it is, with a
/// warning.
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

/// Locks the file `path` for as long as the answer is kept. The kernel frees it with the process. The file is empty: whoever reads all
/// files of a folder of events finds nothing in it.
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
            // Only for the words.
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

/// As [`lock`], and writes this process's id into the file, for the words of the next that wants it.
pub(crate) fn lock_by_name(path: &Path) -> io::Result<File> {
    let mut lock = lock(path)?;
    // A full disk is no reason.
    let _ = writeln!(lock, "pid {}", std::process::id());
    Ok(lock)
}
