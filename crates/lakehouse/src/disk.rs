//! Files and folders that are on disk when a function returns.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::Path;

#[cfg(feature = "table")]
use crate::error::LakeError;

/// Permissions of files: bodies may be secret.
const FILE_MODE: u32 = 0o600;
/// Permissions of folders.
const FOLDER_MODE: u32 = 0o700;

/// Creates the file at `path`, which must not exist, and its folders.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        create_folder(folder)?;
    }
    let file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(FILE_MODE)
        .open(path)?;
    give_to_owner(path)?;
    Ok(file)
}

/// Gives a new file or folder to the owner of the folder that it is in: a command that root has run must leave nothing
/// that the service cannot read.
fn give_to_owner(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent() else {
        return Ok(());
    };
    let (owner, new) = (fs::metadata(folder)?, fs::metadata(path)?);
    if owner.uid() == new.uid() {
        return Ok(());
    }
    match chown(path, Some(owner.uid()), Some(owner.gid())) {
        // Only root may, and needs to.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Creates `folder` and those above it, and brings each new name to disk.
pub(crate) fn create_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(above) = folder.parent() {
        create_folder(above)?;
    }
    match DirBuilder::new().mode(FOLDER_MODE).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Err(_) => sync_folder_of(folder),
        Ok(()) => give_to_owner(folder).and_then(|()| sync_folder_of(folder)),
    }
}

/// Replaces the file at `path` by one with `text`, in one step.
pub(crate) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = path.with_file_name(format!(".{name}-{}", uuid::Uuid::now_v7()));
    let written = create(&fresh)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
        })
        .and_then(|()| fs::rename(&fresh, path))
        .and_then(|()| sync_folder_of(path));
    if written.is_err() {
        // It may not exist, or have its final name already.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// Fails if the disk below `path` has less than `floor` bytes of free space, or would have with `more` bytes. If the
/// disk cannot be asked, it counts as one with room: a write shows its trouble.
#[cfg(feature = "table")]
pub(crate) fn check_room(path: &Path, floor: u64, more: u64) -> Result<(), LakeError> {
    if floor == 0 {
        return Ok(());
    }
    match free_bytes(path) {
        Ok(free) if free < floor.saturating_add(more) => Err(LakeError::NoRoom(format!(
            "the disk of {} has {free} bytes of free space; {more} more are needed, and \
             lakehouse.min_free_bytes = {floor} stay free: make room",
            path.display()
        ))),
        _ => Ok(()),
    }
}

/// Returns the free space of the disk below `path`, or below its nearest existing folder, in bytes.
#[cfg(feature = "table")]
fn free_bytes(path: &Path) -> io::Result<u64> {
    let mut above = path
        .ancestors()
        .filter(|above| !above.as_os_str().is_empty());
    let existing = above.find(|above| above.exists());
    let disk = rustix::fs::statvfs(existing.unwrap_or(Path::new(".")))?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Brings the name of `path` to disk.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only root may give files away.
    #[test]
    fn files_and_folders_that_root_makes_belong_to_the_owner_of_the_lakehouse() {
        let lake = tempfile::tempdir().expect("folder");
        if chown(lake.path(), Some(65534), Some(65534)).is_err() {
            return;
        }
        let file = lake.path().join("deep/data/file");
        create(&file).expect("created");
        replace(&lake.path().join("hint"), "1").expect("replaced");
        for made in ["deep", "deep/data", "deep/data/file", "hint"] {
            let made = fs::metadata(lake.path().join(made)).expect("there");
            assert_eq!((made.uid(), made.gid()), (65534, 65534));
        }
    }

    #[test]
    fn a_replaced_file_is_the_new_one_and_nothing_is_left_over() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("hint");
        replace(&path, "1").expect("first");
        replace(&path, "2").expect("second");
        assert_eq!(fs::read_to_string(&path).expect("read"), "2");
        assert_eq!(fs::read_dir(folder.path()).expect("folder").count(), 1);
    }
}
