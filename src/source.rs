//! Sources: configured inbounds. Built once from the configuration, shared by all stages, found by
//! path in constant time.

mod addresses;
mod current_keys;
mod rate_limits;
mod secret_uses;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderName;

use crate::config::error::nearest;
use crate::config::model::PublisherUrl;
use crate::config::{Config, ConfigError, model};
use crate::domain::delivery::{SourceName, UnixMillis};
use crate::domain::sink::Sinks;
use crate::in_flight::Share;
use crate::telemetry::{Metrics, SourceMetrics, SourceRules};
use hookweir_signatures::{Scheme, VerifiedEvents, spec_of};

pub use self::addresses::{AddressRule, AddressVerdict};
pub use self::current_keys::{CurrentKeys, KeyedScheme};
pub use self::rate_limits::{CLIENT_BYTES, CLIENTS, RateLimits};
pub use self::secret_uses::{SecretStage, SecretUse, SecretUses};

/// A configured inbound, as the stages use it.
#[derive(Debug)]
pub struct Source {
    /// Unique name.
    pub name: SourceName,
    /// Unique path after `/ingest/`.
    pub path: String,
    /// Scheme as configured. Deliveries are verified with the one in `keys`.
    pub scheme: Arc<Scheme>,
    /// Scheme and keys that deliveries are verified with.
    pub keys: Arc<CurrentKeys>,
    /// Last use of each configured secret.
    pub secrets: SecretUses,
    /// Time for which a redelivery is recognised, if each id stands for one event.
    pub dedup_window: Duration,
    /// Time for which a redelivery is recognised otherwise.
    pub retry_span: Duration,
    /// Headers of the provider that are stored with an event, for any of its sinks.
    pub forward_headers: Vec<HeaderName>,
    /// Time for which equal bytes under another id are dropped. None: they are published with a
    /// mark.
    pub drop_same_bytes: Option<Duration>,
    /// Largest body, in bytes.
    pub max_body_bytes: usize,
    /// Usual largest body of its provider, in bytes. A larger one is accepted, within a smaller
    /// part of the budget.
    pub usual_body_bytes: usize,
    /// Time for the upload of a body.
    pub upload: Duration,
    /// Longest time from the end of a body to the response.
    pub deadline: Duration,
    /// Sinks, with the routes of this configuration.
    pub sinks: Sinks,
    /// Lowest rate of a body, in bytes a second.
    pub min_body_bytes_per_sec: u64,
    /// Largest `Retry-After`, in seconds.
    pub retry_after_max_secs: u64,
    /// Addresses that may send.
    pub addresses: AddressRule,
    /// Deliveries a second.
    pub rates: Arc<RateLimits>,
    /// Share of `limits.in_flight_bytes`.
    pub share: Arc<Share>,
    /// Metrics of this source.
    pub metrics: Arc<SourceMetrics>,
}

impl Source {
    fn new(
        source: &model::Source,
        scheme: Scheme,
        config: &Config,
        (sinks, metrics): (Sinks, &Metrics),
    ) -> Self {
        let scheme = Arc::new(scheme);
        let facts = scheme.facts();
        let max_body_bytes = max_body_bytes(config, source);
        let share = Share::of_source(
            config.limits.in_flight_bytes,
            config.sources.len(),
            max_body_bytes,
        );
        Self {
            dedup_window: source
                .window
                .unwrap_or_else(|| facts.window.max(config.dedup.window)),
            retry_span: source.window.unwrap_or(facts.retry_span),
            max_body_bytes,
            usual_body_bytes: facts.max_body_bytes.unwrap_or(USUAL).min(max_body_bytes),
            upload: upload(source, facts.deadline, config.limits.body_timeout),
            sinks,
            min_body_bytes_per_sec: config.limits.min_body_bytes_per_sec,
            retry_after_max_secs: config.limits.retry_after_max_secs,
            addresses: AddressRule::new(source),
            rates: Arc::new(RateLimits::new(source, Instant::now())),
            share: Arc::new(share),
            deadline: source
                .deadline
                .or(facts.deadline)
                .unwrap_or(config.limits.deadline),
            name: source.name.clone(),
            path: source.path.clone(),
            forward_headers: source.stored_headers.clone(),
            drop_same_bytes: source.drop_same_bytes(),
            metrics: metrics.source(&source.name),
            keys: Arc::new(CurrentKeys::new(scheme.clone())),
            secrets: SecretUses::new(source, metrics),
            scheme,
        }
    }
}

/// Part of a source that a reload leaves as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptPart {
    /// All of it.
    All,
    /// Its scheme, with its keys and the threads that fetch them.
    Scheme,
    /// The keys that were fetched, and the secret that was learned.
    Keys,
    /// Its room and its figures.
    Figures,
}

impl Source {
    /// Puts its figures and its secrets in force.
    pub fn put_in_force(&self, metrics: &Metrics) {
        self.secrets.put_in_force();
        metrics.set_rules(&self.name, &self.metrics.alarms, &self.rules());
    }

