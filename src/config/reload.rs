//! Differences between the configuration in force and a new one, and the part of them that a running service takes over.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::error::ConfigError;
use super::model::{AdminToken, Config, Limits, Publisher, PublisherUrl, Source, TlsListener};
use super::report::Effective;
use crate::domain::delivery::SourceName;

/// A difference between two configurations. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// Option, source or sink: `limits.deadline_ms`, `source.stripe.secrets`, `source.stripe`.
    pub option: String,
    /// Difference, in words.
    pub what: String,
    /// Location of the new value, if there is one.
    pub place: Option<String>,
    /// True if a reload takes it over; false if it needs a restart.
    pub live: bool,
}

/// Options of a sink that a reload takes over.
const OF_SINK: [&str; 4] = [
    "event_types",
    "except_event_types",
    "forward_headers",
    "routing_key",
];

/// Options of a source that its Kafka sinks know from their start on.
const OF_KAFKA: [&str; 3] = ["topic", "record_key", "max_body_bytes"];

/// Longest window that the store keeps keys for without knowing it from its start on.
const LONGEST_WINDOW: Duration = Duration::from_secs(70 * 24 * 3600);

/// Reason for which a secret counts as changed.
const OTHER_SECRET: &str = "the secret behind a reference is another one";

impl Config {
    /// Returns the differences of `new`, in the order of its options.
    pub fn changes_to(&self, new: &Self) -> Vec<ConfigChange> {
        let mut changes = self.named_changes(new);
        let whole: BTreeSet<String> = changes.iter().map(|change| change.option.clone()).collect();
        let (was, now) = (self.by_key(), new.by_key());
        let keys: BTreeSet<&str> = was.keys().chain(now.keys()).copied().collect();
        let whole = |key: &str| prefixes(key).any(|prefix| whole.contains(prefix));
        for key in keys.into_iter().filter(|key| !whole(key)) {
            changes.extend(self.change_of(key, was.get(key).copied(), now.get(key).copied()));
        }
        let secrets = self.secret_changes(new, &changes);
        changes.extend(secrets);
        changes
    }

    /// Returns the options as they were written, by their names. The last of a name counts.
    fn by_key(&self) -> BTreeMap<&str, &Effective> {
        let options = self.effective.iter();
        options
            .map(|option| (option.key.as_str(), option))
            .collect()
    }

    /// Returns the difference of one option.
    fn change_of(
        &self,
        key: &str,
        was: Option<&Effective>,
        now: Option<&Effective>,
    ) -> Option<ConfigChange> {
        let shown = |value: Option<&Effective>| match value {
            Some(option) => option.shown.clone(),
            None => "left out".to_owned(),
        };
        (shown(was) != shown(now)).then(|| ConfigChange {
            option: key.to_owned(),
            what: format!("{} -> {}", shown(was), shown(now)),
            place: now.map(|option| option.place.to_string()),
            live: self.is_live(key) && !turns_tls_off(key, now),
        })
    }

    /// Returns sources and sinks that are new or gone.
    fn named_changes(&self, new: &Self) -> Vec<ConfigChange> {
        let change = |config: &Self, option: String, what: &str, live| ConfigChange {
            place: config
                .places
                .get(&format!("{option}.name"))
                .map(ToString::to_string),
            option,
            what: what.to_owned(),
            live,
        };
        let mut changes = Vec::new();
        for (one, other, what) in [(new, self, "added"), (self, new, "removed")] {
            let (sources, others) = (one.sources.iter(), other.by_name());
            let only = sources.filter(|source| !others.contains_key(&source.name));
            changes.extend(
                only.map(|source| change(one, format!("source.{}", source.name), what, true)),
            );
            let sinks = one.sinks.iter();
            let only = sinks.filter(|sink| {
                sink.section != "publisher" && !other.sinks.iter().any(|s| s.name == sink.name)
            });
            changes.extend(only.map(|sink| change(one, sink.section.clone(), what, false)));
        }
        changes
    }

