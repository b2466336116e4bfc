//! Reload: reads the configuration again, checks it as a start does, and swaps it in as a whole.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::operator::known_sources;
use super::tls::{Certificates, NewCertificates};
use super::{Listening, budget_of, checks, demo};
use crate::config::{Config, ConfigChange, ConfigError, Inputs};
use crate::domain::delivery::{SourceName, wall_clock};
use crate::domain::sink::Sinks;
use crate::http::IngestService;
use crate::in_flight::Budget;
use crate::keys::KeyService;
use crate::operate::{KnownSource, Reload, Reloaded};
use crate::publish::{SharedOptions, message_options};
use crate::quarantine::QuarantineQueue;
use crate::runtime::shutdown::CriticalTask;
use crate::source::{KeptPart, NewShares, Sources};
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

/// Mistake of a configuration that has lost all its sources: an empty `sources.d` may be a disk that is not mounted.
const NO_SOURCE: &str = "no source is left, in the configuration or in sources.d beside it, and a reload does not remove the last \
     one: bring the sources back (is their disk mounted?), or restart the service to run without any";

/// Parts of the service that take over a configuration.
pub(super) struct Parts {
    pub(super) at: Listening,
    pub(super) metrics: Arc<Metrics>,
    pub(super) edge: Arc<IngestService>,
    pub(super) certificates: Certificates,
    pub(super) keys: KeyService,
    pub(super) store: Arc<dyn Secrets>,
    pub(super) lifeline: CriticalTask,
    pub(super) budget: Arc<Budget>,
    pub(super) sinks: Sinks,
    pub(super) pauses: PauseBoard,
    pub(super) quarantine: QuarantineQueue,
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
        self.parts.keep_series();
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

    fn in_force(&self) -> String {
        let in_force = self.in_force.lock();
        in_force.unwrap_or_else(PoisonError::into_inner).to_toml()
    }
}