    /// Returns the rules of the source and of its provider.
    pub fn rules(&self) -> SourceRules {
        let facts = self.scheme.facts();
        SourceRules {
            deadline: self.deadline,
            window: self.dedup_window,
            retries: facts.retry.filter(|retries| !retries.is_zero()),
            disabled_after_failures: facts.disabled_after_failures,
            disabled_after: facts.disabled_after,
        }
    }

    /// Notes a delivery that was verified: its secret, and the time at which it was signed. Returns the
    /// reference of the secret.
    pub fn verified(&self, verified: &VerifiedEvents, received_at: UnixMillis) -> Option<Arc<str>> {
        let secret = verified.secret();
        self.secrets.note(&self.name, secret, received_at);
        if let Some(signed_at) = verified.signed_at() {
            let max_age = self.scheme.facts().max_age;
            self.metrics.alarms.signed(signed_at, received_at, max_age);
        }
        self.secrets.reference(secret)
    }

    /// Takes over the room and the figures of the source before a reload, and the part `kept`.
    fn take_over(&mut self, before: &Self, kept: KeptPart) {
        self.share = before.share.clone();
        if self.rates.is_like(&before.rates) {
            self.rates = before.rates.clone();
        }
        self.metrics = before.metrics.clone();
        self.secrets.take_over(&before.secrets);
        match kept {
            KeptPart::All | KeptPart::Scheme => {
                self.scheme = before.scheme.clone();
                self.keys = before.keys.clone();
            }
            KeptPart::Keys => self.keys.take_over(&before.keys),
            KeptPart::Figures => {}
        }
    }
}

/// Returns the largest body of a source in bytes; a larger one is answered 413.
///
/// With RabbitMQ no body is larger than a message may be, since a larger one could be stored and
/// never be published. The smallest limit of the source's sinks counts. A batch that is split is
/// published in parts, so its source keeps its own limit.
pub fn max_body_bytes(config: &Config, source: &model::Source) -> usize {
    let own = source
        .max_body_bytes
        .unwrap_or(config.limits.max_body_bytes);
    if splits(source) {
        return own;
    }
    let sinks = config.sinks.iter().filter(|sink| sink.gets(source));
    let largest = sinks.filter_map(|sink| match (&sink.url, sink.rabbitmq.max_message_bytes) {
        (PublisherUrl::File(_) | PublisherUrl::Kafka(_), _) | (_, 0) => None,
        (PublisherUrl::Amqp(_), largest) => Some(largest),
    });
    largest.fold(own, usize::min)
}

/// Returns `true` if each event of a batch becomes a message of its own: as the source says, or its
/// provider's preset.
pub fn splits(source: &model::Source) -> bool {
    let preset = || {
        spec_of(&source.spec()).is_ok_and(|spec| spec.event.batch.is_some_and(|batch| batch.split))
    };
    source.split().unwrap_or_else(preset)
}

/// Returns the largest body in bytes that the provider is known to send.
pub fn largest_sent(source: &model::Source) -> Option<usize> {
    spec_of(&source.spec()).ok()?.facts.max_body_bytes
}

/// Usual largest body of an unknown provider: 1 MB.
const USUAL: usize = 1 << 20;

/// Returns the time for the upload of a body: `configured`, but at most three times the provider's
/// own timeout. The factor covers providers that count from the end of the request. A deadline set
/// by the operator says nothing about the provider.
fn upload(source: &model::Source, provider: Option<Duration>, configured: Duration) -> Duration {
    match (source.deadline, provider) {
        (None, Some(provider)) => configured.min(3 * provider),
        _ => configured,
    }
}

/// Most parts and bytes of an unknown path that are compared with the paths of sources.
const MAX_PARTS: usize = 16;
const MAX_COMPARED: usize = 64;

/// Bounds of the sources of a reload: the share in use, and the one with its new bounds.
#[derive(Debug)]
#[must_use]
pub struct NewShares(Vec<(Arc<Share>, Arc<Share>)>);

impl NewShares {
    /// Puts the bounds in force.
    pub fn put_in_force(&self) {
        self.0.iter().for_each(|(used, new)| used.resize(new));
    }
}

/// All sources, by path.
#[derive(Debug, Default)]
pub struct Sources {
    by_path: HashMap<String, Arc<Source>>,
}

