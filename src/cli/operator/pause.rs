//! `hookweir pause` and `hookweir resume`.

use super::client::AdminClient;
use crate::cli::{Failure, say};
use crate::config::Config;
use crate::operate::{PauseOrder, PauseView};

/// Kinds of things that can be paused.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    /// A source: its deliveries are answered 503, and providers send them again.
    Source,
    /// A sink: its events wait in the outbox.
    Sink,
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Options {
    /// Kind of the thing.
    kind: Kind,
    /// Its name.
    name: String,
    /// Reason, shown in /readyz and kept in the table audit.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Options {
    fn order(&self) -> PauseOrder {
        let kind = match self.kind {
            Kind::Source => "source",
            Kind::Sink => "sink",
        };
        PauseOrder {
            kind: kind.to_owned(),
            name: self.name.clone(),
            reason: self.reason.clone(),
        }
    }
}

pub(super) fn pause(config: &Config, options: &Options) -> Result<(), Failure> {
    let view: PauseView = AdminClient::new(config)?.post("pause", &options.order())?;
    let effect = match options.kind {
        Kind::Source => "its deliveries are answered 503 with Retry-After",
        Kind::Sink => "its events wait in the outbox",
    };
    let PauseView { kind, name, .. } = &view;
    let already = if view.changed { "" } else { " already" };
    say::out(format_args!(
        "{kind} {name} is paused{already}: {effect}, on every instance within seconds, until `hookweir resume {kind} {name}`"
    ));
    Ok(())
}

pub(super) fn resume(config: &Config, options: &Options) -> Result<(), Failure> {
    let view: PauseView = AdminClient::new(config)?.post("resume", &options.order())?;
    let PauseView { kind, name, .. } = &view;
    say::out(match view.changed {
        true => format!("{kind} {name} goes on, on every instance within seconds"),
        false => format!("{kind} {name} was not paused"),
    });
    Ok(())
}
