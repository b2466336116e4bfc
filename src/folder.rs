//! Folders for what must outlive a power failure.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates a folder and those above it, and brings their names to the disk: a file that is synced in a folder that is not there any more
/// is lost all the same.
pub(crate) fn create(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create(above)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(above)?.sync_all()
}
