//! Reader of options from their layers.
//!
//! Every layer's value is checked, the last one wins. A mistake is noted and reading goes on, so that all mistakes are reported at
//! once.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::error::{ConfigError, Place, Problem, nearest};
use super::layers::{Item, Kind, Raw};
use super::model::Source;
use super::option::ConnectionUrl;
use super::secret::{Environment, Reference, ResolveError, Secret};
use super::show::{shown_entry, shown_list};
use super::sources::source_error;
use super::urls::without_password;

/// The value of an option that is in force, as TOML fit to be shown, and where it was written.
#[derive(Debug, Clone)]
pub(super) struct Effective {
    pub(super) key: String,
    pub(super) shown: String,
    pub(super) place: Place,
}

/// Findings of reading and checking, besides the values.
#[derive(Default)]
pub struct Report {
    pub(super) mistakes: Vec<ConfigError>,
    pub(super) warnings: Vec<String>,
    pub(super) effective: Vec<Effective>,
    pub(super) places: Places,
    /// Secrets that are not here are noted in `untried`, and are no mistake.
    pub(super) lenient: bool,
    pub(super) untried: Vec<ConfigError>,
    /// Routing keys as written, for the stage that knows their grammar.
    pub(super) routing_keys: Vec<(Place, String, String)>,
}

/// Location of each value in force, with elements of lists and entries of tables:
/// `source.s.secrets[0]`, `source.s.scheme.ts`.
pub(super) type Places = BTreeMap<String, Place>;

impl Report {
    /// A mistake in the value of `key`, wherever that was written.
    pub fn blame(&mut self, key: &str, problem: impl Into<String>) {
        let place = self.places.get(key).cloned();
        self.mistakes.push(ConfigError {
            place,
            key: Some(key.to_owned()),
            problem: Problem::Other(problem.into()),
        });
    }

    /// Checks each routing key that was written.
    pub fn check_routing_keys(&mut self, check: impl Fn(&str) -> Result<(), String>) {
        for (place, key, text) in std::mem::take(&mut self.routing_keys) {
            if let Err(problem) = check(&text) {
                let problem = Problem::Other(problem);
                self.mistakes.push(ConfigError::at(&place, key, problem));
            }
        }
    }

    /// Notes a warning.
    pub fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// Notes mistakes in keys of a source, each unless one was noted there before.
    pub fn blame_source(
        &mut self,
        source: &Source,
        found: impl IntoIterator<Item = (String, String)>,
    ) {
        let errors = found
            .into_iter()
            .map(|(key, problem)| source_error(&self.places, source, &key, problem));
        let known = |error: &ConfigError| {
            self.mistakes.iter().any(|mistake| {
                mistake.key == error.key || mistake.place.is_some() && mistake.place == error.place
            })
        };
        let news: Vec<ConfigError> = errors.filter(|error| !known(error)).collect();
        self.mistakes.extend(news);
    }

    fn locate(&mut self, key: String, raw: &Raw, place: &Place) {
        match raw {
            Raw::List(items) => {
                items.iter().enumerate().for_each(|(n, item)| {
                    self.locate(format!("{key}[{n}]"), &item.raw, &item.place)
                });
            }
            Raw::Table(table) => table.iter().for_each(|(name, item)| {
                self.locate(format!("{key}.{name}"), &item.raw, &item.place)
            }),
            _ => {}
        }
        self.places.insert(key, place.clone());
    }

    /// Returns true if the options were read without a mistake, so that they can be compared.
    pub fn sound(&self, keys: &[&str]) -> bool {
        !self.mistakes.iter().any(|mistake| {
            mistake
                .key
                .as_deref()
                .is_some_and(|key| keys.contains(&key))
        })
    }
}

