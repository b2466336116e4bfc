//! Report of reading and checking a configuration: mistakes, warnings, and the values in force.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place, Problem};
use super::model::Source;
use super::option::TemplateKind;
use super::sources::source_error;
use super::value::Raw;
use crate::domain::delivery::SourceName;

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
    /// Templates as written, for the stage that knows their grammar.
    pub(super) templates: Vec<(TemplateKind, Place, String, String)>,
}

/// Location of each value in force, with elements of lists and entries of tables:
/// `source.s.secrets[0]`, `source.s.scheme.ts`.
pub(super) type Places = BTreeMap<String, Place>;

impl Report {
    /// Returns `true` if the default of the option `key` is in force.
    pub fn is_default(&self, key: &str) -> bool {
        self.places
            .get(key)
            .is_none_or(|place| *place == Place::Default)
    }

    /// A mistake in the value of `key`, wherever that was written.
    pub fn blame(&mut self, key: &str, problem: impl Into<String>) {
        let place = self.places.get(key).cloned();
        self.mistakes.push(ConfigError {
            place,
            key: Some(key.to_owned()),
            problem: Problem::Other(problem.into()),
        });
    }

    /// Checks each template that was written.
    pub fn check_templates(&mut self, check: impl Fn(TemplateKind, &str) -> Result<(), String>) {
        for (kind, place, key, text) in std::mem::take(&mut self.templates) {
            if let Err(problem) = check(kind, &text) {
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

    /// Returns the place of a source's path in brackets.
    pub(super) fn place_of_path(&self, source: &SourceName) -> String {
        let place = |key| self.places.get(&format!("source.{source}.{key}"));
        let place = place("path").or_else(|| place("name"));
        place.map_or_else(String::new, |place| format!(" ({place})"))
    }

    /// Notes the places of a value and of its parts.
    pub(super) fn locate(&mut self, key: String, raw: &Raw, place: &Place) {
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
