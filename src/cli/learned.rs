//! `hookweir learned`: the secrets that providers have handed over.

use super::{Failure, say};
use crate::config::Config;
use crate::domain::delivery::SourceName;
use crate::store::{self, RELEARN_AFTER, StoreError};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// The source; all of them if left out.
    name: Option<String>,
    /// Prints the secret itself, for providers that want it entered in their console (Notion).
    #[arg(long, requires = "name")]
    show: bool,
    /// Forgets the secret, so that the next handshake can bring another.
    #[arg(long, requires = "name", conflicts_with = "show")]
    forget: bool,
}

pub(super) fn run(config: &Config, options: &Options) -> Result<(), Failure> {
    let failed = |error: StoreError| Failure::Unreachable(format!("{}: {error}", config.store.url));
    let store = store::open(&config.store, 1).map_err(failed)?;
    let learned = store.learned().map_err(failed)?;
    let Some(name) = &options.name else {
        for known in &learned {
            let state = if known.secret.is_some() {
                "learned"
            } else {
                "forgotten"
            };
            let at = jiff::Timestamp::from_millisecond(known.at.0).unwrap_or_default();
            say::out(format_args!("{}  {state} {at:.0}", known.source));
        }
        return Ok(());
    };
    let secret = learned
        .into_iter()
        .find(|known| known.source == *name)
        .and_then(|known| known.secret);
    let secret = secret.ok_or_else(|| {
        Failure::Usage(format!(
            "the source \"{}\" has learned no secret",
            name.escape_debug()
        ))
    })?;
    if options.forget {
        let name = SourceName::parse(name).map_err(Failure::Usage)?;
        store.forget(&name).map_err(failed)?;
        say::out(format_args!(
            "forgotten; {name} learns the next secret that comes in a handshake, from {} s on",
            RELEARN_AFTER.as_secs()
        ));
    } else if options.show {
        say::out(String::from_utf8_lossy(secret.expose()));
    } else {
        say::out(format_args!(
            "{name} has learned a secret; --show prints it, --forget makes room for another"
        ));
    }
    Ok(())
}
