//! The `hookweir` command; see [`hookweir::cli`].

use std::process::ExitCode;

/// Most of what a thread allocates here is freed by another one.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hookweir::cli::run()
}
