//! The event as it arrives in the file sink.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Failure, say};

/// Prints the line of message `id` as soon as it is in `folder`.
pub(super) fn show(folder: &Path, id: Option<&str>, seconds: u64) -> Result<(), Failure> {
    let Some(id) = id else {
        return Err(Failure::NotAsExpected);
    };
    let until = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(line) = find(folder, id) {
            say::out(line);
            return Ok(());
        }
        if Instant::now() >= until {
            say::note(format_args!(
                "error: message {id} is not in {} after {seconds} s; `curl` the admin listener's /readyz for the reason",
                folder.display()
            ));
            return Err(Failure::NotAsExpected);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The line with this message id, looked for in the newest two files: the event was taken a moment ago.
fn find(folder: &Path, id: &str) -> Option<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    files.iter().rev().take(2).find_map(|path| {
        let text = fs::read(path).ok()?;
        let wanted = format!("\"message_id\":\"{id}\"");
        let line = text.split_inclusive(|byte| *byte == b'\n').rfind(|line| {
            line.ends_with(b"\n")
                && line
                    .windows(wanted.len())
                    .any(|window| window == wanted.as_bytes())
        })?;
        Some(String::from_utf8_lossy(line).trim_end().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_line_with_the_id_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(find(folder.path(), "m1"), None);
        let line = |id: &str| format!("{{\"message_id\":\"{id}\",\"body\":\"x\"}}");
        fs::write(
            folder.path().join("events-1.jsonl"),
            format!("{}\n{}\n", line("m0"), line("m1")),
        )
        .expect("written");
        fs::write(folder.path().join("events-2.jsonl"), line("m2")).expect("written");
        assert_eq!(find(folder.path(), "m1"), Some(line("m1")));
        assert_eq!(find(folder.path(), "m2"), None, "its line is not whole yet");
    }
}
