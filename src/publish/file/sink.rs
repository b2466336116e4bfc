//! The files themselves: `events-<when it was begun, UTC>-<number>.jsonl`, the one with the highest number is written to.
//!
//! - What [`Sink::append`] said `Ok` to is on disk: one fsync for a batch, and one of the folder for a new file.
//! - A line is whole or not there. What an append that failed has left behind is cut off, at once or, after a crash, when the folder is
//!   opened again; so a torn line can only be the last one of the last file.
//! - One process writes to a folder: the file `.lock` is locked for as long as the sink is open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::access::{Access, Resolved};
use crate::domain::delivery::UnixMillis;
use crate::runtime::disk::Identity;
use crate::runtime::folder;

/// The file that is locked for as long as the sink is open.
const LOCK: &str = ".lock";

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
    access: Resolved,
    current: Option<Current>,
    last_number: u64,
    lock: File,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    /// Bytes of whole lines that are on disk.
    good: u64,
    begun: UnixMillis,
    /// When this process began to write to it: its age if the clock was ahead when it was begun.
    opened: Instant,
}

impl Current {
    /// The file can still be found: nobody has deleted it, or moved it away.
    fn is_there(&self) -> io::Result<bool> {
        is_at(&self.file, &self.path)
    }
}

impl Sink {
    /// Creates `folder` if need be, locks it, and mends what a crash has left.
    pub fn open(
        folder: &Path,
        rotation: Rotation,
        access: &Access,
        now: UnixMillis,
    ) -> io::Result<Self> {
        let access = access.resolve()?;
        folder::create(folder)?;
        access.let_into(folder)?;
        let lock = folder::lock(&folder.join(LOCK)).map_err(|error| match error.kind() {
            io::ErrorKind::ResourceBusy => {
                io::Error::other(format!("{error}; give each its own folder"))
            }
            _ => error,
        })?;
        let mut sink = Self {
            folder: folder.to_owned(),
            rotation,
            access,
            current: None,
            last_number: 0,
            lock,
        };
        if let Some((name, path)) = last_file(folder, access)? {
            sink.last_number = name.number;
            let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
            access.give(&file)?;
            let good = end_of_last_line(&mut file)?;
            // Also brings to disk what another process had written and not synced.
            cut_back(&mut file, good)?;
            sink.current = Some(Current {
                file,
                path,
                good,
                begun: name.begun,
                opened: Instant::now(),
            });
        }
        sink.rotate_if_due(now);
        Ok(sink)
    }

    /// Adds `lines`, each with its line's end, and brings them to disk. After an error the sink is not to be used again: a sync that
    /// failed once may succeed the next time without having written anything.
    ///
    /// A file that was moved away or deleted meanwhile takes nothing more: a new one is begun. With the folder gone this fails, and the next
    /// one to open the sink makes it again.
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
                "{}: the file was moved away or deleted while it was written to; a new one is begun",
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
            // Where even this fails, the next one to open the folder does it.
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

    fn begin(folder: &Path, access: Resolved, number: u64, now: UnixMillis) -> io::Result<Current> {
        let path = folder.join(FileName { begun: now, number }.to_text());
        let file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(folder::PRIVATE)
            .open(&path)?;
        access.give(&file)?;
        File::open(folder)?.sync_all()?;
        Ok(Current {
            file,
            path,
            good: 0,
            begun: now,
            opened: Instant::now(),
        })
    }
}

/// `file` is what lies at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    Ok(Identity::of(path)? == Some(Identity::from(&file.metadata()?)))
}

/// Writes a block to `folder`, brings it to disk and takes it away again.
pub(super) fn probe(folder: &Path) -> io::Result<()> {
    folder::create(folder)?;
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
        format!(
            "events-{}-{:06}.jsonl",
            begun.strftime("%Y%m%dT%H%M%SZ"),
            self.number
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let (begun, number) = text
            .strip_prefix("events-")?
            .strip_suffix(".jsonl")?
            .rsplit_once('-')?;
        let begun: jiff::Timestamp = begun.parse().ok()?;
        Some(Self {
            begun: UnixMillis(begun.as_millisecond()),
            number: number.parse().ok()?,
        })
    }
}

