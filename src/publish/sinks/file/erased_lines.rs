//! Erasure in an event folder: lines of erased messages are taken out of files that are closed.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::file_name::FileName;
use crate::runtime::folder;

/// Lines that were taken out of an event folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasedLines {
    /// Number of lines that were taken out.
    pub gone: u64,
    /// Number of lines in the newest file, which the service may write to: they are still there.
    pub left: u64,
    /// The newest file, if lines are left in it.
    pub newest: Option<PathBuf>,
}

/// The part of a line that names its message.
#[derive(Deserialize)]
struct Named {
    message_id: String,
}

/// Takes the lines of these messages out of the files of `folder`, apart from the newest one. Each file is
/// replaced by one without the lines, which is on disk before.
pub fn erase_lines(folder: &Path, messages: &BTreeSet<String>) -> io::Result<ErasedLines> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str().and_then(FileName::parse) {
            files.push((name.number, entry.path()));
        }
    }
    files.sort();
    let mut erased = ErasedLines::default();
    let newest = files.pop();
    for (_, path) in files {
        erased.gone += rewrite(&path, messages)?;
    }
    if let Some((_, path)) = newest {
        erased.left = count(&path, messages)?;
        erased.newest = (erased.left > 0).then_some(path);
    }
    Ok(erased)
}

fn is_of(line: &[u8], messages: &BTreeSet<String>) -> bool {
    let named = serde_json::from_slice::<Named>(line);
    named.is_ok_and(|named| messages.contains(&named.message_id))
}

fn count(path: &Path, messages: &BTreeSet<String>) -> io::Result<u64> {
    let (mut found, mut line) = (0, Vec::new());
    let mut file = BufReader::new(File::open(path)?);
    while file.read_until(b'\n', &mut line)? > 0 {
        found += u64::from(is_of(&line, messages));
        line.clear();
    }
    Ok(found)
}

/// Replaces a file by one without the lines of these messages. Returns the number of the lines.
fn rewrite(path: &Path, messages: &BTreeSet<String>) -> io::Result<u64> {
    let found = count(path, messages)?;
    if found == 0 {
        return Ok(0);
    }
    let without = folder::beside(path, ".erasing");
    let mut file = BufReader::new(File::open(path)?);
    let before = file.get_ref().metadata()?;
    let new = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(folder::PRIVATE)
        .open(&without)?;
    let (mut new, mut line) = (BufWriter::new(new), Vec::new());
    while file.read_until(b'\n', &mut line)? > 0 {
        if !is_of(&line, messages) {
            new.write_all(&line)?;
        }
        line.clear();
    }
    let new = new.into_inner().map_err(io::IntoInnerError::into_error)?;
    // Root may run the command. The service has to read the file, and so has a group that may.
    match fchown(&new, Some(before.uid()), Some(before.gid())) {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    new.set_permissions(before.permissions())?;
    new.sync_all()?;
    fs::rename(&without, path)?;
    File::open(folder::of(path))?.sync_all()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn lines_of_erased_messages_leave_closed_files_and_those_of_the_newest_are_counted() {
        let dir = tempfile::tempdir().expect("a folder");
        let name = |number: u32| {
            dir.path()
                .join(format!("events-20261123T160000Z-{number:06}.jsonl"))
        };
        let line = |id: &str| format!("{{\"message_id\":\"{id}\",\"body\":\"secret\"}}\n");
        fs::write(name(1), [line("a"), line("b")].concat()).expect("written");
        fs::write(name(2), line("b")).expect("written");
        fs::write(name(3), line("a")).expect("written");
        fs::write(dir.path().join("notes.txt"), line("a")).expect("written");
        // As root runs the command; nobody else may give files away.
        let given = chown(name(1), Some(65534), Some(65534)).is_ok();
        let messages = BTreeSet::from(["a".to_owned()]);
        let erased = erase_lines(dir.path(), &messages).expect("erased");
        assert_eq!(
            (erased.gone, erased.left, erased.newest),
            (1, 1, Some(name(3)))
        );
        let owner = fs::metadata(name(1)).expect("there").uid();
        assert!(!given || owner == 65534, "{owner}");
        let read = |number| fs::read_to_string(name(number)).expect("readable");
        assert_eq!(
            (read(1), read(2), read(3)),
            (line("b"), line("b"), line("a"))
        );
        assert_eq!(erase_lines(dir.path(), &messages).expect("again").gone, 0);
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 4);
    }
}
