//! Values as an operator wrote them, each with its place.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::DeValue;

use super::error::Place;

/// A value as written. Without `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) struct Item {
    pub(super) raw: Raw,
    pub(super) place: Place,
}

/// A value as written.
#[derive(Clone)]
pub(super) enum Raw {
    /// From the environment or `--set`: the option decides what it is.
    Word(String),
    Text(String),
    Integer(i128),
    Float(f64),
    Boolean(bool),
    List(Vec<Item>),
    Table(BTreeMap<String, Item>),
    /// A date or time; no option takes one.
    Time,
}

impl Raw {
    /// As it is shown in an error: short, and on one line.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(text) | Self::Text(text) => {
                let short: String = text.chars().take(60).collect();
                let dots = if short.len() < text.len() { "…" } else { "" };
                format!("\"{}{dots}\"", short.escape_debug())
            }
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Boolean(truth) => truth.to_string(),
            _ => self.kind().to_owned(),
        }
    }

    /// Its kind, for errors that must not show the value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Word(_) | Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a fraction",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Time => "a date or time",
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        if let Self::Text(text) = self {
            Some(text.clone())
        } else {
            None
        }
    }

    pub(super) fn list(&self) -> Option<Vec<Item>> {
        if let Self::List(items) = self {
            Some(items.clone())
        } else {
            None
        }
    }

    pub(super) fn table(&self) -> Option<BTreeMap<String, Item>> {
        if let Self::Table(table) = self {
            Some(table.clone())
        } else {
            None
        }
    }

    /// The same in the words of the `toml` crate, for parts of a source that are passed on unread.
    pub(super) fn to_toml(&self) -> toml::Value {
        match self {
            Self::Word(text) | Self::Text(text) => toml::Value::String(text.clone()),
            Self::Integer(number) => {
                toml::Value::Integer(i64::try_from(*number).unwrap_or(i64::MAX))
            }
            Self::Float(number) => toml::Value::Float(*number),
            Self::Boolean(truth) => toml::Value::Boolean(*truth),
            Self::List(items) => {
                toml::Value::Array(items.iter().map(|item| item.raw.to_toml()).collect())
            }
            Self::Table(table) => toml::Value::Table(
                table
                    .iter()
                    .map(|(key, item)| (key.clone(), item.raw.to_toml()))
                    .collect(),
            ),
            Self::Time => toml::Value::String(String::new()),
        }
    }
}

/// Kind of an option's value. A word from the environment or `--set` is read as this kind.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Text,
    Integer,
    Fraction,
    Boolean,
    List,
    Table,
}

impl Item {
    /// The value as an option of `kind` takes it: a word is read as what is needed; one that cannot be stays a word, and is refused as one.
    pub(super) fn read_as(&self, kind: Kind) -> Raw {
        let Raw::Word(word) = &self.raw else {
            return self.raw.clone();
        };
        let text = word.trim();
        let read = match kind {
            Kind::Text => Some(Raw::Text(word.clone())),
            Kind::Integer => text.replace('_', "").parse().ok().map(Raw::Integer),
            Kind::Fraction => text.parse().ok().map(Raw::Float),
            Kind::Boolean => text.parse().ok().map(Raw::Boolean),
            Kind::List if !text.starts_with('[') => Some(Raw::List(vec![Item {
                raw: Raw::Text(word.clone()),
                place: self.place.clone(),
            }])),
            Kind::List | Kind::Table => DeValue::parse(text)
                .ok()
                .map(|value| item(value, self.place.clone(), &|_| self.place.clone()).raw),
        };
        read.unwrap_or_else(|| self.raw.clone())
    }
}

/// Takes a value of a TOML document, with the place of each of its parts.
pub(super) fn item(
    value: Spanned<DeValue<'_>>,
    at: Place,
    place: &dyn Fn(Range<usize>) -> Place,
) -> Item {
    let raw = match value.into_inner() {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        // What does not fit is out of every option's bounds.
        DeValue::Integer(number) => {
            Raw::Integer(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
        }
        DeValue::Float(number) => Raw::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(truth) => Raw::Boolean(truth),
        DeValue::Datetime(_) => Raw::Time,
        DeValue::Array(values) => Raw::List(
            values
                .into_iter()
                .map(|value| {
                    let at = place(value.span());
                    item(value, at, place)
                })
                .collect(),
        ),
        DeValue::Table(table) => Raw::Table(
            table
                .into_iter()
                .map(|(key, value)| {
                    let at = place(key.span());
                    (key.into_inner().into_owned(), item(value, at, place))
                })
                .collect(),
        ),
    };
    Item { raw, place: at }
}
