//! The scheme engine: any scheme, as an operator may write it, and any request. `name: value` lines, an empty one, and the body, after a line
//! of `===`.
#![no_main]

use hookweir_signatures::sign::{SignInputs, sign};
use hookweir_signatures::{KeyRing, verify};
use hookweir_signatures::{Headers, Request};
use hookweir_signatures_fuzz::{NOW, post, refuse, source, with_keys};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (scheme, request) = text.split_once("\n===\n").unwrap_or((text, ""));
    let Ok(scheme) = scheme.parse() else { return };
    let Some((source, scheme)) = with_keys(source(None, Some(scheme))) else {
        return;
    };
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let headers: Headers = head
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(": ")?;
            Some((name.parse().ok()?, value.parse().ok()?))
        })
        .collect();
    refuse(
        &scheme,
        &post("/ingest/test?a=b".into(), headers, body.as_bytes()),
    );
    // And what the engine itself signs by it.
    let inputs = SignInputs {
        body: body.as_bytes().to_vec().into(),
        id: "evt_1".into(),
        event_type: "created".into(),
        at: NOW,
        secret: 0,
        private_key: None,
    };
    let Ok(signed) = sign(&source, &inputs) else {
        return;
    };
    let request = Request {
        method: signed.method,
        ..post(
            format!("/ingest/test?{}", signed.query),
            signed.headers.into(),
            &signed.body,
        )
    };
    let _ = verify(&scheme, &KeyRing::EMPTY, &request, NOW);
});
