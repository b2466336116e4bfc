//! Returns the scheme of a source as written: the preset of its provider, its own table, or both.

use std::collections::BTreeMap;

use super::error::{SchemeError, scheme};
use crate::SourceSpec;
use crate::language::inherit::inherit;
use crate::language::key_path::KeyPath;
use crate::language::presets;
use crate::language::read::Fault;
use crate::language::spec::SchemeSpec;
use crate::language::words::OldWords;
use crate::scheme::SourceKey;

/// Returns the scheme of a source as written: the preset of its provider, its own table, or both.
pub fn spec_of(source: &SourceSpec) -> Result<SchemeSpec, SchemeError> {
    let ReadSpec { spec, errors, .. } = read_spec(source);
    match spec {
        Some(spec) if errors.is_empty() => Ok(spec),
        _ => Err(errors.into_iter().next().unwrap_or_else(|| SchemeError {
            key: SourceKey::Scheme(KeyPath::default()),
            text: "cannot be read".into(),
        })),
    }
}

/// A scheme as far as its words could be read.
pub(super) struct ReadSpec {
    /// None if too little of it could be read. With errors, the words without mistakes.
    pub(super) spec: Option<SchemeSpec>,
    pub(super) errors: Vec<SchemeError>,
    pub(super) old_words: OldWords,
}

/// The scheme of a source with all of its mistakes, and the old words in it.
pub(super) fn read_spec(source: &SourceSpec) -> ReadSpec {
    let mut own = source.scheme.clone();
    let replaced = own.as_mut().map(OldWords::replace);
    let (old_words, mut faults) = replaced.unwrap_or_default();
    let table = match written(source.provider.as_deref(), own) {
        Ok(table) => table,
        Err(error) => {
            return ReadSpec {
                spec: None,
                errors: vec![error],
                old_words,
            };
        }
    };
    let (spec, more) = SchemeSpec::read(table);
    faults.extend(more);
    let error = |fault: Fault| SchemeError {
        key: SourceKey::Scheme(old_words.as_written(&fault.key)),
        text: fault.text,
    };
    ReadSpec {
        errors: faults.into_iter().map(error).collect(),
        spec,
        old_words,
    }
}

fn written(provider: Option<&str>, own: Option<toml::Table>) -> Result<toml::Table, SchemeError> {
    let error = |key: SourceKey, text: String| SchemeError { key, text };
    let unknown = |text| error(SourceKey::Provider, text);
    match (provider, own) {
        (None, None) => Err(error(
            SourceKey::Provider,
            "missing; `hookweir providers` lists the providers, and \"none\" accepts every request"
                .into(),
        )),
        (Some(name), None) => presets::table(name).map_err(unknown),
        (Some(name), Some(own)) => {
            refuse_guard(&own)?;
            if own
                .get("like")
                .is_some_and(|like| like.as_str() != Some(name))
            {
                return Err(error(
                    scheme(["like"]),
                    format!("provider = \"{name}\" is given too; remove one of the two"),
                ));
            }
            let mut own = own;
            own.remove("like");
            Ok(inherit(&presets::table(name).map_err(unknown)?, &own))
        }
        (None, Some(own)) => {
            refuse_guard(&own)?;
            presets::with_like(own).map_err(|text| error(scheme(["like"]), text))
        }
    }
}

/// A word of a release before this one.
fn refuse_guard(own: &toml::Table) -> Result<(), SchemeError> {
    let is_there = own
        .get("event")
        .and_then(toml::Value::as_table)
        .is_some_and(|event| event.contains_key("guard"));
    let text = "no longer a key; remove it. Equal bytes under another id are published with a mark. To drop such events, set \
                same_bytes = \"drop\" and same_bytes_span_secs at the source";
    if is_there {
        Err(SchemeError {
            key: scheme(["event", "guard"]),
            text: text.into(),
        })
    } else {
        Ok(())
    }
}

/// Returns the parameters of a scheme, and their default values.
pub fn params_of(spec: &SchemeSpec) -> BTreeMap<String, Option<String>> {
    let mut params: BTreeMap<_, _> = spec
        .params
        .iter()
        .map(|(name, value)| (name.clone(), Some(value.clone())))
        .collect();
    for text in spec.texts() {
        for name in text.params() {
            params.entry(name.to_owned()).or_insert(None);
        }
    }
    params
}