    /// Returns secrets that are others under the same references.
    fn secret_changes(&self, new: &Self, shown: &[ConfigChange]) -> Vec<ConfigChange> {
        let shown: BTreeSet<&str> = shown.iter().map(|change| &*change.option).collect();
        let mut changes = Vec::new();
        let mut note = |option: String, live| {
            let place = new.places.get(&option).map(ToString::to_string);
            if !shown.contains(&*option) {
                let what = OTHER_SECRET.to_owned();
                changes.push(ConfigChange {
                    option,
                    what,
                    place,
                    live,
                });
            }
        };
        let before = self.by_name();
        for source in &new.sources {
            let Some(before) = before.get(&source.name) else {
                continue;
            };
            let differ = [
                ("secrets", before.secrets != source.secrets),
                (
                    "retiring_secrets",
                    before.retiring_secrets != source.retiring_secrets,
                ),
                ("public_keys", before.public_keys != source.public_keys),
                ("params", before.params != source.params),
            ];
            for (key, _) in differ.into_iter().filter(|(_, differs)| *differs) {
                note(format!("source.{}.{key}", source.name), true);
            }
        }
        for option in self.tls_changes(new) {
            note(option.to_owned(), true);
        }
        let others = self.other_secrets(new);
        others.into_iter().for_each(|option| note(option, false));
        changes
    }

