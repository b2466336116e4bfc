//! The file sink's folder as a feed: whole lines, in the order of the files' numbers.
//!
//! The position of what is acked lies in a file. It saves work: without it the folder is read from its
//! beginning, and rows that exist are dropped by their ids.
//!
//! After a failed sync the file sink cuts lines off that this feed may have read, and writes others there. A
//! position therefore knows the bytes before it. If they are others now, the file is read again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::envelope::from_line;
use super::{Feed, FeedMessage};
use crate::disk;
use crate::error::{LakeError, Result};

/// Usual name of the file with the acked position, in the folder of the lakehouse. If the lakehouse is removed, so is the
/// position, and the events are read again.
pub const POSITION: &str = ".position";
/// Bytes before a position that it knows.
const TAIL: usize = 64;
/// Bytes that are read at once, if a line is not longer.
const BLOCK: usize = 1 << 20;
/// Length of a line that is given up. Bodies are smaller by configuration.
const LONGEST_LINE: usize = 1 << 30;

/// Position behind a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    file: String,
    offset: u64,
    /// Bytes before `offset`.
    tail: Vec<u8>,
}

/// The folder of a file sink.
#[derive(Debug)]
pub struct FolderFeed {
    folder: PathBuf,
    position: PathBuf,
    idle: Duration,
    at: Position,
    acked: Position,
    block: Vec<u8>,
    /// Start of the next line in `block`.
    begin: usize,
}

impl FolderFeed {
    /// Returns the feed of `folder`, from the position in the file `position` on. If there is no line, the
    /// folder is looked at again after `idle`.
    pub fn open(folder: &Path, position: &Path, idle: Duration) -> io::Result<Self> {
        let position = std::path::absolute(position)?;
        let acked = stored(&position)?;
        Ok(Self {
            folder: folder.to_owned(),
            position,
            idle,
            at: acked.clone(),
            acked,
            block: Vec::new(),
            begin: 0,
        })
    }

    /// Returns the next whole line and the position behind it.
    fn next_line(&mut self) -> io::Result<Option<(Vec<u8>, Position)>> {
        loop {
            if let Some(length) = self.block[self.begin..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let line = self.block[self.begin..self.begin + length].to_vec();
                self.begin += length + 1;
                self.at.offset += length as u64 + 1;
                self.at.tail = tail_of(&self.block[..self.begin], &self.at.tail);
                return Ok(Some((line, self.at.clone())));
            }
            if !self.fill()? && !self.next_file()? {
                return Ok(None);
            }
        }
    }

