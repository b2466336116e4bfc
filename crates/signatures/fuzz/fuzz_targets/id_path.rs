//! The path to an event's id: a line with a JSON pointer, and a document. Where serde_json finds one text there, and we find an id, it is that.
#![no_main]

use hookweir_signatures::{KeyRing, Verdict, verify};
use hookweir_signatures_fuzz::{NOW, post, source, with_keys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (pointer, document) = data.split_at(
        data.iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(data.len()),
    );
    let Ok(pointer) = std::str::from_utf8(pointer) else {
        return;
    };
    if pointer.contains(['{', '}', '|']) {
        return;
    }
    let id = toml::Table::from_iter([(
        "id".to_owned(),
        toml::Value::from(format!("{{json:{pointer}}}")),
    )]);
    let scheme = toml::Table::from_iter([
        ("kind".to_owned(), "none".into()),
        ("event".to_owned(), id.into()),
    ]);
    let Some((_, scheme)) = with_keys(source(None, Some(scheme))) else {
        return;
    };
    let Ok(Verdict::Events(verified)) = verify(
        &scheme,
        &KeyRing::EMPTY,
        &post("/ingest/test".into(), Default::default(), document),
        NOW,
    ) else {
        return;
    };
    let events = verified.into_events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].body, document, "the bytes as received");
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(document) else {
        return;
    };
    if !pointer.split('/').any(|step| step == "*")
        && let Some(text) = value
            .pointer(pointer)
            .and_then(|value| value.as_str())
            .filter(|text| !text.is_empty())
    {
        assert_eq!(events[0].id(), Some(text));
    }
});