    /// Returns the options of listeners whose certificates or keys are others.
    fn tls_changes(&self, new: &Self) -> Vec<&'static str> {
        let pairs = TlsListener::ALL.into_iter().filter_map(|listener| {
            Some((listener, self.tls.pair(listener)?, new.tls.pair(listener)?))
        });
        let changed = pairs.flat_map(|(listener, was, now)| {
            let (certificate, key) = listener.options();
            let differ = [
                (certificate, was.certificate != now.certificate),
                (key, was.key != now.key),
            ];
            differ.into_iter().filter(|(_, differs)| *differs)
        });
        changed.map(|(option, _)| option).collect()
    }

    /// Returns options outside of sources whose secrets are others.
    fn other_secrets(&self, new: &Self) -> Vec<String> {
        let same_name = |token: &AdminToken| {
            let mut tokens = self.admin.tokens.iter();
            tokens.find(|before| before.name == token.name)
        };
        let is_other = |token: &AdminToken| {
            same_name(token).is_some_and(|before| before.secret != token.secret)
        };
        let differ = [
            ("store.url", self.store.url != new.store.url),
            ("admin.tokens", new.admin.tokens.iter().any(is_other)),
            (
                "lakehouse.catalog",
                self.lakehouse.catalog != new.lakehouse.catalog,
            ),
            (
                "lakehouse.properties",
                self.lakehouse.properties != new.lakehouse.properties,
            ),
        ];
        let differ = differ.into_iter().filter(|(_, differs)| *differs);
        let mut options: Vec<String> = differ.map(|(key, _)| key.to_owned()).collect();
        for sink in &new.sinks {
            let before = self.sinks.iter().find(|before| before.name == sink.name);
            if before.is_some_and(|before| before.url != sink.url) {
                options.push(sink.key("url"));
            }
        }
        options
    }

    fn by_name(&self) -> HashMap<&SourceName, &Source> {
        let sources = self.sources.iter();
        sources.map(|source| (&source.name, source)).collect()
    }

    fn has_kafka(&self) -> bool {
        self.sinks.iter().any(is_kafka)
    }

    /// Returns `true` if a reload takes over a change of this option.
    fn is_live(&self, key: &str) -> bool {
        let last = key.rsplit('.').next().unwrap_or(key);
        match key.split('.').next() {
            Some("limits") => {
                last != "max_header_bytes" && !(self.has_kafka() && last == "max_body_bytes")
            }
            Some("log") => last != "format",
            Some("source") => !(self.has_kafka() && OF_KAFKA.contains(&last)),
            Some("sink" | "publisher") => OF_SINK.contains(&last),
            Some("tls") => TlsListener::ALL.into_iter().any(|of| {
                let (certificate, pair_key) = of.options();
                self.tls.is_on(of) && (key == certificate || key == pair_key)
            }),
            _ => false,
        }
    }

    /// Returns the configuration that is in force after a reload of `new`: what needs a restart stays as it is. Fails if a
    /// part of `new` cannot do without the restart.
    pub fn reloaded(&self, new: &Self) -> Result<Self, Vec<ConfigError>> {
        let before = self.by_name();
        let removed: HashSet<_> = self.known_to_kafka.iter().collect();
        let mut mistakes = Vec::new();
        for source in &new.sources {
            let before = before.get(&source.name).copied();
            mistakes.extend(self.too_early(new, source, before));
            if before.is_none() && removed.contains(&source.name) {
                let text = "a Kafka sink still has the topic, key or size of the removed source of this name: restart the service, or take another name";
                mistakes.push(new.source_error(source, "name", text));
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut next = Self {
            limits: Limits {
                max_header_bytes: self.limits.max_header_bytes,
                ..new.limits.clone()
            },
            log: super::model::Log {
                format: self.log.format,
                ..new.log.clone()
            },
            sources: new.sources.clone(),
            tls: self.tls.with(&new.tls),
            warnings: new.warnings.clone(),
            effective: new.effective.clone(),
            places: new.places.clone(),
            ..self.clone()
        };
        if self.has_kafka() {
            self.keep_for_kafka(&mut next, &new.by_name());
        }
        next.sinks
            .iter_mut()
            .for_each(|sink| take_over(sink, &new.sinks));
        if let Some(first) = next.sinks.first() {
            next.first_sink = first.clone();
        }
        next.collect_headers();
        Ok(next)
    }

    /// Keeps in `next`, which has these sources by their names, what Kafka sinks know from their start on.
    fn keep_for_kafka(&self, next: &mut Self, named: &HashMap<&SourceName, &Source>) {
        let before = self.by_name();
        next.limits.max_body_bytes = self.limits.max_body_bytes;
        for source in &mut next.sources {
            if let Some(before) = before.get(&source.name) {
                (source.topic, source.record_key) =
                    (before.topic.clone(), before.record_key.clone());
                source.max_body_bytes = before.max_body_bytes;
            }
        }
        let removed = self.sources.iter().filter(|source| {
            !named.contains_key(&source.name) && of_kafka(source).next().is_some()
        });
        let removed = removed.map(|source| source.name.clone());
        next.known_to_kafka.extend(removed);
    }

    /// Returns what a source of `new` needs a restart for, before it can take events.
    fn too_early(&self, new: &Self, source: &Source, before: Option<&Source>) -> Vec<ConfigError> {
        let mut found = Vec::new();
        for sink in &source.sinks {
            if !self.sinks.iter().any(|own| own.name == *sink) {
                let text = format!(
                    "the sink \"{sink}\" begins with a restart, and the source cannot be reloaded before: restart the service"
                );
                found.push(new.source_error(source, "sinks", text));
            }
        }
        let is_new = before.is_none_or(|before| before.window != source.window);
        if is_new && source.window.is_some_and(|window| window > LONGEST_WINDOW) {
            let text = "the store learns of a window of more than 70 days at a restart only: restart the service, or lower it";
            found.push(new.source_error(source, "window_days", text));
        }
        if self.is_new_to_kafka(source, before) {
            for key in of_kafka(source) {
                let text = "a Kafka sink learns this of a source at a restart only: restart the service, or leave it out";
                found.push(new.source_error(source, key, text));
            }
        }
        found
    }

    /// Returns `true` if a Kafka sink gets the source that it did not get before.
    fn is_new_to_kafka(&self, source: &Source, before: Option<&Source>) -> bool {
        let mut sinks = self.sinks.iter().filter(|sink| is_kafka(sink));
        sinks.any(|sink| sink.gets(source) && !before.is_some_and(|before| sink.gets(before)))
    }

    /// Keeps the values in force of the options that `changes` names, so that the next comparison finds them again.
    pub fn keep_shown(&mut self, before: &Self, changes: &[ConfigChange]) {
        let waiting = changes.iter().filter(|change| !change.live);
        let waiting: HashSet<&str> = waiting.map(|change| &*change.option).collect();
        let waits = |option: &Effective| prefixes(&option.key).any(|key| waiting.contains(key));
        self.effective.retain(|option| !waits(option));
        let kept = before.effective.iter().filter(|option| waits(option));
        self.effective.extend(kept.cloned());
    }
}

/// Returns a name, and the names of the tables that it is in: `a.b.c`, `a`, `a.b`.
fn prefixes(key: &str) -> impl Iterator<Item = &str> {
    let tables = key.match_indices('.');
    std::iter::once(key).chain(tables.filter_map(|(end, _)| key.get(..end)))
}

/// Returns `true` if a change takes certificate or key away: that needs a restart.
fn turns_tls_off(key: &str, now: Option<&Effective>) -> bool {
    key.starts_with("tls.") && now.is_none_or(|now| now.shown == "\"\"")
}

fn is_kafka(sink: &Publisher) -> bool {
    matches!(sink.url, PublisherUrl::Kafka(_))
}

/// Returns the options of a source that its Kafka sinks know from their start on, as far as it has them.
fn of_kafka(source: &Source) -> impl Iterator<Item = &'static str> {
    let own = [
        source.topic.is_some(),
        source.record_key.is_some(),
        source.max_body_bytes.is_some(),
    ];
    let own = OF_KAFKA.into_iter().zip(own);
    own.filter(|(_, own)| *own).map(|(key, _)| key)
}