/// The file with the highest number. Numbers, and not times, because a clock may be set back. Files of earlier runs lose what permissions
/// are too many.
fn last_file(folder: &Path, access: Resolved) -> io::Result<Option<(FileName, PathBuf)>> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_800_000_000_000);
    const ROTATION: Rotation = Rotation {
        bytes: 20,
        age: Duration::from_secs(60),
    };

    fn files(folder: &TempDir) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder.path())
            .expect("a folder")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.file_name() != ".lock")
            .map(|entry| {
                (
                    entry.file_name().into_string().expect("text"),
                    String::from_utf8(fs::read(entry.path()).expect("a file")).expect("text"),
                )
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
        let mut sink = Sink::open(folder.path(), ROTATION, &Access::PRIVATE, NOW).expect("open");
        sink.append(b"one\n", NOW).expect("append");
        drop(sink);
        let mut sink =
            Sink::open(folder.path(), ROTATION, &Access::PRIVATE, NOW).expect("open again");
        sink.append(b"two and more than 20 bytes\n", NOW)
            .expect("append");
        sink.append(b"three\n", NOW).expect("append");
        sink.append(b"four\n", NOW.plus(Duration::from_secs(59)))
            .expect("append");
        sink.append(b"five\n", NOW.plus(Duration::from_secs(60)))
            .expect("append");
        assert_eq!(
            texts(&folder),
            [
                "one\ntwo and more than 20 bytes\n",
                "three\nfour\n",
                "five\n"
            ]
        );
        assert_eq!(files(&folder)[1].0, "events-20270115T080000Z-000002.jsonl");
        drop(sink);
        let mut sink = Sink::open(folder.path(), ROTATION, &Access::PRIVATE, UnixMillis(0))
            .expect("with a clock that was set back");
        sink.append(b"six\n", UnixMillis(0)).expect("append");
        assert_eq!(texts(&folder)[2], "five\nsix\n");
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = TempDir::new().expect("a folder");
        let deep = folder.path().join("a/b");
        let sink = Sink::open(&deep, ROTATION, &Access::PRIVATE, NOW).expect("open");
        assert!(
            Sink::open(&deep, ROTATION, &Access::PRIVATE, NOW)
                .is_err_and(|error| error.to_string().contains("another process"))
        );
        drop(sink);
        Sink::open(&deep, ROTATION, &Access::PRIVATE, NOW).expect("free again");
    }

    #[test]
    fn what_a_failed_append_left_is_cut_off() {
        let folder = TempDir::new().expect("a folder");
        let mut sink = Sink::open(folder.path(), ROTATION, &Access::PRIVATE, NOW).expect("open");
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

    fn mode(path: &Path) -> u32 {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path)
            .expect("it is there")
            .permissions()
            .mode()
            & 0o7777
    }

    #[test]
    fn nobody_else_reads_what_is_written_unless_the_configuration_says_so() {
        let above = TempDir::new().expect("a folder");
        let folder = above.path().join("events");
        let mut sink = Sink::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open");
        sink.append(b"one\n", NOW).expect("append");
        let first = folder.join("events-20270115T080000Z-000001.jsonl");
        assert_eq!(
            (mode(&folder), mode(&first), mode(&folder.join(".lock"))),
            (0o700, 0o600, 0o600)
        );
        drop(sink);
        // Of an earlier release.
        fs::set_permissions(&first, std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .expect("set");
        drop(Sink::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open"));
        assert_eq!(mode(&first), 0o600);
        let group = nix::unistd::getgid().to_string();
        let shared = Access {
            mode: 0o640,
            group: Some(group),
        };
        let mut sink = Sink::open(&folder, ROTATION, &shared, NOW).expect("open");
        sink.append(b"two and more than 20 bytes\n", NOW)
            .expect("append");
        sink.append(b"three\n", NOW).expect("append");
        assert_eq!(
            (
                mode(&folder),
                mode(&folder.join("events-20270115T080000Z-000002.jsonl"))
            ),
            (0o750, 0o640)
        );
        drop(sink);
        let nobody = Access {
            mode: 0o640,
            group: Some("no-such-group".to_owned()),
        };
        assert!(
            Sink::open(&folder, ROTATION, &nobody, NOW)
                .is_err_and(|error| error.to_string().contains("no-such-group"))
        );
    }

    #[test]
    fn nothing_is_written_to_a_file_that_was_deleted_or_moved_away() {
        let above = TempDir::new().expect("a folder");
        let folder = above.path().join("events");
        let mut sink = Sink::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open");
        sink.append(b"one\n", NOW).expect("append");
        fs::rename(
            folder.join("events-20270115T080000Z-000001.jsonl"),
            above.path().join("taken"),
        )
        .expect("moved");
        sink.append(b"two\n", NOW).expect("append");
        assert_eq!(
            fs::read_to_string(above.path().join("taken")).expect("a file"),
            "one\n"
        );
        assert_eq!(
            fs::read_to_string(folder.join("events-20270115T080000Z-000002.jsonl"))
                .expect("a file"),
            "two\n"
        );
        fs::remove_dir_all(&folder).expect("removed");
        assert!(
            sink.append(b"lost\n", NOW)
                .is_err_and(|error| error.to_string().contains("deleted"))
        );
        drop(sink);
        let mut sink = Sink::open(&folder, ROTATION, &Access::PRIVATE, NOW).expect("open again");
        sink.append(b"kept\n", NOW).expect("append");
    }

    #[test]
    fn a_file_that_was_begun_while_the_clock_was_ahead_is_closed_by_its_age_all_the_same() {
        let folder = TempDir::new().expect("a folder");
        let rotation = Rotation {
            bytes: 1 << 30,
            age: Duration::from_millis(50),
        };
        let mut sink = Sink::open(folder.path(), rotation, &Access::PRIVATE, NOW).expect("open");
        sink.append(b"ahead\n", NOW.plus(Duration::from_secs(400 * 86_400)))
            .expect("append");
        std::thread::sleep(Duration::from_millis(60));
        sink.append(b"right\n", NOW).expect("append");
        assert_eq!(texts(&folder).len(), 2);
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
            let mut sink = Sink::open(folder.path(), rotation, &Access::PRIVATE, NOW).expect("open");
            sink.append(b"next\n", NOW).expect("append");
            prop_assert_eq!(&texts(&folder)[0], &format!("{whole}next\n"));
        }
    }
}
