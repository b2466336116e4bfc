//! `hookweir backup` and `hookweir restore`: all that the store holds, in one file, and back.

use std::path::PathBuf;
use std::time::Instant;

use super::{Failure, say};
use crate::config::{Config, ConfigError};
use crate::store::{self, Contents};

#[derive(Debug, clap::Args)]
pub(super) struct BackupOptions {
    /// New file, which gets the rights 0600. An existing one is not overwritten.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreOptions {
    /// File that `hookweir backup` has written.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Fails if an option that names a database was not read: the default would be another one.
pub(super) fn need_read(config: &Config) -> Result<(), Failure> {
    let named = |key: &str| ["store.url", "spool.path"].contains(&key);
    let untried = config.untried.iter();
    let missing: Vec<ConfigError> = untried
        .filter(|why| why.key.as_deref().is_some_and(named))
        .cloned()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::Config(missing))
}

pub(super) fn backup(config: &Config, options: &BackupOptions) -> Result<(), Failure> {
    need_read(config)?;
    let began = Instant::now();
    let file = options.file.display();
    let held = store::backup(&config.store, &options.file).map_err(|error| {
        Failure::Unreachable(format!(
            "no backup of {} was made: {error}",
            config.store.url
        ))
    })?;
    say::out(format_args!(
        "{file}: {}; {} bytes in {:.1} s, checked",
        words(&held),
        held.bytes,
        began.elapsed().as_secs_f64()
    ));
    if let Some(remark) = &held.remark {
        say::note(remark);
    }
    if let Some(spool) = config.spool.path.as_ref().filter(|spool| spool.exists()) {
        say::note(format_args!(
            "events that PostgreSQL has not taken yet are in the spool of each machine, here {}, and not in the backup",
            spool.display()
        ));
    }
    Ok(())
}

pub(super) fn restore(config: &Config, options: &RestoreOptions) -> Result<(), Failure> {
    need_read(config)?;
    let began = Instant::now();
    let held = store::restore(&config.store, &options.file).map_err(|error| {
        Failure::Unreachable(format!("{} was not restored: {error}", config.store.url))
    })?;
    say::out(format_args!(
        "{}: {} in {:.1} s",
        config.store.url,
        words(&held),
        began.elapsed().as_secs_f64()
    ));
    say::note(
        "start an instance: it publishes what waits. What was accepted after the backup is not there: have the providers send it again, known events are duplicates",
    );
    Ok(())
}

/// Returns the contents in words.
pub(super) fn words(held: &Contents) -> String {
    if held.rows.is_empty() {
        return "nothing, the store is empty".to_owned();
    }
    let rows = held.rows.iter();
    let rows: Vec<String> = rows
        .map(|(rows, count)| format!("{count} {rows}"))
        .collect();
    rows.join(", ")
}
