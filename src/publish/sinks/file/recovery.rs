//! Repair of an event folder after a crash, and a test whether it can be written to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::access::ResolvedAccess;
use super::file_name::FileName;
use crate::runtime::folder;

/// The newest file of a folder, without the torn line that a crash may have left.
pub(super) struct LastFile {
    pub(super) name: FileName,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Length of the whole lines, all of them on disk.
    pub(super) good: u64,
}

/// Opens the newest file of `folder`, and cuts off a torn last line. Returns None if there is no
/// file.
pub(super) fn last_file(folder: &Path, access: ResolvedAccess) -> io::Result<Option<LastFile>> {
    let Some((name, path)) = newest(folder, access)? else {
        return Ok(None);
    };
    let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
    access.apply(&file)?;
    let good = end_of_last_line(&mut file)?;
    // Also syncs lines that another process had written and not synced.
    cut_back(&mut file, good)?;
    Ok(Some(LastFile {
        name,
        path,
        file,
        good,
    }))
}

/// Returns the file with the highest number. The order is by number, because a clock may be set
/// back. Files of earlier runs lose the permissions that are too wide.
fn newest(folder: &Path, access: ResolvedAccess) -> io::Result<Option<(FileName, PathBuf)>> {
    let mut last: Option<(FileName, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(FileName::parse) else {
            continue;
        };
        access.tighten(&entry.path());
        if last
            .as_ref()
            .is_none_or(|(last, _)| name.number > last.number)
        {
            last = Some((name, entry.path()));
        }
    }
    Ok(last)
}

/// Returns the position after the last whole line of `file`.
fn end_of_last_line(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut block = [0; 8192];
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let block = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Cuts `file` off at `good`, and brings it to disk.
pub(super) fn cut_back(file: &mut File, good: u64) -> io::Result<()> {
    file.set_len(good)?;
    file.seek(SeekFrom::Start(good))?;
    file.sync_all()
}

/// Writes a block to `folder`, or to the nearest path above it that exists. Brings the block to disk,
/// and removes it.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    let folder = folder
        .ancestors()
        .find(|folder| folder.exists())
        .unwrap_or(Path::new("."));
    let path = folder.join(format!(".probe-{}", std::process::id()));
    let probe = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(folder::PRIVATE)
        .open(&path);
    let written = probe.and_then(|mut file| {
        file.write_all(&[b'\n'; 4096])
            .and_then(|()| file.sync_data())
    });
    let removed = fs::remove_file(&path);
    written.and(removed)
}