/// Reads the options of one table from its layers, the weakest first.
pub(super) struct Reader<'a> {
    /// Text in front of a key that makes its full name: `source.stripe.`, or nothing.
    prefix: String,
    layers: Vec<&'a BTreeMap<String, Item>>,
    environment: &'a Environment,
    pub(super) report: &'a mut Report,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        prefix: String,
        layers: Vec<&'a BTreeMap<String, Item>>,
        environment: &'a Environment,
        report: &'a mut Report,
    ) -> Self {
        Self {
            prefix,
            layers,
            environment,
            report,
            known: Vec::new(),
        }
    }

    /// Reads `host:port`.
    pub(super) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let expected =
            "an address and port such as \"127.0.0.1:8420\", \"0.0.0.0:8420\" or \"[::]:8420\"";
        self.parsed(key, expected, |text| {
            let text = text
                .strip_prefix("localhost:")
                .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
            text.parse().ok()
        })
    }

    /// Reads a number within `bounds`. `unit` is said in errors.
    pub(super) fn number<N: TryFrom<i128>>(
        &mut self,
        key: &'static str,
        bounds: &RangeInclusive<i128>,
        unit: &str,
    ) -> Option<N> {
        let expected = format!(
            "a whole number{unit} from {} to {}",
            bounds.start(),
            bounds.end()
        );
        let number = self.read(key, Kind::Integer, &expected, |raw| match raw {
            Raw::Integer(number) if bounds.contains(number) => Some(*number),
            _ => None,
        })?;
        N::try_from(number.0).ok()
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let flag = self.read(key, Kind::Boolean, "true or false", |raw| match raw {
            Raw::Boolean(flag) => Some(*flag),
            _ => None,
        });
        flag.is_some_and(|(flag, _)| flag)
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let names: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let expected = format!("one of {}", names.join(", "));
        let before = self.report.mistakes.len();
        let chosen = self.parsed(key, &expected, |text| {
            choices
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value)
        });
        for mistake in &mut self.report.mistakes[before..] {
            if let Problem::Unexpected {
                found,
                nearest: hint,
                ..
            } = &mut mistake.problem
            {
                *hint = nearest(found, names.iter().map(String::as_str)).map(str::to_owned);
            }
        }
        chosen
    }

    /// Any text that `check` does not object to; `check` says what it objects to.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let (text, place) = self.read(key, Kind::Text, "a string", Raw::text)?;
        if let Err(objection) = check(&text) {
            self.mistake(&place, key, Problem::Other(objection));
        }
        Some(text)
    }

    /// A routing key, which a stage checks later.
    pub(super) fn routing_key(&mut self, key: &'static str) -> Option<String> {
        let (text, place) = self.read(key, Kind::Text, "a string", Raw::text)?;
        let full = format!("{}{key}", self.prefix);
        self.report.routing_keys.push((place, full, text.clone()));
        Some(text)
    }

    /// Text that is parsed; not for secrets, since a wrong value is shown.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.read(key, Kind::Text, expected, |raw| {
            raw.text().and_then(|text| parse(&text))
        })
        .map(|(value, _)| value)
    }

    /// Reads a URL that may hold a password, or a reference to where it is.
    pub(super) fn secret_url<T: ConnectionUrl>(&mut self, key: &'static str) -> Option<T> {
        let is_elsewhere = |text: &str| match Reference::parse(text) {
            Some(Reference::Env(_) | Reference::Credential(_)) => true,
            Some(Reference::File(path)) => T::FROM_FILE && !path.starts_with("//"),
            Some(Reference::Plain(_)) | None => false,
        };
        let (text, place) =
            self.read_hidden(key, Kind::Text, "a URL as a string", Raw::text, |text| {
                if is_elsewhere(text) {
                    text.clone()
                } else {
                    without_password(text)
                }
            })?;
        let url = if is_elsewhere(&text) {
            let secret = self.resolve(&text, &place, key)?;
            if secret.is_unread() {
                return Some(T::unread());
            }
            utf8(&secret)
        } else {
            Ok(text)
        };
        match url.and_then(|url| T::parse(&url)) {
            Ok(url) => Some(url),
            Err(objection) => {
                self.mistake(&place, key, Problem::Other(objection));
                None
            }
        }
    }

    /// A list of secrets by reference; where `literal`, what is no reference is the value itself.
    pub(super) fn secrets(&mut self, key: &'static str, literal: bool) -> Vec<Secret> {
        let expected = format!("a list such as [\"env:NAME\"]: each {}", Reference::FORMS);
        let show = |items: &Vec<Item>| shown_list(items, literal);
        let Some((items, _)) = self.read_hidden(key, Kind::List, &expected, Raw::list, show) else {
            return Vec::new();
        };
        let mut secrets = Vec::new();
        for item in items {
            let secret = match item.raw.text() {
                Some(text) if Reference::parse(&text).is_some() => {
                    // A secret that cannot be read keeps its place, so that the others are judged.
                    secrets.push(
                        self.resolve(&text, &item.place, key)
                            .unwrap_or_else(Secret::unread),
                    );
                    continue;
                }
                Some(text) if literal => Ok(Secret::new(text.into_bytes())),
                Some(_) => Err(format!(
                    "expected {}, found a string that begins with none of these",
                    Reference::FORMS
                )),
                None => Err(format!(
                    "expected {}, found {}",
                    Reference::FORMS,
                    item.raw.kind()
                )),
            };
            secrets.push(secret.unwrap_or_else(|objection| {
                self.mistake(&item.place, key, Problem::Other(objection));
                Secret::unread()
            }));
        }
        secrets
    }

    /// A list of texts, each parsed.
    pub(super) fn list<T, E: Display>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some((items, _)) = self.read(key, Kind::List, "a list of strings", Raw::list) else {
            return Vec::new();
        };
        let mut values = Vec::new();
        for item in items {
            match item.raw.text().map(|text| parse(&text)) {
                Some(Ok(value)) => values.push(value),
                Some(Err(objection)) => self.mistake(
                    &item.place,
                    key,
                    Problem::Other(format!("{}: {objection}", item.raw.describe())),
                ),
                None => self.mistake(
                    &item.place,
                    key,
                    unexpected("a string", item.raw.describe()),
                ),
            }
        }
        values
    }

    /// A table of texts, in which a value may be a reference.
    pub(super) fn texts(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let show = |table: &BTreeMap<String, Item>| {
            let entries = table
                .iter()
                .map(|(name, item)| format!("{name} = {}", shown_entry(name, &item.raw)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        };
        let Some((table, _)) =
            self.read_hidden(key, Kind::Table, "a table of strings", Raw::table, show)
        else {
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for (name, item) in table {
            let key = format!("{key}.{name}");
            let text = match item.raw.text() {
                Some(text) if Reference::parse(&text).is_some() => {
                    match self.resolve(&text, &item.place, &key) {
                        Some(secret) if secret.is_unread() => Ok("unread".to_owned()),
                        Some(secret) => utf8(&secret),
                        None => continue,
                    }
                }
                Some(text) => Ok(text),
                None => Err(format!("expected a string, found {}", item.raw.kind())),
            };
            match text {
                Ok(text) => drop(texts.insert(name, text)),
                Err(objection) => self.mistake(&item.place, &key, Problem::Other(objection)),
            }
        }
        texts
    }

    /// A table that another module reads.
    pub(super) fn table(&mut self, key: &'static str) -> Option<toml::Table> {
        let (table, _) = self.read(key, Kind::Table, "a table", Raw::table)?;
        Some(
            table
                .iter()
                .map(|(name, item)| (name.clone(), item.raw.to_toml()))
                .collect(),
        )
    }

    /// Notes a mistake in `key`.
    pub(super) fn mistake(&mut self, place: &Place, key: &str, problem: Problem) {
        self.report.mistakes.push(ConfigError::at(
            place,
            format!("{}{key}", self.prefix),
            problem,
        ));
    }

    /// Notes every written option that was not read, and returns the names of those that were.
    pub(super) fn finish(self) -> Vec<&'static str> {
        let prefix = &self.prefix;
        for (key, item) in self
            .layers
            .iter()
            .flat_map(|layer| layer.iter())
            .filter(|(key, _)| !self.known.contains(&key.as_str()))
        {
            let section = format!("{key}.");
            let problem = if !self.known.iter().any(|known| known.starts_with(&section)) {
                let nearest = nearest(key, self.known.iter().copied())
                    .map(|name| as_written(&item.place, &format!("{prefix}{name}")));
                Problem::Unknown { nearest }
            } else if matches!(&item.raw, Raw::Table(table) if table.is_empty()) {
                continue;
            } else {
                unexpected(&format!("a section [{key}]"), item.raw.kind())
            };
            self.report.mistakes.push(ConfigError::at(
                &item.place,
                format!("{prefix}{key}"),
                problem,
            ));
        }
        self.known
    }

    /// The secret behind a reference, unread where that is allowed. None, with the mistake noted, if there is none.
    fn resolve(&mut self, reference: &str, place: &Place, key: &str) -> Option<Secret> {
        let parsed = Reference::parse(reference)?;
        let mut warnings = Vec::new();
        let resolved = parsed.resolve(self.environment, &mut warnings);
        // The same secret may be referred to by several sources.
        warnings.retain(|warning| !self.report.warnings.contains(warning));
        self.report.warnings.extend(warnings);
        match resolved {
            Ok(secret) => Some(secret),
            Err(ResolveError::NotHere(why)) if self.report.lenient => {
                let untried =
                    ConfigError::at(place, format!("{}{key}", self.prefix), Problem::Other(why));
                self.report.untried.push(untried);
                Some(Secret::unread())
            }
            Err(error) => {
                self.mistake(place, key, Problem::Other(error.to_string()));
                None
            }
        }
    }

    /// Reads an option that is no secret.
    fn read<T>(
        &mut self,
        key: &'static str,
        kind: Kind,
        expected: &str,
        parse: impl Fn(&Raw) -> Option<T>,
    ) -> Option<(T, Place)> {
        self.read_as(key, kind, expected, parse, Raw::describe, |raw, _| {
            raw.to_toml().to_string()
        })
    }

    /// Reads an option whose value is a secret or may hold one: an error tells only its kind.
    fn read_hidden<T>(
        &mut self,
        key: &'static str,
        kind: Kind,
        expected: &str,
        parse: impl Fn(&Raw) -> Option<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<(T, Place)> {
        let quoted = |text: String| {
            if kind == Kind::Text {
                toml::Value::String(text).to_string()
            } else {
                text
            }
        };
        self.read_as(
            key,
            kind,
            expected,
            parse,
            |raw| raw.kind().to_owned(),
            |_, value| quoted(show(value)),
        )
    }

    fn read_as<T>(
        &mut self,
        key: &'static str,
        kind: Kind,
        expected: &str,
        parse: impl Fn(&Raw) -> Option<T>,
        describe: impl Fn(&Raw) -> String,
        show: impl Fn(&Raw, &T) -> String,
    ) -> Option<(T, Place)> {
        self.known.push(key);
        let mut last = None;
        let written: Vec<&Item> = self
            .layers
            .iter()
            .filter_map(|layer| layer.get(key))
            .collect();
        for item in written {
            let raw = item.read_as(kind);
            match parse(&raw) {
                Some(value) => last = Some((show(&raw, &value), value, raw, item.place.clone())),
                None => self.mistake(&item.place, key, unexpected(expected, describe(&raw))),
            }
        }
        let (shown, value, raw, place) = last?;
        let key = format!("{}{key}", self.prefix);
        self.report.locate(key.clone(), &raw, &place);
        self.report.effective.push(Effective {
            key,
            shown,
            place: place.clone(),
        });
        Some((value, place))
    }
}

fn unexpected(expected: &str, found: impl Into<String>) -> Problem {
    Problem::Unexpected {
        expected: expected.to_owned(),
        found: found.into(),
        nearest: None,
    }
}

/// A key as the operator would write it in that place.
fn as_written(place: &Place, key: &str) -> String {
    match place {
        Place::Environment(_) => {
            format!("HOOKWEIR__{}", key.replace('.', "__").to_ascii_uppercase())
        }
        _ => key.to_owned(),
    }
}

fn utf8(secret: &Secret) -> Result<String, String> {
    String::from_utf8(secret.expose().to_vec())
        .map_err(|_| "the value that was read is not valid UTF-8".to_owned())
}