impl Parts {
    /// Reads and checks the configuration, and swaps it in, unless `dry_run`. Returns the one that is in force then. Changes nothing
    /// of the service if `dry_run`, or if it fails.
    fn replace(
        &self,
        inputs: &Inputs,
        in_force: &Config,
        dry_run: bool,
    ) -> Result<(Config, Reloaded), Vec<ConfigError>> {
        let mut new = checks::load(inputs)?;
        if new.sources.is_empty() && !demo::stands_in(in_force) {
            return Err(vec![ConfigError::nowhere(NO_SOURCE.to_owned())]);
        }
        demo::add(&mut new, dry_run).map_err(|error| vec![ConfigError::nowhere(error)])?;
        let changes = in_force.changes_to(&new);
        let mut next = in_force.reloaded(&new)?;
        next.keep_shown(in_force, &changes);
        let certificates = NewCertificates::read(&next)?;
        certificates.refuse_untimely(in_force, &next)?;
        let mut sources = Sources::compile(&next, &self.metrics)?;
        let before = self.edge.sources();
        let kept = KeptParts::of(&changes);
        let shares = sources.take_over(&before, |name| kept.of_source(name));
        if !dry_run && changes.iter().any(|change| change.live) {
            self.swap(in_force, &next, (&before, sources, &shares))
                .map_err(|error| vec![ConfigError::nowhere(error)])?;
            self.certificates.replace(certificates, &self.metrics);
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

    /// Removes the series of sources and secrets that are not in force: of those before, and of those that were only tried.
    fn keep_series(&self) {
        let sources = self.edge.sources();
        let by_name: HashMap<&str, _> = sources.iter().map(|of| (of.name.as_str(), of)).collect();
        self.metrics.keep_series(|source, secret| {
            let Some(source) = by_name.get(source) else {
                return false;
            };
            let mut secrets = source.secrets.iter();
            secret.is_none_or(|secret| secrets.any(|of| *of.reference == *secret))
        });
    }

    /// Swaps the configuration in. What can fail comes first, and changes nothing that a delivery sees. The threads that fetch keys are
    /// the last of it: they would serve sources that do not come into force.
    fn swap(
        &self,
        in_force: &Config,
        next: &Config,
        (before, sources, shares): (&Sources, Sources, &NewShares),
    ) -> Result<(), String> {
        let options = next
            .sinks
            .iter()
            .map(|sink| message_options(sink, &next.sources));
        let options: Vec<_> = options
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let routes = self.sinks.new_routes(&next.routes()?)?;
        logs::refilter(&next.log)?;
        let keys = self
            .keys
            .replace(before, &sources, &self.store, &self.lifeline);
        if let Err(error) = keys {
            logs::refilter(&in_force.log)?;
            return Err(format!(
                "cannot start the threads that fetch keys: {error}; reload again, or restart the service"
            ));
        }
        self.sinks.reroute(routes);
        for (messages, mut options) in self.messages.iter().zip(options) {
            options.keep_removed(&messages.load());
            messages.store(Arc::new(options));
        }
        self.budget.resize(&budget_of(next, &sources));
        shares.put_in_force();
        let known = known_sources(next, self.at, &sources, &self.known.load());
        let metrics = &self.metrics;
        sources.iter().for_each(|of| of.put_in_force(metrics));
        self.edge.replace_sources(sources);
        self.known.store(Arc::new(known));
        Ok(())
    }
}

/// Part of each source that the changes leave as it is.
struct KeptParts<'c> {
    /// Sources without a change of their own.
    others: KeptPart,
    own: HashMap<&'c str, KeptPart>,
}

impl<'c> KeptParts<'c> {
    fn of(changes: &'c [ConfigChange]) -> Self {
        let mut own = HashMap::new();
        let mut others = KeptPart::All;
        for change in changes.iter().filter(|change| change.live) {
            let mut parts = change.option.split('.');
            match (parts.next(), parts.next(), parts.next()) {
                (Some("source"), Some(name), option) => {
                    let of_keys = OF_KEYS.contains(&option.unwrap_or_default());
                    let part = own.entry(name).or_insert(KeptPart::Keys);
                    if of_keys {
                        *part = KeptPart::Figures;
                    }
                }
                (Some("log" | "tls"), ..) => {}
                // Schemes are compiled with it.
                (_, Some("max_events_per_request"), _) => others = KeptPart::Keys,
                _ if others == KeptPart::All => others = KeptPart::Scheme,
                _ => {}
            }
        }
        Self { others, own }
    }

    fn of_source(&self, name: &SourceName) -> KeptPart {
        self.own.get(name.as_str()).copied().unwrap_or(self.others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_limits_or_of_another_source_starts_no_thread_for_keys() {
        let change = |option: &str, live| ConfigChange {
            option: option.to_owned(),
            what: String::new(),
            place: None,
            live,
        };
        let kept = |options: &[&str]| {
            let changes: Vec<_> = options.iter().map(|option| change(option, true)).collect();
            let shop = SourceName::parse("shop").expect("a name");
            KeptParts::of(&changes).of_source(&shop)
        };
        assert_eq!(
            kept(&["source.bank", "source.bank.jwks", "log.filter"]),
            KeptPart::All
        );
        assert_eq!(kept(&["limits.deadline_ms"]), KeptPart::Scheme);
        assert_eq!(kept(&["sink.kafka.event_types"]), KeptPart::Scheme);
        assert_eq!(
            kept(&["limits.max_events_per_request", "limits.deadline_ms"]),
            KeptPart::Keys
        );
        assert_eq!(kept(&["source.shop.secrets"]), KeptPart::Keys);
        assert_eq!(
            kept(&["source.shop.params.audience", "source.shop.secrets"]),
            KeptPart::Figures
        );
        let waits = [change("source.shop.topic", false)];
        let shop = SourceName::parse("shop").expect("a name");
        assert_eq!(KeptParts::of(&waits).of_source(&shop), KeptPart::All);
    }
}
