//! Prepared cases, each with a real signature, and the right answer.

use bytes::Bytes;
use hookweir_signatures::sign::{SignInputs, sample_body, sign};
use hookweir_signatures::{KeyRing, Secret, SourceSpec, UnixMillis, spec_of};

use super::*;

/// Time of receipt.
const AT: i64 = 1_764_400_000_000;
/// Secrets of the cases. No output may hold one, nor a part of one.
const CANARY: &str = "c4n4ry0123456789abcdefXYZ";
const OTHER: &str = "0therC4n4ry-0123456789abcdef";

fn spec(provider: &str, secret: &str) -> SourceSpec {
    SourceSpec {
        secrets: vec![Secret::new(secret.as_bytes())],
        ..SourceSpec::of(provider)
    }
}

fn source(name: &str, spec: SourceSpec) -> DoctorSource {
    DoctorSource {
        name: name.to_owned(),
        spec,
        references: vec![format!("file:/etc/hookweir/{name}")],
        former: Vec::new(),
    }
}

/// A delivery as a provider with these keys sends it, signed `age` seconds before its receipt.
fn sent_with(spec: &SourceSpec, age: i64, body: Option<&[u8]>) -> Request {
    let at = UnixMillis(AT - age * 1000);
    let sample = || {
        let scheme = spec_of(spec).expect("a scheme");
        sample_body(&scheme, "evt_1", at)
    };
    let inputs = SignInputs {
        body: body.map_or_else(sample, Bytes::copy_from_slice),
        id: "evt_1".to_owned(),
        event_type: "push".to_owned(),
        at,
        secret: 0,
        private_key: None,
    };
    let signed = sign(spec, &inputs).expect("signed");
    Request {
        method: signed.method,
        target: "/ingest/shop".to_owned(),
        headers: signed.headers.into(),
        body: signed.body,
        received_at: UnixMillis(AT),
    }
}

fn sent(spec: &SourceSpec) -> Request {
    sent_with(spec, 0, None)
}

/// The verdict on a delivery. Checks that it holds no secret.
fn verdict(request: &Request, of: &DoctorSource, others: &[DoctorSource]) -> Diagnosis {
    let found = examine(&Case {
        request,
        source: of,
        others,
        keys: &KeyRing::EMPTY,
    });
    let said = format!("{found} {found:?} {of:?} {others:?}");
    for secret in [CANARY, OTHER] {
        let forms = [
            secret.to_owned(),
            secret.chars().take(12).collect(),
            hex::encode(secret),
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, secret),
        ];
        for form in forms {
            assert!(!said.contains(&form), "{said}");
        }
    }
    assert!(!found.checks.is_empty() || found.cause.is_some(), "{said}");
    found
}

fn cause(request: &Request, of: &DoctorSource, others: &[DoctorSource]) -> Cause {
    let found = verdict(request, of, others);
    let said = found.to_string();
    found.cause.unwrap_or_else(|| panic!("{said}"))
}

fn github() -> DoctorSource {
    source("github", spec("github", CANARY))
}

#[test]
fn case_1_another_sources_secret() {
    let of = github();
    let others = [source("shop", spec("shopify", OTHER))];
    let found = cause(&sent(&spec("github", OTHER)), &of, &others);
    let expected = Cause::SecretOfOther {
        source: "shop".to_owned(),
        reference: "file:/etc/hookweir/shop".to_owned(),
    };
    assert_eq!(found, expected);
}

#[test]
fn case_2_a_secret_that_a_reload_has_removed() {
    let mut of = github();
    of.former = vec![Secret::new(OTHER.as_bytes())];
    let found = cause(&sent(&spec("github", OTHER)), &of, &[]);
    assert_eq!(found, Cause::FormerSecret);
}

#[test]
fn case_3_and_4_a_secret_that_is_encoded_where_the_raw_one_is_needed_and_the_other_way_round() {
    use base64::Engine;
    let base64 = base64::engine::general_purpose::STANDARD.encode(CANARY);
    let form = |sender: &str, configured: &str| {
        let of = source("github", spec("github", configured));
        match cause(&sent(&spec("github", sender)), &of, &[]) {
            Cause::Key { form, reference } => {
                assert_eq!(reference, "file:/etc/hookweir/github");
                form
            }
            other => panic!("{other}"),
        }
    };
    assert_eq!(form(CANARY, &base64), KeyForm::FromBase64);
    assert_eq!(form(&base64, CANARY), KeyForm::ToBase64);
    assert_eq!(form(CANARY, &hex::encode(CANARY)), KeyForm::FromHex);
    assert_eq!(form(&hex::encode(CANARY), CANARY), KeyForm::ToHex);
    let prefixed = format!("whsec_{CANARY}");
    assert_eq!(form(CANARY, &prefixed), KeyForm::WithoutPrefix);
    assert_eq!(form(&prefixed, CANARY), KeyForm::WithPrefix);
    assert_eq!(form(CANARY, &format!("\"{CANARY}\"")), KeyForm::Quotes);

    // Stripe signs with the text; Standard Webhooks decodes what follows whsec_.
    let text = format!("whsec_{base64}");
    let sender = SourceSpec {
        scheme: Some(toml::toml! { key = { decode = "utf8", strip_prefix = "" } }),
        ..spec("standardwebhooks", &text)
    };
    let of = source("hooks", spec("standardwebhooks", &text));
    let found = cause(&sent(&sender), &of, &[]);
    assert!(
        matches!(
            found,
            Cause::Key {
                form: KeyForm::Text,
                ..
            }
        ),
        "{found}"
    );
}

