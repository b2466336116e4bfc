//! Reading of `[[source]]`.

use std::collections::BTreeMap;

use super::error::{ConfigError, Place, Problem};
use super::layers::NamedTable;
use super::model::{SameBytes, Source};
use super::reader::Reader;
use super::report::{Places, Report};
use super::secret::{Environment, Reference};
use super::value::Kind;
use crate::domain::delivery::SourceName;

/// Reads one source. None if it has no usable name; its other mistakes are noted, too.
pub(super) fn source(
    table: &NamedTable,
    environment: &Environment,
    report: &mut Report,
) -> Option<Source> {
    let prefix = format!("source.{}.", table.named.as_deref().unwrap_or("?"));
    let mut r = Reader::new(prefix, vec![&table.entries], environment, report);
    let source = options(&mut r, table);
    r.finish();
    source
}

fn options(r: &mut Reader<'_>, table: &NamedTable) -> Option<Source> {
    let name = r.text("name", |name| SourceName::parse(name).map(drop));
    let read = Source::read(r);
    let mut missing = |key, message: &str| {
        r.mistake(&table.place, key, Problem::Other(message.to_owned()));
    };
    let written = |key| table.entries.contains_key(key);
    if !written("name") {
        missing(
            "name",
            "every [[source]] needs a name, such as name = \"stripe\"",
        );
    }
    if !written("provider") && !written("scheme") {
        missing(
            "provider",
            "a source needs a provider (`hookweir providers` lists them) or a [source.scheme] of its own",
        );
    }
    let mut source = read(
        Vec::new(),
        secret_names(table),
        SourceName::parse(&name?).ok()?,
    );
    if source.same_bytes == SameBytes::Drop && !written("same_bytes_span_secs") {
        missing(
            "same_bytes",
            "\"drop\" needs same_bytes_span_secs, the time for which equal bytes count as a copy",
        );
    }
    if source.path.is_empty() {
        source.name.as_str().clone_into(&mut source.path);
    }
    Some(source)
}

/// Returns the references of the secrets, each once: a secret that stands in the configuration itself by its position.
fn secret_names(table: &NamedTable) -> Vec<String> {
    let lists = ["secrets", "retiring_secrets"].into_iter();
    let lists = lists.filter_map(|key| table.entries.get(key)?.read_as(Kind::List).list());
    let mut names: Vec<String> = Vec::new();
    for (at, item) in lists.flatten().enumerate() {
        let text = item.raw.text().unwrap_or_default();
        let name = match Reference::parse(&text) {
            Some(Reference::Plain(_)) | None => None,
            Some(reference) => Some(reference.to_string()).filter(|name| !names.contains(name)),
        };
        names.push(name.unwrap_or_else(|| format!("secret {}", at + 1)));
    }
    names
}

/// Notes names that two sources have, each with the place of the other.
pub(super) fn duplicates(tables: &[NamedTable], report: &mut Report) {
    let mut first: BTreeMap<String, &Place> = BTreeMap::new();
    for table in tables {
        let name = table.entries.get("name");
        let Some((name, place)) = name.and_then(|item| Some((item.raw.text()?, &item.place)))
        else {
            continue;
        };
        if let Some(other) = first.get(&name) {
            let text = format!(
                "another source has this name too ({other}); names are unique, since they label metrics and logs"
            );
            let key = format!("source.{name}.name");
            report
                .mistakes
                .push(ConfigError::at(place, key, Problem::Other(text)));
        } else {
            first.insert(name, place);
        }
    }
}

/// A mistake in `key` of a source, at the nearest place that was written.
pub(super) fn source_error(
    places: &Places,
    source: &Source,
    key: &str,
    message: String,
) -> ConfigError {
    let full = format!("source.{}.{key}", source.name);
    // One of a list may be written without its brackets.
    let single = full.replace("[0]", "");
    let mut written = full.as_str();
    let place = loop {
        match (
            places.get(written).or_else(|| places.get(&single)),
            written.rfind(['.', '[']),
        ) {
            (Some(place), _) => break Some(place),
            (None, Some(end)) => written = &written[..end],
            (None, None) => break places.get(&format!("source.{}.name", source.name)),
        }
    };
    ConfigError {
        place: place.cloned(),
        key: Some(full),
        problem: Problem::Other(message),
    }
}
