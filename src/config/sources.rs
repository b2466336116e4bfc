//! Reading of `[[source]]`.

use super::error::{ConfigError, Problem};
use super::layers::NamedTable;
use super::model::{SameBytes, Source};
use super::reader::Reader;
use super::report::{Places, Report};
use super::secret::Environment;
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
    let mut source = read(Vec::new(), SourceName::parse(&name?).ok()?);
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
