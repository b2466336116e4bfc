//! The only module that prints. Standard output is for results that a script reads, standard error for everything else. Nothing here
//! panics; while the process serves, nothing here waits either: the log's own thread writes.

use std::fmt::Display;
use std::io::{self, Write};

use tracing::Level;

use crate::telemetry::logs;

/// A line of the result. That a reader went away (`| head`) is no error.
pub(super) fn out(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// Bytes of the result.
pub(super) fn out_bytes(bytes: &[u8]) {
    let _ = io::stdout().lock().write_all(bytes);
}

/// Prints a line for the person at the terminal.
pub(super) fn note(line: impl Display) {
    let line = line.to_string();
    if !logs::note(&line) {
        let _ = writeln!(io::stderr().lock(), "{line}");
    }
}

/// A line about something that is not as it should be.
pub(super) fn warning(line: impl Display) {
    problem(Level::WARN, "warning", &line.to_string());
}

/// A line about what failed.
pub(super) fn error(line: impl Display) {
    problem(Level::ERROR, "error", &line.to_string());
}

fn problem(level: Level, kind: &str, text: &str) {
    if logs::tell(level, text) {
        return;
    }
    let text = format!("{kind}: {text}");
    // A journal takes the priority from in front of each line.
    match logs::stderr_is_journal() {
        true => text
            .lines()
            .for_each(|line| note(format_args!("<{}>{line}", logs::priority(level)))),
        false => note(text),
    }
}