impl Sources {
    /// Returns the given sources. Their names and paths have to be unique.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Self {
        Self {
            by_path: sources
                .into_iter()
                .map(|source| (source.path.clone(), Arc::new(source)))
                .collect(),
        }
    }

    /// Compiles the sources of a configuration. Fails with every error of every source.
    pub fn compile(config: &Config, metrics: &Metrics) -> Result<Self, Vec<ConfigError>> {
        // Loading has found every mistake of the routes.
        let sinks = config
            .routes()
            .map_err(|error| vec![ConfigError::nowhere(error)])?;
        let mut mistakes = Vec::new();
        let mut sources = Vec::with_capacity(config.sources.len());
        for source in &config.sources {
            if let Some(key) = source.unread() {
                mistakes.push(config.source_error(
                    source,
                    &key,
                    "the secret was not read, so no delivery could be verified; start where the secret can be read, or remove it",
                ));
                continue;
            }
            match Scheme::compile(&source.spec(), config.limits.max_events_per_request) {
                Ok(scheme) => {
                    let shared = (sinks.clone(), metrics);
                    sources.push(Source::new(source, scheme, config, shared));
                }
                Err(errors) => mistakes.extend(errors.into_iter().map(|error| {
                    config.source_error(source, &source.own_key(&error.key.to_string()), error.text)
                })),
            }
        }
        if mistakes.is_empty() {
            Ok(Self::new(sources))
        } else {
            Err(mistakes)
        }
    }

    /// Takes over from the sources before a reload what outlives it. `kept` tells how much of a source is the same. Changes nothing
    /// of the sources before: returns their new bounds, to be put in force with these sources.
    pub fn take_over(
        &mut self,
        before: &Self,
        kept: impl Fn(&SourceName) -> KeptPart,
    ) -> NewShares {
        let by_name: HashMap<_, _> = before.iter().map(|source| (&source.name, source)).collect();
        let mut shares = Vec::new();
        for source in self.by_path.values_mut() {
            let Some(before) = by_name.get(&source.name) else {
                continue;
            };
            shares.push((before.share.clone(), source.share.clone()));
            match (kept(&source.name), Arc::get_mut(source)) {
                (KeptPart::All, _) => *source = (*before).clone(),
                (kept, Some(source)) => source.take_over(before, kept),
                (_, None) => {}
            }
        }
        NewShares(shares)
    }

    /// Returns the source at `/ingest/{path}`.
    pub fn at(&self, path: &str) -> Option<&Arc<Source>> {
        self.by_path.get(path)
    }

    /// Returns the path that was probably meant: without extra slashes, or the most similar one.
    pub fn nearest(&self, wrong: &str) -> Option<&str> {
        let parts = wrong
            .split('/')
            .filter(|part| !part.is_empty() && *part != "ingest");
        let tidy = parts
            .take(MAX_PARTS)
            .collect::<Vec<_>>()
            .join("/")
            .to_lowercase();
        let same = self
            .by_path
            .keys()
            .find(|path| path.eq_ignore_ascii_case(&tidy));
        same.map(String::as_str).or_else(|| {
            nearest(
                tidy.get(..MAX_COMPARED).unwrap_or(&tidy),
                self.by_path.keys().map(String::as_str),
            )
        })
    }

    /// Returns all sources, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.by_path.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sources of a configuration with two of them, and these limits.
    fn limited(limits: &str) -> Sources {
        let source = |name: &str| format!("[[source]]\nname = \"{name}\"\nprovider = \"none\"\n");
        let text = format!("[limits]\n{limits}\n{}{}", source("one"), source("two"));
        let config = Config::from_toml(&text).expect("valid");
        Sources::compile(&config, &Metrics::new().expect("metrics")).expect("sources")
    }

    #[test]
    fn a_dry_run_with_smaller_limits_turns_no_delivery_away() {
        let before = limited("in_flight_bytes = 100_000_000");
        let bound = || before.at("one").expect("a source").share.used().1;
        for kept in [KeptPart::All, KeptPart::Scheme, KeptPart::Figures] {
            assert_eq!(bound(), 50_000_000);
            let mut smaller = limited("in_flight_bytes = 80_000_000");
            let shares = smaller.take_over(&before, |_| kept);
            assert_eq!(bound(), 50_000_000, "nothing is in force yet");
            shares.put_in_force();
            assert_eq!(bound(), 40_000_000);
            let mut back = limited("in_flight_bytes = 100_000_000");
            back.take_over(&before, |_| kept).put_in_force();
        }
    }

    #[test]
    fn keys_that_were_fetched_and_their_threads_stay_over_a_change_of_limits() {
        let (before, mut after) = (limited(""), limited("deadline_ms = 2400"));
        let keys = |sources: &Sources| sources.at("one").expect("a source").keys.clone();
        after
            .take_over(&before, |_| KeptPart::Scheme)
            .put_in_force();
        assert!(Arc::ptr_eq(&keys(&before), &keys(&after)));
        let deadline = after.at("one").expect("a source").deadline;
        assert_eq!(deadline, Duration::from_millis(2400), "the rest is new");
        let mut after = limited("");
        after.take_over(&before, |_| KeptPart::Keys).put_in_force();
        assert!(!Arc::ptr_eq(&keys(&before), &keys(&after)));
    }

    #[test]
    fn a_path_with_a_slash_too_many_leads_to_the_source_that_was_meant() {
        let text = "[[source]]\nname = \"github\"\nprovider = \"none\"\n[[source]]\nname = \"b\"\npath = \"stripe/refunds\"\nprovider = \"none\"\n";
        let config = Config::from_toml(text).expect("valid");
        let sources =
            Sources::compile(&config, &Metrics::new().expect("metrics")).expect("sources");
        for (wrong, meant) in [
            ("github/", Some("github")),
            ("//ingest/github", Some("github")),
            ("/ingest//stripe/refunds/", Some("stripe/refunds")),
            ("GitHub", Some("github")),
            ("githup", Some("github")),
            ("wp-login.php", None),
        ] {
            assert_eq!(sources.nearest(wrong), meant, "{wrong}");
        }
    }
}
