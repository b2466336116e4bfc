//! The files themselves: `events-<when it was begun, UTC>-<number>.jsonl`, the one with the highest number is written to.
//!
//! - What [`Sink::append`] said `Ok` to is on disk: one fsync for a batch, and one of the folder for a new file.
//! - A line is whole or not there. What an append that failed has left behind is cut off, at once or, after a crash, when the folder is
//!   opened again; so a torn line can only be the last one of the last file.
//! - One process writes to a folder: the file `.lock` is locked for as long as the sink is open.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::delivery::UnixMillis;
use crate::folder;

/// When a file is closed and a new one begun.
#[derive(Clone, Copy, Debug)]
pub struct Rotation {
    /// At this size; a batch is not divided.
    pub bytes: u64,
    /// At this age.
    pub age: Duration,
}

/// An open folder.
#[derive(Debug)]
pub struct Sink {
    folder: PathBuf,
    rotation: Rotation,
    current: Option<Current>,
    last_number: u64,
    _lock: File,
}

#[derive(Debug)]
struct Current {
    file: File,
    /// Bytes of whole lines that are on disk.
    good: u64,
    begun: UnixMillis,
}

impl Sink {
    /// Creates `folder` if need be, locks it, and mends what a crash has left.
    pub fn open(folder: &Path, rotation: Rotation, now: UnixMillis) -> io::Result<Self> {
        folder::create(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(".lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process writes to it; give each its own folder"),
            TryLockError::Error(error) => error,
        })?;
        let mut sink = Self { folder: folder.to_owned(), rotation, current: None, last_number: 0, _lock: lock };
        if let Some((name, path)) = last_file(folder)? {
            sink.last_number = name.number;
            let mut file = OpenOptions::new().read(true).write(true).open(path)?;
            let good = end_of_last_line(&mut file)?;
            // Also brings to disk what another process had written and not synced.
            cut_back(&mut file, good)?;
            sink.current = Some(Current { file, good, begun: name.begun });
        }
        sink.rotate_if_due(now);
        Ok(sink)
    }

    /// Adds `lines`, each with its line's end, and brings them to disk. After an error the sink is not to be used again: a sync that
    /// failed once may succeed the next time without having written anything.
    pub fn append(&mut self, lines: &[u8], now: UnixMillis) -> io::Result<()> {
        self.rotate_if_due(now);
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let begun = Self::begin(&self.folder, self.last_number + 1, now)?;
                self.last_number += 1;
                self.current.insert(begun)
            }
        };
        let written = current.file.write_all(lines).and_then(|()| current.file.sync_data());
        if let Err(error) = written {
            // Where even this fails, the next one to open the folder does it.
            let _ = cut_back(&mut current.file, current.good);
            return Err(error);
        }
        current.good += lines.len() as u64;
        Ok(())
    }

    fn rotate_if_due(&mut self, now: UnixMillis) {
        let rotation = self.rotation;
        self.current.take_if(|current| current.good >= rotation.bytes || now >= current.begun.plus(rotation.age));
    }

    fn begin(folder: &Path, number: u64, now: UnixMillis) -> io::Result<Current> {
        let path = folder.join(FileName { begun: now, number }.to_text());
        let file = OpenOptions::new().create_new(true).write(true).open(path)?;
        File::open(folder)?.sync_all()?;
        Ok(Current { file, good: 0, begun: now })
    }
}

/// Writes a block to `folder`, brings it to disk and takes it away again.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    folder::create(folder)?;
    let path = folder.join(format!(".probe-{}", std::process::id()));
    let written = File::create(&path).and_then(|mut file| file.write_all(&[b'\n'; 4096]).and_then(|()| file.sync_data()));
    let removed = fs::remove_file(&path);
    written.and(removed)
}

fn cut_back(file: &mut File, good: u64) -> io::Result<()> {
    file.set_len(good)?;
    file.seek(SeekFrom::Start(good))?;
    file.sync_all()
}

/// Where the last whole line of `file` ends.
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

/// `events-20261123T160000Z-000001.jsonl`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileName {
    begun: UnixMillis,
    number: u64,
}

impl FileName {
    fn to_text(self) -> String {
        let begun = jiff::Timestamp::from_millisecond(self.begun.0).unwrap_or_default();
        format!("events-{}-{:06}.jsonl", begun.strftime("%Y%m%dT%H%M%SZ"), self.number)
    }

