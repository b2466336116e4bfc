//! Options that hold a secret or may: an error tells only the kind of a value, and a page shows none.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place, Problem};
use super::option::ConnectionUrl;
use super::reader::Reader;
use super::secret::{Reference, ResolveError, Secret};
use super::show::{shown_entry, shown_list};
use super::urls::without_password;
use super::value::{Item, Kind, Raw};

impl Reader<'_> {
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

    /// The secret behind a reference, unread where that is allowed. None, with the mistake noted, if there is none.
    pub(super) fn resolve(&mut self, reference: &str, place: &Place, key: &str) -> Option<Secret> {
        let parsed = Reference::parse(reference)?;
        let mut warnings = Vec::new();
        let resolved = parsed.resolve(self.environment, &mut warnings);
        // The same secret may be referred to by several sources.
        warnings.retain(|warning| !self.report.warnings.contains(warning));
        self.report.warnings.extend(warnings);
        match resolved {
            Ok(secret) => Some(secret),
            Err(ResolveError::NotHere(why)) if self.report.lenient => {
                let untried = ConfigError::at(place, self.full(key), Problem::Other(why));
                self.report.untried.push(untried);
                Some(Secret::unread())
            }
            Err(error) => {
                self.mistake(place, key, Problem::Other(error.to_string()));
                None
            }
        }
    }

    /// Reads an option whose value is a secret or may hold one: an error tells only its kind.
    pub(super) fn read_hidden<T>(
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
}

fn utf8(secret: &Secret) -> Result<String, String> {
    String::from_utf8(secret.expose().to_vec())
        .map_err(|_| "the value that was read is not valid UTF-8".to_owned())
}
