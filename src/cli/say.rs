//! The only module that prints. Standard output is for results that a script reads, standard error for everything else.

use std::fmt::Display;
use std::io::{self, Write};

/// A line of the result. That a reader went away (`| head`) is no error.
pub(super) fn out(line: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// A line for whoever sits at the terminal.
pub(super) fn note(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
