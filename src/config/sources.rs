//! `[[source]]`: every option of a source, once.

#[cfg(test)]
use std::collections::BTreeMap;

use http::HeaderName;

use super::error::{ConfigError, Problem};
use super::layers::SourceTable;
use super::model::Source;
use super::reader::{Places, Reader, Report};
use super::rules;
use super::secret::Environment;
use crate::domain::delivery::SourceName;

/// Reads one source. None if it has no usable name; its other mistakes are noted all the same.
pub(super) fn source(
    table: &SourceTable,
    environment: &Environment,
    report: &mut Report,
) -> Option<Source> {
    let prefix = format!("source.{}.", table.named.as_deref().unwrap_or("?"));
    let mut r = Reader::new(prefix, vec![&table.entries], environment, report);
    let source = options(&mut r, table);
    r.finish();
    source
}

fn options(r: &mut Reader<'_>, table: &SourceTable) -> Option<Source> {
    let name = r.text("name", |name| SourceName::parse(name).map(drop));
    if r.place("name").is_none() {
        let problem =
            Problem::Other("every [[source]] needs a name, such as name = \"stripe\"".to_owned());
        r.mistake(&table.place, "name", problem);
    }
    let path = r.text("path", rules::path);
    let provider = r.text("provider", rules::not_empty);
    let secrets = r.secrets("secrets", false);
    let learn_secret = r.flag("learn_secret");
    let public_keys = r.secrets("public_keys", true);
    let jwks = r.text("jwks", rules::web_url);
    let public_url = r.text("public_url", rules::web_url);
    let params = r.texts("params");
    let forward_headers = r.list("forward_headers", |name| name.parse::<HeaderName>());
    let routing_key = r.routing_key("routing_key");
    let split = r.choice("batch", &[("whole", false), ("split", true)]);
    let drops = r
        .choice("same_bytes", &[("publish", false), ("drop", true)])
        .unwrap_or(false);
    let span = r.optional_duration("same_bytes_span_secs", 1..=604_800);
    if drops && span.is_none() && r.place("same_bytes_span_secs").is_none() {
        let message =
            "\"drop\" needs same_bytes_span_secs: for how long equal bytes are taken for a copy";
        r.mistake(
            &table.place,
            "same_bytes",
            Problem::Other(message.to_owned()),
        );
    }
    let drop_same_bytes = span.filter(|_| drops);
    let max_body_bytes = r.optional_count("max_body_bytes", 1..=1 << 30);
    let deadline = r.optional_duration("deadline_ms", 100..=60_000);
    let window = r.optional_duration("window_days", 1..=366);
    let allow_unverified_public = r.flag("allow_unverified_public");
    let scheme = r.table("scheme");
    if r.place("provider").is_none() && r.place("scheme").is_none() {
        let message = "a source needs a provider (`hookweir providers` lists them) or a [source.scheme] of its own";
        r.mistake(&table.place, "provider", Problem::Other(message.to_owned()));
    }
    let name = SourceName::parse(&name?).ok()?;
    Some(Source {
        path: path.unwrap_or_else(|| name.as_str().to_owned()),
        name,
        provider,
        secrets,
        learn_secret,
        public_keys,
        jwks,
        public_url,
        params,
        forward_headers,
        routing_key,
        split,
        drop_same_bytes,
        max_body_bytes,
        deadline,
        window,
        allow_unverified_public,
        scheme,
    })
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

/// The names of a source's options.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let entries = BTreeMap::new();
    let table = SourceTable {
        place: super::error::Place::CommandLine(String::new()),
        named: None,
        entries: BTreeMap::new(),
    };
    let (environment, mut report) = (Environment::new(), Report::default());
    let mut r = Reader::new(String::new(), vec![&entries], &environment, &mut report);
    options(&mut r, &table);
    r.finish()
}