    fn parse(text: &str) -> Option<Self> {
        let (begun, number) = text.strip_prefix("events-")?.strip_suffix(".jsonl")?.rsplit_once('-')?;
        let begun: jiff::Timestamp = begun.parse().ok()?;
        Some(Self { begun: UnixMillis(begun.as_millisecond()), number: number.parse().ok()? })
    }
}

/// The file with the highest number. Numbers, and not times, because a clock may be set back.
fn last_file(folder: &Path) -> io::Result<Option<(FileName, PathBuf)>> {
    let mut last: Option<(FileName, PathBuf)> = None;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(FileName::parse)
            && last.as_ref().is_none_or(|(last, _)| name.number > last.number)
        {
            last = Some((name, entry.path()));
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const ROTATION: Rotation = Rotation { bytes: 20, age: Duration::from_secs(60) };

    fn files(folder: &TempDir) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.file_name() != ".lock")
            .map(|entry| {
                (entry.file_name().into_string().expect("text"), String::from_utf8(fs::read(entry.path()).expect("a file")).expect("text"))
            })
            .collect();
        files.sort();
        files
    }

    fn texts(folder: &TempDir) -> Vec<String> {
        files(folder).into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_file_is_closed_by_size_and_by_age_and_continued_otherwise() {
        let folder = TempDir::new().expect("a folder");
        let mut sink = Sink::open(folder.path(), ROTATION, NOW).expect("open");
        sink.append(b"one\n", NOW).expect("append");
        drop(sink);
        let mut sink = Sink::open(folder.path(), ROTATION, NOW).expect("open again");
        sink.append(b"two and more than 20 bytes\n", NOW).expect("append");
        sink.append(b"three\n", NOW).expect("append");
        sink.append(b"four\n", NOW.plus(Duration::from_secs(59))).expect("append");
        sink.append(b"five\n", NOW.plus(Duration::from_secs(60))).expect("append");
        assert_eq!(texts(&folder), ["one\ntwo and more than 20 bytes\n", "three\nfour\n", "five\n"]);
        assert_eq!(files(&folder)[1].0, "events-20270115T080000Z-000002.jsonl");
        drop(sink);
        let mut sink = Sink::open(folder.path(), ROTATION, UnixMillis(0)).expect("with a clock that was set back");
        sink.append(b"six\n", UnixMillis(0)).expect("append");
        assert_eq!(texts(&folder)[2], "five\nsix\n");
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = TempDir::new().expect("a folder");
        let deep = folder.path().join("a/b");
        let sink = Sink::open(&deep, ROTATION, NOW).expect("open");
        assert!(Sink::open(&deep, ROTATION, NOW).is_err_and(|error| error.to_string().contains("another process")));
        drop(sink);
        Sink::open(&deep, ROTATION, NOW).expect("free again");
    }

    #[test]
    fn what_a_failed_append_left_is_cut_off() {
        let folder = TempDir::new().expect("a folder");
        let mut sink = Sink::open(folder.path(), ROTATION, NOW).expect("open");
        sink.append(b"good\n", NOW).expect("append");
        let path = folder.path().join(&files(&folder)[0].0);
        let current = sink.current.as_mut().expect("a file");
        current.file.write_all(b"half of a li").expect("write");
        cut_back(&mut current.file, current.good).expect("cut");
        sink.append(b"next\n", NOW).expect("append");
        assert_eq!(texts(&folder), ["good\nnext\n"]);
        // A file that cannot be written to: the error shows, and what was there stays.
        sink.current.as_mut().expect("a file").file = File::open(path).expect("read only");
        assert!(sink.append(b"lost\n", NOW).is_err());
        assert_eq!(texts(&folder), ["good\nnext\n"]);
    }

    proptest! {
        /// A crash may leave any part of what was written last: the whole lines before stay, nothing half follows.
        #[test]
        fn a_torn_last_line_is_mended(lines in proptest::collection::vec("[^\n]{0,40}|x{9000,20000}", 0..6), torn in "[^\n]{0,20}|y{9000}") {
            let folder = TempDir::new().expect("a folder");
            let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
            fs::write(folder.path().join("events-20270115T080000Z-000007.jsonl"), format!("{whole}{torn}")).expect("write");
            fs::write(folder.path().join("events-20280115T080000Z-000006.jsonl"), "older by number").expect("write");
            let rotation = Rotation { bytes: 1 << 30, ..ROTATION };
            let mut sink = Sink::open(folder.path(), rotation, NOW).expect("open");
            sink.append(b"next\n", NOW).expect("append");
            prop_assert_eq!(&texts(&folder)[0], &format!("{whole}next\n"));
        }
    }
}
