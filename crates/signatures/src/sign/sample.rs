//! Bodies of a provider's shape, for `hookweir send` and our tests.

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::UnixMillis;
use crate::check::timestamp::write as write_time;
use crate::json_pointers::{JsonPointer, set};
use crate::language::spec::{SchemeSpec, TimeUnit};
use crate::language::syntax::{
    CanonicalName, DocumentRef, MessageText, SampleNode, SampleText, TemplateText, Token,
};

/// Returns an example body of the provider with this event id.
pub fn sample_body(spec: &SchemeSpec, event_id: &str, at: UnixMillis) -> Bytes {
    if let Some(sample) = &spec.sample {
        return filled(sample, event_id, at).into();
    }
    let mut json = Value::Null;
    let event = &spec.event;
    let put =
        |json: &mut Value, base: &JsonPointer, template: Option<&TemplateText>, value: &str| {
            for pointer in template.into_iter().flat_map(pointers) {
                set(json, &base.join(&pointer), value.into());
            }
        };
    if let Some(batch) = &event.batch {
        let element = batch.array.of_first().first_element();
        let note = element.join(&JsonPointer::member("note"));
        set(&mut json, &element, Value::Object(serde_json::Map::new()));
        set(&mut json, &note, event_id.into());
        put(&mut json, &element, batch.id.first(), event_id);
        put(&mut json, &element, Some(&batch.event_type), "example");
    }
    let whole = JsonPointer::WHOLE;
    put(&mut json, &whole, Some(&event.event_type), "example");
    put(&mut json, &whole, event.id.first(), event_id);
    if json.is_null() || json.is_object() {
        set(&mut json, &JsonPointer::member("note"), event_id.into());
    }
    if is_form_scheme(spec) {
        let fields = form_fields(spec)
            .into_iter()
            .map(|name| format!("{name}={}", escaped(event_id)));
        return fields.collect::<Vec<_>>().join("&").into();
    }
    json.to_string().into()
}

/// Fills the id and the time of an event into a sample.
fn filled(sample: &SampleText, event_id: &str, at: UnixMillis) -> String {
    let node = |node: &SampleNode| match node {
        SampleNode::Literal(text) => text.to_string(),
        SampleNode::Id => event_id.to_owned(),
        SampleNode::Secs => write_time(at, TimeUnit::S),
        SampleNode::Millis => write_time(at, TimeUnit::Ms),
        SampleNode::Rfc3339 => write_time(at, TimeUnit::Rfc3339),
    };
    sample.nodes().iter().map(node).collect()
}

/// Returns `true` if the signature, or a signed part, is in a form.
pub(crate) fn is_form_scheme(spec: &SchemeSpec) -> bool {
    let message = spec.message.iter().map(MessageText::template);
    let form = |token: &Token| {
        matches!(
            token,
            Token::Form(_) | Token::FormSorted | Token::FormSortedKv { .. }
        )
    };
    let plivo = Token::Canonical(CanonicalName::PlivoV3);
    message
        .clone()
        .chain(&spec.event.id)
        .flat_map(TemplateText::tokens)
        .any(form)
        || message
            .flat_map(TemplateText::tokens)
            .any(|token| *token == plivo)
        || matches!(spec.document, DocumentRef::Form(_))
        || spec.signature.iter().any(|sig| sig.from.is_form())
}

fn form_fields(spec: &SchemeSpec) -> Vec<&str> {
    let message = spec.message.iter().map(MessageText::template);
    let texts = message
        .chain(&spec.event.id)
        .chain([&spec.event.event_type]);
    let names = texts
        .flat_map(TemplateText::tokens)
        .filter_map(|token| match token {
            Token::Form(name) => Some(&**name),
            _ => None,
        });
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        vec!["note"]
    } else {
        names
    }
}

/// Returns the JSON pointers of a template, with the first element of each array.
fn pointers(template: &TemplateText) -> Vec<JsonPointer> {
    let pointer = |token: &Token| match token {
        Token::Json(pointer) | Token::JsonSortedKv(pointer) => Some(pointer.of_first()),
        _ => None,
    };
    template.tokens().into_iter().filter_map(pointer).collect()
}

pub(crate) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
