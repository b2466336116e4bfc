//! Canonical requests, as the providers' own SDKs sign them, and what their lists of headers must
//! not get away with.

use super::*;

fn with_url(provider: &str, secret: &str, url: &str) -> SourceSpec {
    SourceSpec {
        public_url: Some(url.into()),
        ..source(provider, &[secret])
    }
}

const CONTENTFUL: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const BODY: &str = r#"{"sys":{"id":"é"}}"#;
const TOPIC: (&str, &str) = ("x-contentful-topic", "ContentManagement.Entry.save");
const TYPE: (&str, &str) = ("content-type", "application/json");
const TIME: (&str, &str) = ("x-contentful-timestamp", "1750000000000");
const LIST: (&str, &str) = (
    "x-contentful-signed-headers",
    "content-type,x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic",
);
const SIGNATURE: (&str, &str) = (
    "x-contentful-signature",
    "c1016bddea958b3137d0d29c91c8ef55e2cd9b6326ceb2955790b26f1bb2c0b4",
);

/// Signed by @contentful/node-apps-toolkit 3.16.1.
#[test]
fn contentful_as_its_toolkit_signs() {
    let scheme = compiled(&with_url(
        "contentful",
        CONTENTFUL,
        "https://hooks.example.com/ingest/test",
    ));
    let good = [TOPIC, TYPE, TIME, LIST, SIGNATURE];
    let event = one(
        &scheme,
        &request("POST", "/ingest/test", &good, BODY.as_bytes()),
        NOW + 29_000,
    );
    assert_eq!(
        event.event_type.as_deref(),
        Some("ContentManagement.Entry.save")
    );
    assert_eq!(
        refused(
            &scheme,
            &request("POST", "/ingest/test", &good, BODY.as_bytes()),
            NOW + 31_000
        ),
        Reason::TimestampTooOld
    );

    let padded = [
        ("x-contentful-topic", " padded "),
        TIME,
        (
            "x-contentful-signed-headers",
            "x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic",
        ),
        (
            "x-contentful-signature",
            "34ed054057eaa5503af16794e23960965bdf3caf7675b2bdaed68e37cba14ede",
        ),
    ];
    one(
        &scheme,
        &request("POST", "/ingest/test?a=b c&d=%41", &padded, BODY.as_bytes()),
        NOW,
    );
}

#[test]
fn contentful_lists_are_taken_at_their_word() {
    let scheme = compiled(&with_url(
        "contentful",
        CONTENTFUL,
        "https://hooks.example.com/ingest/test",
    ));
    let reason = |headers: &[(&str, &str)], target: &str| {
        refused(
            &scheme,
            &request("POST", target, headers, BODY.as_bytes()),
            NOW,
        )
    };
    let path = "/ingest/test";
    assert_eq!(
        reason(&[TYPE, TIME, LIST, SIGNATURE], path),
        Reason::SignatureMissing,
        "a header that is signed"
    );
    assert_eq!(
        reason(&[TOPIC, TYPE, TIME, SIGNATURE], path),
        Reason::SignatureMissing,
        "the list"
    );
    assert_eq!(
        reason(&[TOPIC, TOPIC, TYPE, TIME, LIST, SIGNATURE], path),
        Reason::PreconditionFailed,
        "one twice"
    );
    let without_time = (
        "x-contentful-signed-headers",
        "content-type,x-contentful-signed-headers,x-contentful-topic",
    );
    assert_eq!(
        reason(&[TOPIC, TYPE, TIME, without_time, SIGNATURE], path),
        Reason::PreconditionFailed,
        "the time is not signed"
    );
    let twice = (
        "x-contentful-signed-headers",
        "x-contentful-topic,x-contentful-topic,x-contentful-signed-headers,x-contentful-timestamp",
    );
    assert_eq!(
        reason(&[TOPIC, TYPE, TIME, twice, SIGNATURE], path),
        Reason::SignatureMalformed,
        "one twice in the list"
    );
    let other = ("x-contentful-topic", "ContentManagement.Entry.delete");
    assert_eq!(
        reason(&[other, TYPE, TIME, LIST, SIGNATURE], path),
        Reason::SignatureMismatch,
        "another topic"
    );
    assert_eq!(
        reason(&[TOPIC, TYPE, TIME, LIST, SIGNATURE], "/ingest/test?a=1"),
        Reason::SignatureMismatch,
        "a query"
    );
}

