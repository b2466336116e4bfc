//! `hookweir check` and `hookweir migrate`.

use super::{Failure, say};
use crate::config::Config;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Checks the configuration only, and shows what its bound on memory is made of.
    #[arg(long)]
    offline: bool,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    for warning in &config.warnings {
        say::note(format_args!("warning: {warning}"));
    }
    let sources = match config.sources.len() {
        0 => "no source: on loopback, `serve` adds one to try".to_owned(),
        1 => "1 source".to_owned(),
        count => format!("{count} sources"),
    };
    say::out(format_args!("configuration  sound, {sources}"));
    if options.offline {
        say::out(format_args!("memory, at most:\n{}", config.memory_bound()));
        return Ok(());
    }
    Ok(())
}

pub(super) fn migrate(_config: &Config) -> Result<(), Failure> {
    Ok(())
}
