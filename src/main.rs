//! The `hookweir` command; see [`hookweir::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hookweir::cli::run()
}