#[test]
fn case_5_white_space_around_the_secret() {
    for (sender, configured) in [
        (CANARY.to_owned(), format!(" {CANARY}")),
        (CANARY.to_owned(), format!("{CANARY}\n")),
        (format!("{CANARY}\n"), CANARY.to_owned()),
        (format!("{CANARY} "), CANARY.to_owned()),
    ] {
        let of = source("github", spec("github", &configured));
        let found = cause(&sent(&spec("github", &sender)), &of, &[]);
        let form = KeyForm::WhiteSpace;
        assert!(
            matches!(found, Cause::Key { form: found, .. } if found == form),
            "{found}"
        );
    }
}

#[test]
fn case_6_a_body_that_was_parsed_and_printed_again() {
    let of = github();
    let printed = |sent_body: &str, came: &str| {
        let mut request = sent_with(&of.spec, 0, Some(sent_body.as_bytes()));
        request.body = Bytes::copy_from_slice(came.as_bytes());
        cause(&request, &of, &[])
    };
    for (sent_body, came) in [
        ("{\"a\":1.50,\"b\":[true]}", "{\"a\": 1.50, \"b\": [true]}"),
        (
            "{\"a\": 1, \"b\": \"\\u00e4\"}",
            "{\"a\":1,\"b\":\"\u{e4}\"}",
        ),
        ("{\"a\":\"x\\/y\"}", "{ \"a\" : \"x/y\" }"),
        ("{\n  \"a\": [\n    1,\n    2\n  ]\n}", "{\"a\":[1,2]}"),
    ] {
        let expected = Cause::Body(BodyChange::Reserialised);
        assert_eq!(printed(sent_body, came), expected, "{came}");
    }
}

#[test]
fn case_7_a_newline_more_or_less() {
    let of = github();
    let changed = |sent_body: &str, came: &str| {
        let mut request = sent_with(&of.spec, 0, Some(sent_body.as_bytes()));
        request.body = Bytes::copy_from_slice(came.as_bytes());
        cause(&request, &of, &[])
    };
    let more = Cause::Body(BodyChange::NewlineMore);
    assert_eq!(changed("{}", "{}\n"), more);
    assert_eq!(changed("{}", "{}\r\n"), more);
    assert_eq!(changed("{}\n", "{}"), Cause::Body(BodyChange::NewlineLess));
    let ends = Cause::Body(BodyChange::LineEnds);
    assert_eq!(changed("[1,\r\n2]", "[1,\n2]"), ends);
    let mark = Cause::Body(BodyChange::ByteOrderMark);
    assert_eq!(changed("{}", "\u{feff}{}"), mark);
}

#[test]
fn case_8_a_clock_that_is_off_by_so_many_seconds() {
    let clock = |of: &DoctorSource, age: i64| match cause(&sent_with(&of.spec, age, None), of, &[])
    {
        Cause::Clock {
            age_secs,
            tolerance_secs,
        } => (age_secs, tolerance_secs),
        other => panic!("{other}"),
    };
    let stripe = source("stripe", spec("stripe", CANARY));
    let (age, tolerance) = clock(&stripe, 3723);
    assert!((3723..=3724).contains(&age), "{age}");
    assert_eq!(tolerance, Some(300));
    let (age, _) = clock(&stripe, 400_000_000);
    assert!((400_000_000..=400_000_001).contains(&age), "{age}");
    let hooks = format!(
        "whsec_{}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, CANARY)
    );
    let hooks = source("hooks", spec("standardwebhooks", &hooks));
    let (age, _) = clock(&hooks, -900);
    assert!((-901..=-900).contains(&age), "{age}");
}

#[test]
fn case_9_the_header_of_another_scheme() {
    let of = source("stripe", spec("stripe", CANARY));
    let found = cause(&sent(&spec("github", CANARY)), &of, &[]);
    let Cause::OtherScheme {
        providers,
        header,
        proven,
    } = found
    else {
        panic!("{found}");
    };
    assert_eq!(header, "x-hub-signature-256");
    assert!(proven, "with the same secret: {providers:?}");
    let found = cause(&sent(&spec("shopify", OTHER)), &of, &[]);
    assert!(found.to_string().contains("shopify"), "{found}");
    let others = [github()];
    let found = cause(&sent(&spec("github", CANARY)), &of, &others);
    assert_eq!(found, Cause::OtherSource("github".to_owned()));
}

