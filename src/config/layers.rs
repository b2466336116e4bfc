//! Layers: what the default, the file, the environment and the command line say, each value with its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Lines, Place, Problem, nearest};
use super::sections::SECTIONS;
use super::value::{Item, Raw, item};

/// Values of one origin.
#[derive(Default)]
pub(super) struct Layer {
    /// By full key: `server.listen`.
    pub(super) options: BTreeMap<String, Item>,
    /// `[[source]]` tables, in order.
    pub(super) sources: Vec<NamedTable>,
    /// `[[sink]]` tables, in order.
    pub(super) sinks: Vec<NamedTable>,
}

/// One `[[source]]` or `[[sink]]`, or what the environment or `--set` says about the one `named`.
pub(super) struct NamedTable {
    pub(super) place: Place,
    pub(super) named: Option<String>,
    pub(super) entries: BTreeMap<String, Item>,
}

impl Layer {
    /// Takes the defaults of all options.
    pub(super) fn defaults() -> Self {
        let mut layer = Self::default();
        for option in SECTIONS.iter().flat_map(|section| section.options) {
            // A test shows that each default can be parsed.
            if let Ok(value) = DeValue::parse(option.shown) {
                let item = item(value, Place::Default, &|_| Place::Default);
                layer.options.insert(option.key.to_owned(), item);
            }
        }
        layer
    }

    /// Reads TOML, all of its mistakes.
    pub(super) fn from_toml(file: &str, text: &str, mistakes: &mut Vec<ConfigError>) -> Self {
        let lines = Lines::of(file, text);
        let place = |span: Range<usize>| lines.place(span.start);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let message = format!("not TOML: {}", error.message());
            mistakes.push(ConfigError {
                place: error.span().map(place),
                key: None,
                problem: Problem::Other(message),
            });
        }
        let mut layer = Self::default();
        for (key, value) in root.into_inner() {
            let at = place(key.span());
            let key = key.into_inner().into_owned();
            let raw = item(value, at.clone(), &place).raw;
            layer.insert_section(key, raw, at, mistakes);
        }
        layer
    }

    /// Takes what stands under a key at the top of a file.
    fn insert_section(
        &mut self,
        key: String,
        raw: Raw,
        at: Place,
        mistakes: &mut Vec<ConfigError>,
    ) {
        match raw {
            Raw::List(_) | Raw::Table(_) if is_misspelt_source(&key) => {
                mistakes.push(misspelt(&at, &key));
                let two_brackets = match raw {
                    Raw::Table(entries) => Raw::List(vec![Item {
                        raw: Raw::Table(entries),
                        place: at.clone(),
                    }]),
                    other => other,
                };
                self.insert_sources(two_brackets, at, mistakes);
            }
            raw if key == "source" => self.insert_sources(raw, at, mistakes),
            Raw::List(tables) if key == "sink" => {
                self.sinks.extend(named_tables("sink", tables, mistakes));
            }
            other if key == "sink" => mistakes.push(not_a_table("sink", &at, &other)),
            Raw::Table(section) if !section.is_empty() => {
                self.options.extend(
                    section
                        .into_iter()
                        .map(|(name, item)| (format!("{key}.{name}"), item)),
                );
            }
            raw => {
                self.options.insert(key, Item { raw, place: at });
            }
        }
    }

    fn insert_sources(&mut self, raw: Raw, at: Place, mistakes: &mut Vec<ConfigError>) {
        match raw {
            Raw::List(tables) => {
                let tables = named_tables("source", tables, mistakes);
                self.sources.extend(tables);
            }
            Raw::Table(table) => {
                mistakes.push(one_bracket(&at, &table));
                self.sources.extend(sources_meant(table, &at));
            }
            other => mistakes.push(not_a_table("source", &at, &other)),
        }
    }

    /// Reads the variables that begin with `HOOKWEIR__`.
    pub(super) fn from_environment(
        environment: &BTreeMap<String, OsString>,
        mistakes: &mut Vec<ConfigError>,
    ) -> Self {
        let mut layer = Self::default();
        for (name, value) in environment {
            let Some(rest) = name.strip_prefix("HOOKWEIR__") else {
                continue;
            };
            let place = Place::Environment(name.clone());
            match value.to_str() {
                Some(word) => {
                    layer.insert_word(rest.to_ascii_lowercase().replace("__", "."), word, place)
                }
                None => mistakes.push(ConfigError {
                    place: Some(place),
                    key: None,
                    problem: Problem::Other("its value is not valid UTF-8".to_owned()),
                }),
            }
        }
        layer
    }

    /// Reads `key=value` as given to `--set`.
    pub(super) fn from_command_line(settings: &[String], mistakes: &mut Vec<ConfigError>) -> Self {
        let mut layer = Self::default();
        for setting in settings {
            match setting.split_once('=') {
                Some((key, word)) => layer.insert_word(
                    key.trim().to_owned(),
                    word,
                    Place::CommandLine(key.trim().to_owned()),
                ),
                // Without "=" all of it might be a secret, so none of it is shown.
                None => mistakes.push(ConfigError::nowhere(
                    "--set: expected key=value, such as --set server.listen=127.0.0.1:8420",
                )),
            }
        }
        layer
    }

    fn insert_word(&mut self, key: String, word: &str, place: Place) {
        let item = Item {
            raw: Raw::Word(word.to_owned()),
            place: place.clone(),
        };
        let named = |kind: &str| {
            let (name, option) = key.strip_prefix(kind)?.split_once('.')?;
            Some(NamedTable {
                place: place.clone(),
                named: Some(name.to_owned()),
                entries: BTreeMap::from([(option.to_owned(), item.clone())]),
            })
        };
        if let Some(source) = named("source.") {
            self.sources.push(source);
        } else if let Some(sink) = named("sink.") {
            self.sinks.push(sink);
        } else {
            self.options.insert(key, item);
        }
    }
}

