//! `hookweir move`: all that the store holds goes to another store while instances serve.

use std::time::Instant;

use super::backup::{need_read, words};
use super::{Failure, say};
use crate::config::model::{Config, StoreUrl};
use crate::store::{self, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct MoveOptions {
    /// Store to move to, as in store.url: an empty one. env:NAME or file:PATH keeps its password off the command line.
    #[arg(long, value_name = "URL", required_unless_present = "cancel")]
    pub(super) to: Option<String>,
    /// PostgreSQL schema there; by default store.schema.
    #[arg(long, value_name = "SCHEMA", requires = "to")]
    schema: Option<String>,
    /// Open the store again, which a move that was cut off has closed.
    #[arg(long, conflicts_with = "to")]
    cancel: bool,
}

impl MoveOptions {
    /// Returns the settings by which the configuration names the other store.
    fn settings(&self) -> Vec<String> {
        let to = self.to.iter().map(|url| format!("store.url={url}"));
        let schema = self.schema.iter();
        to.chain(schema.map(|schema| format!("store.schema={schema}")))
            .collect()
    }
}

/// Moves the store. `load` returns the configuration with further settings.
pub(super) fn run(
    options: &MoveOptions,
    load: impl Fn(Vec<String>) -> Result<Config, Failure>,
) -> Result<(), Failure> {
    let source = load(Vec::new())?;
    need_read(&source)?;
    if options.cancel {
        return cancel(&source);
    }
    let target = load(options.settings())?;
    need_read(&target)?;
    refuse(&source, &target)?;
    say::note(format_args!(
        "moving {} to {}; instances serve on while events are copied, and publish what waits",
        source.store.url, target.store.url
    ));
    say::note(match &source.spool.path {
        Some(spool) => format!(
            "then the store is closed. From there to the restart with the new store.url, deliveries are answered 2xx and wait in the spool, here {}",
            spool.display()
        ),
        None => "then the store is closed. From there to the restart with the new store.url, deliveries are answered 503, since there is no spool: \
                 most providers send again, GitHub does not"
            .to_owned(),
    });
    let began = Instant::now();
    let moved = store::relocate(&source.store, &target.store, &mut |line| say::note(line));
    let held = moved.map_err(|error| failure(&source, &error))?;
    say::out(format_args!(
        "{}: {} in {:.1} s",
        target.store.url,
        words(&held),
        began.elapsed().as_secs_f64()
    ));
    say::note(format_args!(
        "set store.url = \"{}\", and restart every instance now; the old store stays as it is, and takes nothing any more",
        target.store.url
    ));
    Ok(())
}

/// Refuses moves that would lose the way of what is in a spool.
fn refuse(source: &Config, target: &Config) -> Result<(), Failure> {
    let (from, to) = (&source.store, &target.store);
    if (&from.url, &from.schema) == (&to.url, &to.schema)
        || (from.url == to.url && matches!(to.url, StoreUrl::Sqlite(_)))
    {
        return Err(Failure::Usage(
            "this is the store that is configured: name another one".into(),
        ));
    }
    match (&from.url, &to.url) {
        (StoreUrl::Postgres(_), StoreUrl::Sqlite(_)) => Err(Failure::Usage(
            "from PostgreSQL to SQLite there is no move under load: SQLite has no spool, and nothing would take what waits in it. Stop every \
             instance once the spool is empty, then `hookweir backup` and `hookweir restore`"
                .into(),
        )),
        _ => Ok(()),
    }
}

fn failure(source: &Config, error: &StoreError) -> Failure {
    Failure::Unreachable(format!(
        "{} was not moved: {error}; nothing is lost. /readyz says if the store is closed: the same command goes on, `hookweir move --cancel` \
         opens the store again",
        source.store.url
    ))
}

fn cancel(source: &Config) -> Result<(), Failure> {
    let reopened = store::reopen(&source.store)
        .map_err(|error| Failure::Unreachable(format!("{}: {error}", source.store.url)))?;
    say::out(match reopened {
        true => "the store is open again; instances store and publish within seconds",
        false => "no move has closed the store; nothing was changed",
    });
    Ok(())
}
