//! Reader of options from their layers.
//!
//! Every layer's value is checked, the last one wins. A mistake is noted and reading goes on, so that all mistakes are reported at
//! once.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use super::error::{ConfigError, Place, Problem, nearest};
use super::option::TemplateKind;
use super::report::{Effective, Report};
use super::secret::Environment;
use super::value::{Item, Kind, Raw};

/// Reads the options of one table from its layers, the weakest first.
pub(super) struct Reader<'a> {
    /// Text in front of a key that makes its full name: `source.stripe.`, or nothing.
    prefix: String,
    /// Start of the keys in place of which the prefix stands.
    section: &'static str,
    layers: Vec<&'a BTreeMap<String, Item>>,
    pub(super) environment: &'a Environment,
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
            section: "",
            layers,
            environment,
            report,
            known: Vec::new(),
        }
    }

    /// Makes the prefix stand in place of `section` at the start of each key.
    pub(super) fn in_place_of(self, section: &'static str) -> Self {
        Self { section, ..self }
    }

    /// Returns the full name of a key.
    pub(super) fn full(&self, key: &str) -> String {
        let key = key.strip_prefix(self.section).unwrap_or(key);
        format!("{}{key}", self.prefix)
    }

    /// Reads `host:port`.
    pub(super) fn address(&mut self, key: &'static str) -> Option<SocketAddr> {
        let expected =
            "an address and port such as \"127.0.0.1:8420\", \"0.0.0.0:8420\" or \"[::]:8420\"";
        self.parsed(key, expected, address_of)
    }

    /// Reads `host:port`, or `""` for none.
    pub(super) fn address_or_none(&mut self, key: &'static str) -> Option<SocketAddr> {
        let expected = "\"\", or an address and port such as \"127.0.0.1:8422\"";
        let read = |text: &str| match text {
            "" => Some(None),
            text => address_of(text).map(Some),
        };
        self.parsed(key, expected, read).flatten()
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

    /// Reads a part of a whole, from 0 to 1.
    pub(super) fn ratio(&mut self, key: &'static str) -> Option<f64> {
        let is_part = |part: &f64| (0.0..=1.0).contains(part);
        let ratio = self.read(
            key,
            Kind::Fraction,
            "a ratio from 0 to 1",
            |raw| match raw {
                Raw::Float(part) => Some(*part).filter(is_part),
                Raw::Integer(whole @ (0 | 1)) => Some(*whole as f64),
                _ => None,
            },
        );
        ratio.map(|(ratio, _)| ratio)
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        let flag = self.read(key, Kind::Boolean, "true or false", |raw| match raw {
            Raw::Boolean(flag) => Some(*flag),
            _ => None,
        });
        flag.is_some_and(|(flag, _)| flag)
    }

    /// One of a few words. `absent` are words that are refused, each with what to use instead.
    pub(super) fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        absent: &[(&str, &str)],
    ) -> Option<T> {
        let names: Vec<String> = choices
            .iter()
            .map(|(name, _)| format!("\"{name}\""))
            .collect();
        let expected = format!("one of {}", names.join(", "));
        let before = self.report.mistakes.len();
        let instead = Cell::new(None);
        let chosen = self.parsed(key, &expected, |text| {
            instead.set(absent.iter().find(|(word, _)| *word == text));
            choices
                .iter()
                .find(|(name, _)| *name == text)
                .map(|(_, value)| *value)
        });
        for mistake in &mut self.report.mistakes[before..] {
            if let Some((word, why)) = instead.get() {
                mistake.problem = Problem::Other(format!("\"{word}\" {why}"));
            } else if let Problem::Unexpected {
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

    /// A template, which a stage checks later.
    pub(super) fn template(&mut self, kind: TemplateKind, key: &'static str) -> Option<String> {
        let (text, place) = self.read(key, Kind::Text, "a string", Raw::text)?;
        let full = self.full(key);
        self.report
            .templates
            .push((kind, place, full, text.clone()));
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
        let key = self.full(key);
        self.report
            .mistakes
            .push(ConfigError::at(place, key, problem));
    }

    /// Notes every written option that was not read, and returns the names of those that were.
    pub(super) fn finish(self) -> Vec<&'static str> {
        for (key, item) in self
            .layers
            .iter()
            .flat_map(|layer| layer.iter())
            .filter(|(key, _)| !self.known.contains(&key.as_str()))
        {
            let section = format!("{key}.");
            let problem = if !self.known.iter().any(|known| known.starts_with(&section)) {
                let nearest = nearest(key, self.known.iter().copied())
                    .map(|name| as_written(&item.place, &self.full(name)));
                Problem::Unknown { nearest }
            } else if matches!(&item.raw, Raw::Table(table) if table.is_empty()) {
                continue;
            } else {
                unexpected(&format!("a section [{key}]"), item.raw.kind())
            };
            self.report
                .mistakes
                .push(ConfigError::at(&item.place, self.full(key), problem));
        }
        self.known
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

    /// Reads an option: `describe` tells a wrong value in errors, `show` tells the value in force.
    pub(super) fn read_as<T>(
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
        let key = self.full(key);
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

fn address_of(text: &str) -> Option<SocketAddr> {
    let text = text
        .strip_prefix("localhost:")
        .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().ok()
}