#[test]
fn case_10_a_url_that_a_proxy_has_changed() {
    let with = |url: &str| SourceSpec {
        public_url: Some(url.to_owned()),
        ..spec("square", CANARY)
    };
    let configured = "https://hooks.example.com/ingest/shop";
    let of = source("shop", with(configured));
    let url = |signed: &str, host: Option<&'static str>| {
        let mut request = sent(&with(signed));
        let mut headers: Vec<_> = request.headers.iter().cloned().collect();
        let host = host.map(|host| (http::header::HOST, http::HeaderValue::from_static(host)));
        headers.extend(host);
        request.headers = headers.into();
        cause(&request, &of, &[])
    };
    for (signed, host) in [
        ("http://hooks.example.com/ingest/shop", None),
        ("https://hooks.example.com:443/ingest/shop", None),
        ("https://hooks.example.com/ingest/shop/", None),
        ("https://hooks.example.com/shop", None),
        (
            "https://shop.example.org/ingest/shop",
            Some("shop.example.org"),
        ),
        ("http://10.0.0.7:8420/ingest/shop", Some("10.0.0.7:8420")),
    ] {
        assert_eq!(url(signed, host), Cause::Url(signed.to_owned()));
    }
}

#[test]
fn two_causes_at_once_are_found_if_one_is_the_clock() {
    let of = source("stripe", spec("stripe", CANARY));
    let others = [source("shop", spec("shopify", OTHER))];
    let found = verdict(&sent_with(&spec("stripe", OTHER), 3600, None), &of, &others);
    let (first, clock) = (found.cause.as_ref(), found.clock.as_ref());
    assert!(
        matches!(first, Some(Cause::SecretOfOther { .. })),
        "{found}"
    );
    assert!(
        matches!(clock, Some(Cause::Clock { age_secs, .. }) if (3600..=3601).contains(age_secs)),
        "{found}"
    );
    let said = found.to_string();
    assert!(
        said.contains("source shop") && said.contains("s before the receipt"),
        "{said}"
    );
}

#[test]
fn a_wrong_clock_is_found_behind_a_body_of_many_megabytes() {
    let of = source("stripe", spec("stripe", CANARY));
    let body = format!(
        "{{\"id\":\"evt_1\",\"type\":\"a.b\",\"pad\":\"{}\"}}",
        "x".repeat(8 << 20)
    );
    let found = cause(&sent_with(&of.spec, 3600, Some(body.as_bytes())), &of, &[]);
    assert!(matches!(found, Cause::Clock { .. }), "{found}");
}

#[test]
fn a_case_in_a_log_shows_no_header_and_no_body() {
    let of = source("gitlab", spec("gitlab-token", OTHER));
    let request = sent(&spec("gitlab-token", CANARY));
    let case = Case {
        request: &request,
        source: &of,
        others: &[],
        keys: &KeyRing::EMPTY,
    };
    let said = format!("{case:?} {request:?}");
    assert!(!said.contains(CANARY), "{said}");
}

#[test]
fn a_forgery_fits_nothing_and_the_verdict_says_what_was_tried() {
    let of = github();
    let others = [source("shop", spec("shopify", OTHER))];
    let forged = sent(&spec("github", "a secret that nobody here knows"));
    let found = verdict(&forged, &of, &others);
    assert_eq!(found.cause, None, "{found}");
    let said = found.to_string();
    for check in [
        "may be a forgery",
        "1 other sources",
        "1 secrets of other sources",
        "base64",
        "newline",
    ] {
        assert!(said.contains(check), "{check}: {said}");
    }
    let mended = sent(&of.spec);
    assert_eq!(cause(&mended, &of, &others), Cause::VerifiesNow);
}

#[test]
fn a_deep_body_costs_no_more_than_another() {
    let of = github();
    let mut forged = sent(&spec("github", "a secret that nobody here knows"));
    for deep in ["[", "{\"a\":["] {
        forged.body = Bytes::from(deep.repeat(512 * 1024 / deep.len()));
        assert_eq!(verdict(&forged, &of, &[]).cause, None);
    }
}

#[test]
fn a_handshake_that_needs_no_proof_proves_no_other_source() {
    let slack = source("slack", spec("slack", OTHER));
    let body = br#"{"type":"url_verification","challenge":"c","token":"t"}"#;
    let mut forged = sent(&spec("github", "a secret that nobody here knows"));
    forged.body = Bytes::from_static(body);
    let found = verdict(&forged, &github(), std::slice::from_ref(&slack));
    assert_eq!(found.cause, None, "{found}");
}

#[test]
fn the_work_on_one_delivery_is_bounded() {
    let of = github();
    let mut forged = sent(&spec("github", "a secret that nobody here knows"));
    forged.body = Bytes::from(vec![b' '; 25 * 1024 * 1024]);
    let found = verdict(&forged, &of, &[]);
    assert_eq!(found.cause, None);
    assert!(found.to_string().contains("the bound on trials"), "{found}");
}
