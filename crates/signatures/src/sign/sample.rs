//! Bodies of a provider's shape, for `hookweir send` and our tests.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::json_pointers::set;

use crate::UnixMillis;
use crate::check::timestamp::write as write_time;
use crate::language::spec::{SchemeSpec, TimeUnit};

/// A body of the provider's shape with this event id in it, and nothing else that is the same twice.
pub fn sample_body(spec: &SchemeSpec, event_id: &str, at: UnixMillis) -> Bytes {
    if let Some(sample) = &spec.sample {
        let seconds = write_time(at, TimeUnit::S);
        let text = sample
            .replace("{id}", event_id)
            .replace("{timestamp_secs}", &seconds)
            .replace("{timestamp_ms}", &at.0.to_string());
        return text
            .replace("{timestamp_rfc3339}", &write_time(at, TimeUnit::Rfc3339))
            .into();
    }
    let mut json = Value::Null;
    let event = &spec.event;
    let at_pointers = |json: &mut Value, base: &str, templates: &[String], value: &str| {
        for pointer in templates
            .first()
            .iter()
            .flat_map(|template| pointers(template))
        {
            set(json, &format!("{base}{pointer}"), value.into());
        }
    };
    if let Some(batch) = &event.batch {
        let element = format!("{}/0", batch.array.replace('*', "0"));
        set(&mut json, &element, Value::Object(serde_json::Map::new()));
        set(&mut json, &format!("{element}/note"), event_id.into());
        at_pointers(&mut json, &element, &batch.id, event_id);
        at_pointers(
            &mut json,
            &element,
            std::slice::from_ref(&batch.event_type),
            "example",
        );
    }
    at_pointers(
        &mut json,
        "",
        std::slice::from_ref(&event.event_type),
        "example",
    );
    at_pointers(&mut json, "", &event.id, event_id);
    if json.is_null() || json.is_object() {
        set(&mut json, "/note", event_id.into());
    }
    if spec.document.starts_with("form:") || is_form_scheme(spec) {
        let fields = form_fields(spec)
            .into_iter()
            .map(|name| format!("{name}={}", escaped(event_id)));
        return fields.collect::<Vec<_>>().join("&").into();
    }
    json.to_string().into()
}

/// Returns `true` if the signature, or a signed part, is in a form.
pub(crate) fn is_form_scheme(spec: &SchemeSpec) -> bool {
    let message = spec.message.as_deref().unwrap_or_default();
    let in_id = spec.event.id.iter().any(|id| id.contains("{form:"));
    in_id
        || message.contains("{form:")
        || message.contains("{canonical:plivo-v3}")
        || spec.document.starts_with("form:")
        || spec
            .signature
            .iter()
            .any(|sig| sig.from.starts_with("form:"))
}

fn form_fields(spec: &SchemeSpec) -> Vec<String> {
    let words = format!(
        "{}{}{}",
        spec.message.as_deref().unwrap_or_default(),
        spec.event.id.concat(),
        spec.event.event_type
    );
    let mut names: Vec<String> = words
        .match_indices("{form:")
        .map(|(at, _)| {
            words[at + 6..]
                .chars()
                .take_while(|c| !matches!(c, '}' | '|'))
                .collect::<String>()
        })
        .filter(|name| !name.starts_with("sorted"))
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        vec!["note".into()]
    } else {
        names
    }
}

fn pointers(template: &str) -> impl Iterator<Item = String> {
    let starts: Vec<_> = template
        .match_indices("{json:")
        .map(|(at, _)| at + 6)
        .collect();
    let all: Vec<String> = starts
        .into_iter()
        .map(|at| {
            template[at..]
                .chars()
                .take_while(|c| !matches!(c, '}' | '|'))
                .collect::<String>()
                .replace('*', "0")
        })
        .collect();
    all.into_iter()
}

pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