/// Signed by plivo 4.63.0 of PyPI.
#[test]
fn plivo_as_its_sdk_signs() {
    let scheme = compiled(&with_url(
        "plivo",
        SECRET,
        "https://hooks.example.com/ingest/test",
    ));
    let form = ("content-type", "application/x-www-form-urlencoded");
    let nonce = ("x-plivo-signature-v3-nonce", "12345");
    let post = |target: &str, signature: &str, body: &str| {
        request(
            "POST",
            target,
            &[form, nonce, ("x-plivo-signature-v3", signature)],
            body.as_bytes(),
        )
    };
    let plain = "From=%2B1+555&To=x%26y&MessageUUID=u1&Status=sent";
    let signature = "PEuqVkkmF0GtcFpy1ENCFM+T+N55zUyin4Z0RYIwnH0=";
    assert_eq!(
        one(&scheme, &post("/ingest/test", signature, plain), NOW)
            .id()
            .unwrap_or_default(),
        "u1:sent"
    );
    let several = format!("AAAA,{signature}");
    one(&scheme, &post("/ingest/test", &several, plain), NOW);
    let query = "/ingest/test?b=2&a=1&a=0";
    let repeated = "From=15551234567&MessageUUID=u1&Status=sent&D=2&D=1";
    one(
        &scheme,
        &post(
            query,
            "0WOCWSgfea9WEKRXyy+605PRrXGov1cPjTOoRiknPL4=",
            repeated,
        ),
        NOW,
    );
    one(
        &scheme,
        &post(
            "/ingest/test?b=2",
            "JJREGvDrcG9xl7wncpHP7tcKvJ6ozlfA9xoDxT6rtJ0=",
            "",
        ),
        NOW,
    );
    let empty = "qmApeVYyl9g8UOJC9wESeVdv/WX9stFkrXfsLMGWY9U=";
    one(&scheme, &post("/ingest/test", empty, ""), NOW);

    // A signature over no fields does not let a body of another kind through, which nobody would
    // have signed.
    let json = [
        ("content-type", "application/json"),
        nonce,
        ("x-plivo-signature-v3", empty),
    ];
    let unsigned = request("POST", "/ingest/test", &json, b"{\"Status\":\"sent\"}");
    assert_eq!(refused(&scheme, &unsigned, NOW), Reason::PreconditionFailed);
    let no_nonce = request(
        "POST",
        "/ingest/test",
        &[form, ("x-plivo-signature-v3", signature)],
        plain.as_bytes(),
    );
    assert_eq!(refused(&scheme, &no_nonce, NOW), Reason::SignatureMissing);
}

/// Query string hashes of atlassian-jwt 2.0.3.
#[test]
fn query_string_hashes_as_atlassian_has_them() {
    let hash = |url: &str, base: &str, query: &str| {
        let source = with_scheme(
            SourceSpec {
                params: BTreeMap::from([("base_path".into(), base.into())]),
                ..with_url("jira-connect", SECRET, url)
            },
            "kind = \"token\"\njwt = false\nsig = { from = \"header:x\" }\nevent = { id = \"{canonical:qsh|sha256:hex}\" }\nmethods = [\"POST\"]",
        );
        let request = request(
            "POST",
            &format!("/anything{query}"),
            &[("x", SECRET)],
            b"{}",
        );
        one(&compiled(&source), &request, NOW)
            .id()
            .unwrap_or_default()
            .to_owned()
    };
    let first = hash(
        "https://h.example/ingest/test",
        "",
        "?user_id=a%20b&z=1&z=0&a=%C3%A9*!&jwt=x",
    );
    assert_eq!(
        first,
        "45621665931beae86e6d0e2f3915b085d1b5961186542e071dc3435dd5bcb11f"
    );
    assert_eq!(
        hash("https://h.example/ingest/test/", "/ingest", ""),
        "09de58324914254f8185664d3201b87af8be2c150ebee534361a5da4de5a5f33"
    );
    assert_eq!(
        hash("https://h.example/a&b/c", "", "?x=a+b&y"),
        "75d69b6f4af9b6bd65dfbe97025344bc3feabd913d9398a018240bfb1d9c55a7"
    );
}

#[test]
fn a_query_that_jira_did_not_sign_is_refused() {
    let source = with_url("jira-connect", SECRET, "https://h.example/ingest/test");
    let signed = as_request(&sign(&source, &inputs("{}", "1", NOW)).expect("signed"));
    let scheme = compiled(&source);
    one(&scheme, &signed, NOW);
    assert_eq!(
        refused(
            &scheme,
            &Request {
                target: "/x?a=1".into(),
                ..signed.clone()
            },
            NOW
        ),
        Reason::PreconditionFailed
    );
    assert_eq!(
        refused(
            &scheme,
            &Request {
                method: Method::PUT,
                ..signed
            },
            NOW
        ),
        Reason::PreconditionFailed
    );
}
