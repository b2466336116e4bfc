//! Files of the file sink: `events-<time it was begun, UTC>-<number>.jsonl`. The file with the
//! highest number is written to.
//!
//! - If [`FileWriter::append`] returns `Ok`, the lines are on disk: one fsync for a batch, and one
//!   of the folder for a new file.
//! - A line is whole or absent. The rest of a failed append is cut off at once, or after a crash
//!   when the folder is opened again. A torn line can therefore only be the last one of the last
//!   file.
//! - One process writes to a folder: the file `.lock` is locked while the writer is open.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::{Access, ResolvedAccess};
use super::file_name::FileName;
use super::recovery::{cut_back, last_file};
use crate::domain::delivery::UnixMillis;
use crate::runtime::disk::Identity;
use crate::runtime::folder;

/// File that is locked while the folder is open.
const LOCK: &str = ".lock";

/// Size and age at which a file is closed and a new one begun.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// Size in bytes. A batch is not divided, so a file may be larger.
    pub bytes: u64,
    /// Age since the file was begun.
    pub age: Duration,
}

/// An open, locked event folder.
#[derive(Debug)]
pub struct FileWriter {
    folder: PathBuf,
    rotation: Rotation,
    access: ResolvedAccess,
    current: Option<CurrentFile>,
    last_number: u64,
    lock: File,
}

#[derive(Debug)]
struct CurrentFile {
    file: File,
    path: PathBuf,
    /// Length of the whole lines, all of them on disk.
    good: u64,
    begun: UnixMillis,
    /// Time at which this process opened the file. It bounds the age if the clock was ahead before.
    opened: Instant,
}

impl CurrentFile {
    /// Returns `false` if the file was deleted or moved away.
    fn is_there(&self) -> io::Result<bool> {
        is_at(&self.file, &self.path)
    }
}

impl FileWriter {
    /// Creates `folder` if needed, locks it, and repairs the last file after a crash.
    pub fn open(
        folder: &Path,
        rotation: Rotation,
        access: &Access,
        now: UnixMillis,
    ) -> io::Result<Self> {
        let access = access.resolve()?;
        folder::create(folder)?;
        access.open_folder(folder)?;
        let lock = folder::lock(&folder.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                io::Error::other(format!("{error}; give each its own folder"))
            }
            _ => error,
        })?;
        let mut writer = Self {
            folder: folder.to_owned(),
            rotation,
            access,
            current: None,
            last_number: 0,
            lock,
        };
        if let Some(last) = last_file(folder, access)? {
            writer.last_number = last.name.number;
            writer.current = Some(CurrentFile {
                file: last.file,
                path: last.path,
                good: last.good,
                begun: last.name.begun,
                opened: Instant::now(),
            });
        }
        writer.rotate_if_due(now);
        Ok(writer)
    }

    /// Appends `lines`, each with its line end, and brings them to disk.
    ///
    /// Drop the writer after an error: a second sync may succeed without having written anything.
    /// If the current file was moved away or deleted, a new one is begun. If the folder is gone,
    /// this fails, and the next [`Self::open`] creates it.
    pub fn append(&mut self, lines: &[u8], now: UnixMillis) -> io::Result<()> {
        if !is_at(&self.lock, &self.folder.join(LOCK))? {
            return Err(io::Error::other(
                "it was deleted, or replaced, while in use; it is made again",
            ));
        }
        self.rotate_if_due(now);
        if let Some(gone) = self
            .current
            .take_if(|current| !current.is_there().unwrap_or(false))
        {
            tracing::warn!(
                "the event file {} was moved away or deleted while in use; a new one is begun",
                gone.path.display()
            );
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let begun = Self::begin(&self.folder, self.access, self.last_number + 1, now)?;
                self.last_number += 1;
                self.current.insert(begun)
            }
        };
        let written = current
            .file
            .write_all(lines)
            .and_then(|()| current.file.sync_data());
        if let Err(error) = written {
            // If this fails too, the next one to open the folder does it.
            let _ = cut_back(&mut current.file, current.good);
            return Err(error);
        }
        if !current.is_there()? {
            return Err(io::Error::other(format!(
                "{} was deleted while it was written to",
                current.path.display()
            )));
        }
        current.good += lines.len() as u64;
        Ok(())
    }

    fn rotate_if_due(&mut self, now: UnixMillis) {
        let rotation = self.rotation;
        self.current.take_if(|current| {
            current.good >= rotation.bytes
                || now >= current.begun.plus(rotation.age)
                || current.opened.elapsed() >= rotation.age
        });
    }

    fn begin(
        folder: &Path,
        access: ResolvedAccess,
        number: u64,
        now: UnixMillis,
    ) -> io::Result<CurrentFile> {
        let path = folder.join(FileName { begun: now, number }.to_text());
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(folder::PRIVATE)
            .open(&path)?;
        access.apply(&file)?;
        File::open(folder)?.sync_all()?;
        Ok(CurrentFile {
            file,
            path,
            good: 0,
            begun: now,
            opened: Instant::now(),
        })
    }
}

/// Returns `true` if `file` lies at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(Identity::of(path)? == Some(Identity::from(&file.metadata()?)))
}

#[cfg(test)]
mod tests;
