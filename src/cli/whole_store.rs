//! Commands on all that the store holds: `backup`, `restore` and `move`. They open the database themselves.

use super::args::{Common, With};
use super::{Failure, backup, relocation};
use crate::config::{Config, Inputs};

/// Commands on the whole store.
#[derive(Debug, clap::Subcommand)]
pub(super) enum WholeStoreCommand {
    /// Write all that the store holds into one new file, while instances run: keys, events, what waits, parked, confirms, conflicts, secrets.
    ///
    /// Safe while instances are running. The file is a SQLite store, whatever store.url is. It is checked before it gets its name.
    Backup(With<backup::BackupOptions>),
    /// Bring all that a backup holds into an empty store, on SQLite or PostgreSQL.
    ///
    /// Refuses a store that holds anything, and one that an instance serves from. All or nothing: one transaction. What waited waits again,
    /// parked events stay parked, and a redelivery of anything in the backup is a duplicate.
    Restore(With<backup::RestoreOptions>),
    /// Move all that the store holds to another store while instances serve, then close this one.
    ///
    /// From SQLite or PostgreSQL to PostgreSQL, or to another file. Events are copied while instances serve. Then the store is closed, publishing
    /// ends, and the rest is copied: keys, what waits, parked, confirms. Killed at any point, the same command goes on, or --cancel opens the
    /// store again. Restart every instance with the new store.url at the end.
    Move(With<relocation::MoveOptions>),
}

impl WholeStoreCommand {
    /// Runs the command with the configuration that `load` returns.
    pub(super) fn run(
        self,
        inputs: impl Fn(Common) -> Inputs,
        load: impl Fn(Inputs) -> Result<Config, Failure>,
    ) -> Result<(), Failure> {
        let load = |common: Common, settings: Vec<String>| {
            let mut inputs = inputs(common);
            inputs.settings.extend(settings);
            load(inputs)
        };
        match self {
            Self::Backup(With { common, own }) => backup::backup(&load(common, Vec::new())?, &own),
            Self::Restore(With { common, own }) => {
                backup::restore(&load(common, Vec::new())?, &own)
            }
            Self::Move(With { common, own }) => {
                relocation::run(&own, |settings| load(common.clone(), settings))
            }
        }
    }
}
