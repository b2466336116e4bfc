//! Reload: reads the configuration again, checks it as a start does, and swaps it in as a whole.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::operator::known_sources;
use super::{Listening, budget_of, checks, demo};
use crate::config::{Config, ConfigChange, ConfigError, Inputs};
use crate::domain::delivery::{SourceName, wall_clock};
use crate::domain::sink::Sinks;
use crate::http::IngestService;
use crate::in_flight::Budget;
use crate::keys::KeyService;
use crate::operate::{KnownSource, Reload, Reloaded};
use crate::publish::{SharedOptions, message_options};
use crate::runtime::shutdown::CriticalTask;
use crate::source::{KeptPart, Sources};
use crate::store::{PauseBoard, Secrets};
use crate::telemetry::{Metrics, logs};

/// Options of a source that say whose keys it needs, and from where.
const OF_KEYS: [&str; 6] = [
    "provider",
    "scheme",
    "jwks",
    "params",
    "public_url",
    "learn_secret",
];

/// Parts of the service that take over a configuration.
pub(super) struct Parts {
    pub(super) at: Listening,
    pub(super) metrics: Arc<Metrics>,
    pub(super) edge: Arc<IngestService>,
    pub(super) keys: KeyService,
    pub(super) store: Arc<dyn Secrets>,
    pub(super) lifeline: CriticalTask,
    pub(super) budget: Arc<Budget>,
    pub(super) sinks: Sinks,
    pub(super) pauses: PauseBoard,
    /// Of the publishers, in the order of the sinks.
    pub(super) messages: Vec<SharedOptions>,
    pub(super) known: Arc<ArcSwap<Vec<KnownSource>>>,
}

/// Reads the configuration again, and passes it on to the parts.
pub(super) struct Reloader {
    inputs: Inputs,
    /// The configuration in force. Its lock is the turn of a reload.
    in_force: Mutex<Config>,
    parts: Parts,
}

impl Reloader {
    /// Takes the configuration in force, which was read from `inputs`.
    pub(super) fn new(inputs: Inputs, in_force: Config, parts: Parts) -> Self {
        parts.metrics.config_reload_successful.set(1);
        parts.metrics.config_reload_time.set(wall_clock().0 / 1000);
        let in_force = Mutex::new(in_force);
        Self {
            inputs,
            in_force,
            parts,
        }
    }
}

impl Reload for Reloader {
    fn reload(&self, dry_run: bool) -> Result<Reloaded, Vec<ConfigError>> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        let done = self.parts.replace(&self.inputs, &in_force, dry_run);
        let metrics = &self.parts.metrics;
        if !dry_run {
            metrics.config_reload_successful.set(done.is_ok().into());
        }
        let (next, reloaded) = done?;
        if !dry_run {
            metrics.config_reload_time.set(wall_clock().0 / 1000);
            *in_force = next;
        }
        Ok(reloaded)
    }
}

impl Parts {
    /// Reads and checks the configuration, and swaps it in, unless `dry_run`. Returns the one that is in force then.
    fn replace(
        &self,
        inputs: &Inputs,
        in_force: &Config,
        dry_run: bool,
    ) -> Result<(Config, Reloaded), Vec<ConfigError>> {
        let mut new = checks::load(inputs)?;
        demo::add(&mut new, dry_run).map_err(|error| vec![ConfigError::nowhere(error)])?;
        let changes = in_force.changes_to(&new);
        let mut next = in_force.reloaded(&new)?;
        next.keep_shown(in_force, &changes);
        let mut sources = Sources::compile(&next, &self.metrics)?;
        let before = self.edge.sources();
        sources.take_over(&before, |name| kept(&changes, name));
        if !dry_run && changes.iter().any(|change| change.live) {
            self.swap(&next, &before, sources)
                .map_err(|error| vec![ConfigError::nowhere(error)])?;
        }
        let warnings = new.warnings.iter();
        let warnings = warnings.filter(|warning| !in_force.warnings.contains(warning));
        let reloaded = Reloaded {
            files: new.files.clone(),
            warnings: warnings.cloned().collect(),
            changes,
        };
        Ok((next, reloaded))
    }

    /// Swaps the configuration in. What can fail comes first, and changes nothing that a delivery sees.
    fn swap(&self, next: &Config, before: &Sources, sources: Sources) -> Result<(), String> {
        let options = next
            .sinks
            .iter()
            .map(|sink| message_options(sink, &next.sources));
        let options: Vec<_> = options
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        self.keys
            .replace(before, &sources, &self.store, &self.lifeline)
            .map_err(|error| format!("cannot start the threads that fetch keys: {error}"))?;
        self.sinks.reroute(&next.routes()?)?;
        logs::refilter(&next.log)?;
        for (messages, options) in self.messages.iter().zip(options) {
            messages.store(Arc::new(options));
        }
        self.budget.resize(&budget_of(next, &sources));
        let known = known_sources(next, self.at, &sources);
        self.edge.replace_sources(sources);
        self.known.store(Arc::new(known));
        Ok(())
    }
}

/// Returns how much of a source the changes leave as it is.
fn kept(changes: &[ConfigChange], name: &SourceName) -> KeptPart {
    let own = format!("source.{name}");
    let of_source = |change: &&ConfigChange| {
        let option = change.option.strip_prefix(&own);
        option.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let live = || changes.iter().filter(|change| change.live);
    let of_all = |change: &ConfigChange| !change.option.starts_with("source.");
    if !live().any(of_all) && live().find(of_source).is_none() {
        return KeptPart::All;
    }
    let of_keys = |change: &ConfigChange| {
        let option = change.option.strip_prefix(&own).unwrap_or_default();
        let option = option.trim_start_matches('.');
        let first = option.split('.').next().unwrap_or_default();
        OF_KEYS.contains(&first)
    };
    match live().filter(of_source).any(of_keys) {
        true => KeptPart::Figures,
        false => KeptPart::Keys,
    }
}
