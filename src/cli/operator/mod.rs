//! Commands of an operator, as clients of the admin API: `events`, `show`, `trace` and `sources`.

mod client;
mod events;
mod sources;
mod table;
mod times;
mod trace;

use super::Failure;
use super::args::{Common, With};
use crate::config::Config;

/// Commands that ask the running service.
#[derive(Debug, clap::Subcommand)]
pub(super) enum OperatorCommand {
    /// List stored events, the newest first, by source, id, type, time, state or sink.
    ///
    /// Asks the running service by its admin API (admin.socket). Reads on until there are enough events, 10,000 at a time.
    Events(With<events::Options>),
    /// Show one event, or its body, by the provider's id or the message id.
    ///
    /// Asks the running service by its admin API (admin.socket). --body needs the right "bodies": root and the service's own user have it, others by admin.group_may.
    Show(With<trace::ShowOptions>),
    /// Show the way of one event: received, stored, and at each sink confirmed, waiting or parked, with the reason.
    ///
    /// Asks the running service by its admin API (admin.socket). Exits 1 if no event has the id.
    Trace(With<trace::Options>),
    /// List the sources of the running service: URL to enter at the provider, last delivery accepted and refused, with the reason.
    ///
    /// Asks the running service by its admin API (admin.socket).
    Sources(With<sources::Options>),
}

impl OperatorCommand {
    /// Runs the command with the configuration that `load` returns.
    pub(super) fn run(
        self,
        load: impl FnOnce(Common) -> Result<Config, Failure>,
    ) -> Result<(), Failure> {
        match self {
            Self::Events(With { common, own }) => events::run(&load(common)?, &own),
            Self::Show(With { common, own }) => trace::show(&load(common)?, &own),
            Self::Trace(With { common, own }) => trace::trace(&load(common)?, &own),
            Self::Sources(With { common, own }) => sources::run(&load(common)?, &own),
        }
    }
}