/// Lays later words about a table over what was written before.
pub(super) fn merge(tables: impl Iterator<Item = NamedTable>) -> Vec<NamedTable> {
    let mut merged: Vec<NamedTable> = Vec::new();
    let mut by_name: BTreeMap<String, usize> = BTreeMap::new();
    for mut table in tables {
        let Some(name) = table.named.clone() else {
            table.named = match table.entries.get("name").map(|item| &item.raw) {
                Some(Raw::Text(name)) => Some(name.clone()),
                _ => None,
            };
            if let Some(name) = &table.named {
                by_name.entry(name.clone()).or_insert(merged.len());
            }
            merged.push(table);
            continue;
        };
        if let Some(known) = by_name.get(&name).and_then(|at| merged.get_mut(*at)) {
            known.entries.extend(table.entries);
        } else {
            by_name.insert(name.clone(), merged.len());
            table.entries.insert(
                "name".to_owned(),
                Item {
                    raw: Raw::Word(name),
                    place: table.place.clone(),
                },
            );
            merged.push(table);
        }
    }
    merged
}

/// Returns the tables of a list such as `[[source]]`.
fn named_tables(kind: &str, list: Vec<Item>, mistakes: &mut Vec<ConfigError>) -> Vec<NamedTable> {
    let table = |item: Item| match item.raw {
        Raw::Table(entries) => Some(NamedTable {
            place: item.place,
            named: None,
            entries,
        }),
        other => {
            mistakes.push(not_a_table(kind, &item.place, &other));
            None
        }
    };
    list.into_iter().filter_map(table).collect()
}

fn not_a_table(kind: &str, place: &Place, found: &Raw) -> ConfigError {
    let problem = Problem::Unexpected {
        expected: format!("a table [[{kind}]]"),
        found: found.kind().to_owned(),
        nearest: None,
    };
    ConfigError::at(place, kind, problem)
}

/// Returns `true` if `key` is no section, and "source" is the nearest name.
fn is_misspelt_source(key: &str) -> bool {
    let sections = || {
        SECTIONS
            .iter()
            .flat_map(|section| section.options.first())
            .map(|option| option.parts().0)
    };
    !["source", "sink"].contains(&key)
        && !sections().any(|known| known == key)
        && nearest(key, sections().chain(["source"])) == Some("source")
}

fn misspelt(at: &Place, key: &str) -> ConfigError {
    let problem = Problem::Unknown {
        nearest: Some("[[source]]".to_owned()),
    };
    ConfigError::at(at, key, problem)
}

/// `[source]` or `[source.stripe]` in place of `[[source]]`.
fn one_bracket(at: &Place, table: &BTreeMap<String, Item>) -> ConfigError {
    let place = table.values().map(|item| &item.place).next().unwrap_or(at);
    let message = match sources_by_name(table) {
        Some(names) => {
            format!(
                "a source is written with two brackets, and its name inside: [[source]], then name = \"{}\"",
                names.join("\" or \"")
            )
        }
        None => "a source is written with two brackets: [[source]]".to_owned(),
    };
    // The place of `[source]` itself is that of its first line; a table's own is not told.
    let place = if at == place { at } else { earlier(at, place) };
    ConfigError {
        place: Some(place.clone()),
        key: Some("source".to_owned()),
        problem: Problem::Other(message),
    }
}

fn earlier<'p>(a: &'p Place, b: &'p Place) -> &'p Place {
    match (a, b) {
        (Place::File { line: x, .. }, Place::File { line: y, .. }) if x > y => b,
        _ => a,
    }
}

/// The names in `[source.NAME]`; None if it was `[source]`.
fn sources_by_name(table: &BTreeMap<String, Item>) -> Option<Vec<&str>> {
    let tables = table.iter().all(|(key, item)| {
        matches!(item.raw, Raw::Table(_)) && !["scheme", "params"].contains(&key.as_str())
    });
    (tables && !table.is_empty()).then(|| table.keys().map(String::as_str).collect())
}

/// The sources that were meant, so that their other mistakes are found, too.
fn sources_meant(mut table: BTreeMap<String, Item>, at: &Place) -> Vec<NamedTable> {
    if sources_by_name(&table).is_none() {
        table.entry("name".to_owned()).or_insert_with(|| Item {
            raw: Raw::Word("unnamed".to_owned()),
            place: at.clone(),
        });
        return vec![NamedTable {
            place: at.clone(),
            named: None,
            entries: table,
        }];
    }
    let source = |(name, item): (String, Item)| match item.raw {
        Raw::Table(mut entries) => {
            entries.entry("name".to_owned()).or_insert_with(|| Item {
                raw: Raw::Text(name),
                place: item.place.clone(),
            });
            Some(NamedTable {
                place: item.place,
                named: None,
                entries,
            })
        }
        _ => None,
    };
    table.into_iter().filter_map(source).collect()
}