/// Takes over what a reload changes of a sink.
fn take_over(sink: &mut Publisher, new: &[Publisher]) {
    if let Some(new) = new.iter().find(|new| new.name == sink.name) {
        sink.event_types.clone_from(&new.event_types);
        sink.except_event_types.clone_from(&new.except_event_types);
        sink.forward_headers.clone_from(&new.forward_headers);
        sink.routing_key.clone_from(&new.routing_key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::from_toml(text).expect("valid")
    }

    fn source(more: &str) -> String {
        format!("[[source]]\nname = \"s\"\nprovider = \"none\"\n{more}\n")
    }

    fn mistakes(before: &Config, after: &Config) -> Vec<String> {
        match before.reloaded(after) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_kafka_sink_keeps_the_topics_and_sizes_of_its_start() {
        let kafka = "[publisher]\nurl = \"kafka://localhost:9092\"\n";
        let before = config(&format!("{kafka}{}", source("topic = \"one\"")));
        let after = config(&format!(
            "{kafka}{}",
            source("topic = \"two\"\nmax_body_bytes = 9")
        ));
        let changes = before.changes_to(&after);
        let live: Vec<_> = changes
            .iter()
            .map(|of| (of.option.as_str(), of.live))
            .collect();
        assert_eq!(
            live,
            [
                ("source.s.max_body_bytes", false),
                ("source.s.topic", false)
            ]
        );
        let mut next = before.reloaded(&after).expect("what can change, changes");
        next.keep_shown(&before, &changes);
        assert_eq!(next.sources[0].topic.as_deref(), Some("one"));
        assert_eq!(
            next.changes_to(&after).len(),
            2,
            "named again at the next reload"
        );
        assert!(next.changes_to(&before).is_empty());
        let new = config(kafka);
        let found = mistakes(&new, &before);
        assert!(
            found.len() == 1 && found[0].contains("source.s.topic"),
            "{found:?}"
        );
    }

    #[test]
    fn events_of_a_source_that_comes_to_kafka_by_a_reload_never_go_to_a_wrong_topic() {
        let sinks = "[publisher]\nurl = \"file://data/events\"\n[[sink]]\nname = \"kafka\"\nurl = \"kafka://localhost:9092\"\n";
        let of = |more: &str| config(&format!("{sinks}{}", source(more)));
        let none = config(sinks);
        let (to_file, to_both) = (
            of("topic = \"own\"\nsinks = [\"default\"]"),
            of("topic = \"own\"\nsinks = [\"default\", \"kafka\"]"),
        );
        let found = mistakes(&to_file, &to_both);
        assert!(
            found.len() == 1 && found[0].contains("source.s.topic"),
            "{found:?}"
        );
        assert!(mistakes(&to_both, &to_file).is_empty());
        let gone = to_both.reloaded(&none).expect("removed");
        let found = mistakes(&gone, &of(""));
        assert!(
            found.len() == 1 && found[0].contains("removed source of this name"),
            "{found:?}"
        );
        let plain = of("").reloaded(&none).expect("removed");
        assert!(mistakes(&plain, &of("")).is_empty(), "it had no topic");
    }

    #[test]
    fn a_token_that_was_rotated_in_its_file_is_named_since_the_old_one_is_valid_until_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        let of = |token: &str, catalog: &str| {
            write("token", token);
            write("catalog", catalog);
            let at = folder.path().display();
            config(&format!(
                "[admin]\ntokens = {{ ann = {{ secret = \"file:{at}/token\", may = [\"look\"] }} }}\n\
                 [lakehouse]\ncatalog = \"file:{at}/catalog\"\n"
            ))
        };
        let (token, catalog) = (
            "a token of at least 32 characters, the first one",
            "postgres://one@db/catalog",
        );
        let before = of(token, catalog);
        assert!(before.changes_to(&of(token, catalog)).is_empty());
        let after = of(
            "a token of at least 32 characters, the second one",
            "postgres://two@db/catalog",
        );
        for _ in 0..2 {
            let changes = before.changes_to(&after);
            let waiting: Vec<_> = changes
                .iter()
                .map(|change| (change.option.as_str(), change.live))
                .collect();
            assert_eq!(
                waiting,
                [("admin.tokens", false), ("lakehouse.catalog", false)]
            );
        }
    }

    #[test]
    fn a_window_that_the_store_does_not_know_of_waits_for_a_restart() {
        let of = |days: u64| config(&source(&format!("window_days = {days}")));
        assert!(mistakes(&of(7), &of(70)).is_empty());
        assert!(mistakes(&of(7), &of(71))[0].contains("source.s.window_days"));
        assert!(
            mistakes(&of(90), &of(90)).is_empty(),
            "known from the start on"
        );
    }
}