    /// Reads from the position on. Returns `false` if there is no whole line.
    fn fill(&mut self) -> io::Result<bool> {
        self.block.clear();
        self.begin = 0;
        if self.at.file.is_empty() {
            return Ok(false);
        }
        let file = match File::open(self.folder.join(&self.at.file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let mut size = BLOCK;
        loop {
            let known = self.at.tail.len();
            let mut bytes = vec![0; known + size];
            let read = read_at(&file, &mut bytes, self.at.offset - known as u64)?;
            bytes.truncate(read);
            if !bytes.starts_with(&self.at.tail) {
                tracing::warn!(
                    "lines of {} were cut off after they were read; the file is read again, and rows that \
                     exist are dropped",
                    self.at.file
                );
                self.at.offset = 0;
                self.at.tail.clear();
                continue;
            }
            bytes.drain(..known);
            if bytes.contains(&b'\n') {
                self.block = bytes;
                return Ok(true);
            }
            if bytes.len() < size {
                return Ok(false);
            }
            if size >= LONGEST_LINE {
                return Err(io::Error::other(format!(
                    "a line of {} has no end",
                    self.at.file
                )));
            }
            size *= 4;
        }
    }

    /// Goes on to the next file. Returns `false` if there is none.
    fn next_file(&mut self) -> io::Result<bool> {
        let mut files = event_files(&self.folder)?;
        let read = read_before(&self.at, &files);
        files.retain(|(number, _)| read.is_none_or(|read| *number > read));
        let Some((_, file)) = files.into_iter().min() else {
            return Ok(false);
        };
        // A file is closed before the next one is begun. A line may have come since the last look.
        if self.fill()? {
            return Ok(true);
        }
        self.at = Position {
            file,
            ..Position::default()
        };
        Ok(true)
    }
}

/// Returns the bytes of the folder behind the acked position in the file `position`.
pub fn backlog(folder: &Path, position: &Path) -> io::Result<u64> {
    let acked = stored(position)?;
    let files = event_files(folder)?;
    let at = read_before(&acked, &files);
    let mut bytes = 0;
    for (number, name) in files {
        let size = match fs::metadata(folder.join(name)) {
            // Moved away meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?.len(),
        };
        bytes += match at {
            Some(at) if number < at => 0,
            Some(at) if number == at => size.saturating_sub(acked.offset),
            _ => size,
        };
    }
    Ok(bytes)
}

/// Returns the numbers and names of the event files in `folder`.
fn event_files(folder: &Path) -> io::Result<Vec<(u64, String)>> {
    let entries = match fs::read_dir(folder) {
        // The file sink makes it with its first event.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        files.extend(number(&name).map(|number| (number, name)));
    }
    Ok(files)
}

/// Returns the number of the file that `position` is in. Files with lower numbers were read before it. If that
/// file is not there any more, the numbers may have begun anew, and nothing counts as read.
fn read_before(position: &Position, files: &[(u64, String)]) -> Option<u64> {
    let mut same = files.iter().filter(|(_, name)| *name == position.file);
    same.next().map(|(number, _)| *number)
}

/// Returns the acked position in the file `position`, or the beginning if there is none.
fn stored(position: &Path) -> io::Result<Position> {
    match fs::read(position) {
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        // A file in the place of the lakehouse is named when the table is opened.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(Position::default())
        }
        Err(error) => Err(error),
    }
}

#[async_trait]
impl Feed for FolderFeed {
    type Ack = Position;

    async fn next(&mut self) -> Result<FeedMessage<Position>> {
        loop {
            let next = self.next_line().map_err(|error| {
                LakeError::Feed(format!(
                    "cannot read the event folder {}: {error}",
                    self.folder.display()
                ))
            });
            if let Some((line, ack)) = next? {
                return Ok(FeedMessage {
                    event: from_line(&line),
                    ack,
                });
            }
            tokio::time::sleep(self.idle).await;
        }
    }

    async fn ack(&mut self, acks: Vec<Position>) -> Result<()> {
        let Some(last) = acks.into_iter().next_back() else {
            return Ok(());
        };
        // With the position the table was removed, perhaps after the rows had come into it.
        let was_there = self.acked != Position::default();
        if was_there && matches!(self.position.try_exists(), Ok(false)) {
            return Err(LakeError::Feed(format!(
                "{} was removed: the event folder is read from its beginning",
                self.position.display()
            )));
        }
        let text = serde_json::to_string(&last)
            .map_err(|error| LakeError::Feed(format!("cannot store the position: {error}")))?;
        disk::replace(&self.position, &text).map_err(|error| {
            LakeError::Feed(format!("cannot write {}: {error}", self.position.display()))
        })?;
        self.acked = last;
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        // If the lakehouse was removed, so was the position.
        self.acked = stored(&self.position).map_err(|error| {
            LakeError::Feed(format!("cannot read {}: {error}", self.position.display()))
        })?;
        self.at = self.acked.clone();
        self.block.clear();
        self.begin = 0;
        Ok(())
    }
}

/// Returns the number in the name of an event file: `events-20261123T160000Z-000001.jsonl`.
fn number(name: &str) -> Option<u64> {
    let (_, number) = name
        .strip_prefix("events-")?
        .strip_suffix(".jsonl")?
        .rsplit_once('-')?;
    number.parse().ok()
}

fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(some) => read += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Returns the last bytes of `before` followed by `block`.
fn tail_of(block: &[u8], before: &[u8]) -> Vec<u8> {
    let from_block = &block[block.len().saturating_sub(TAIL)..];
    let missing = TAIL - from_block.len();
    let from_before = &before[before.len().saturating_sub(missing)..];
    [from_before, from_block].concat()
}

#[cfg(test)]
mod tests;
