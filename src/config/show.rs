//! `hookweir config`: what is in force and where it was written, as TOML that holds no secret.

use std::fmt::Write;

use super::error::Place;
use super::model::Config;
use super::secret::Reference;
use super::value::{Item, Raw};

impl Config {
    /// Returns `true` if the default of the option `key` is in force.
    pub fn is_default(&self, key: &str) -> bool {
        self.places
            .get(key)
            .is_none_or(|place| *place == Place::Default)
    }

    /// The configuration in force as TOML, each option with the place it comes from. Secrets are shown as their references.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = String::new();
        for option in &self.effective {
            let Some((of, key)) = option.key.rsplit_once('.') else {
                continue;
            };
            if of != section {
                of.clone_into(&mut section);
                let header = match of.split_once('.') {
                    Some((kind @ ("source" | "sink"), _)) => format!("[[{kind}]]"),
                    _ => format!("[{of}]"),
                };
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{}{header}", if text.is_empty() { "" } else { "\n" });
            }
            let _ = writeln!(text, "{key} = {}  # {}", option.shown, option.place);
        }
        text
    }
}

/// A list of secrets as their references; where `literal`, what is no reference is no secret.
pub(super) fn shown_list(items: &[Item], literal: bool) -> String {
    let shown = items.iter().map(|item| match item.raw.text() {
        Some(text) => match Reference::parse(&text) {
            Some(reference) => toml::Value::String(reference.to_string()).to_string(),
            None if literal => toml::Value::String(text).to_string(),
            None => "\"***\"".to_owned(),
        },
        None => item.raw.to_toml().to_string(),
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

/// An entry of a table, shown unless its name sounds secret.
pub(super) fn shown_entry(name: &str, raw: &Raw) -> String {
    let reference = raw
        .text()
        .and_then(|text| Reference::parse(&text).map(|reference| reference.to_string()));
    match reference {
        Some(reference) => toml::Value::String(reference).to_string(),
        None if ["key", "secret", "token", "password"]
            .iter()
            .any(|word| name.contains(word)) =>
        {
            "\"***\"".to_owned()
        }
        None => raw.to_toml().to_string(),
    }
}
