use super::*;

const FIRST: &[&str] = &[
    "stripe",
    "github",
    "shopify",
    "slack",
    "standardwebhooks",
    "svix",
    "hmac",
    "token",
];

fn signed(source: &SourceSpec, id: &str) -> Request {
    let spec = spec_of(source).expect("a spec");
    as_request(
        &sign(
            source,
            &inputs(sample_body(&spec, id, UnixMillis(NOW)), id, NOW),
        )
        .expect("it signs"),
    )
}

#[test]
fn what_is_signed_verifies_with_its_id() {
    for provider in FIRST {
        let source = source(provider, &[SECRET]);
        let scheme = compiled(&source);
        let event = one(&scheme, &signed(&source, "evt_1"), NOW);
        if !matches!(*provider, "hmac" | "token") {
            assert!(
                event
                    .id()
                    .unwrap_or_default()
                    .split(':')
                    .any(|part| part == "evt_1"),
                "{provider}: {}",
                event.id().unwrap_or_default()
            );
            let again = one(&scheme, &signed(&source, "evt_1"), NOW);
            assert!(same(&event, &again), "{provider}");
        }
        let other = one(&scheme, &signed(&source, "evt_2"), NOW);
        assert!(!same(&event, &other), "{provider}");
    }
}

#[test]
fn no_changed_byte_of_body_or_signature_verifies() {
    for provider in FIRST {
        let source = source(provider, &[SECRET]);
        let scheme = compiled(&source);
        let good = signed(&source, "evt_1");
        one(&scheme, &good, NOW);
        for at in 0..good.body.len() {
            if *provider == "token" {
                break;
            }
            let mut bad = good.clone();
            let mut body = bad.body.to_vec();
            body[at] ^= 0x20;
            bad.body = body.into();
            assert!(
                events(&scheme, &bad, NOW).is_err(),
                "{provider}: byte {at} of the body"
            );
        }
        let event_type = |name: &HeaderName| {
            matches!(
                name.as_str(),
                "content-type" | "x-github-event" | "x-github-delivery" | "x-github-hook-id"
            ) || name.as_str().starts_with("x-shopify-") && name != "x-shopify-hmac-sha256"
        };
        for (name, value) in good.headers.iter().filter(|(name, _)| !event_type(name)) {
            for at in 0..value.len() {
                for flip in [0x01, 0x02, 0x20, 0x40] {
                    let mut text = value.as_bytes().to_vec();
                    text[at] ^= flip;
                    let Ok(changed) = HeaderValue::from_bytes(&text) else {
                        continue;
                    };
                    let mut bad = good.clone();
                    bad.headers = good
                        .headers
                        .iter()
                        .map(|(n, v)| {
                            (
                                n.clone(),
                                if n == name {
                                    changed.clone()
                                } else {
                                    v.clone()
                                },
                            )
                        })
                        .collect();
                    assert!(
                        events(&scheme, &bad, NOW).is_err(),
                        "{provider}: {name} with byte {at} changed to {:?}",
                        text[at] as char
                    );
                }
            }
            let mut bad = good.clone();
            bad.headers = good
                .headers
                .iter()
                .filter(|(n, _)| n != name)
                .cloned()
                .collect();
            assert!(
                events(&scheme, &bad, NOW).is_err(),
                "{provider}: without {name}"
            );
            bad.headers = good
                .headers
                .iter()
                .map(|(n, v)| {
                    (
                        n.clone(),
                        if n == name {
                            HeaderValue::from_static("")
                        } else {
                            v.clone()
                        },
                    )
                })
                .collect();
            assert!(
                events(&scheme, &bad, NOW).is_err(),
                "{provider}: empty {name}"
            );
        }
        let other = compiled(&super::source(
            provider,
            &["fedcba9876543210fedcba9876543210"],
        ));
        assert!(
            events(&other, &good, NOW).is_err(),
            "{provider}: another secret"
        );
    }
}

#[test]
fn stale_and_future_times() {
    let stripe = source("stripe", &[SECRET]);
    let scheme = compiled(&stripe);
    let request = signed(&stripe, "evt_1");
    assert!(events(&scheme, &request, NOW + 300_000).is_ok());
    assert_eq!(
        refused(&scheme, &request, NOW + 301_000),
        Reason::TimestampTooOld
    );
    let standard = source("standardwebhooks", &[SECRET]);
    assert_eq!(
        refused(&compiled(&standard), &signed(&standard, "m"), NOW - 301_000),
        Reason::TimestampInFuture
    );
}

#[test]
fn any_active_secret_may_have_signed_and_any_candidate_may_match() {
    let old = source("stripe", &["an older secret that still works"]);
    let both = compiled(&source(
        "stripe",
        &[SECRET, "an older secret that still works"],
    ));
    one(&both, &signed(&old, "evt_1"), NOW);

    let good = signed(&source("stripe", &[SECRET]), "evt_1");
    let value = good
        .headers
        .get(&HeaderName::from_static("stripe-signature"))
        .expect("a signature")
        .to_str()
        .expect("text")
        .to_owned();
    let with = |text: String| {
        let mut request = good.clone();
        request.headers = [(
            HeaderName::from_static("stripe-signature"),
            HeaderValue::from_str(&text).expect("a value"),
        )]
        .into_iter()
        .collect();
        request
    };
    let zeros = "00".repeat(32);
    one(&both, &with(format!("v1={zeros},{value},v0={zeros}")), NOW);
    assert_eq!(
        refused(&both, &with(value.replace("v1=", "v0=")), NOW),
        Reason::SignatureMalformed
    );
    assert_eq!(
        refused(&both, &with(format!("{value},t=1")), NOW),
        Reason::SignatureMalformed
    );
    one(
        &both,
        &with(format!("{value}{}", format!(",v1={zeros}").repeat(16))),
        NOW,
    );
    let many: String = (0..16).map(|number| format!(",v1={number:064x}")).collect();
    assert_eq!(
        refused(&both, &with(format!("{value}{many}")), NOW),
        Reason::SignatureMalformed
    );
    assert_eq!(
        refused(
            &both,
            &with(value.split(',').nth(1).expect("v1").to_owned()),
            NOW
        ),
        Reason::TimestampInvalid
    );
    assert_eq!(
        refused(&both, &with(value[..value.len() - 2].to_owned()), NOW),
        Reason::SignatureMismatch
    );
}

#[test]
fn a_signature_header_that_is_repeated_is_one_candidate() {
    let github = source("github", &[SECRET]);
    let (scheme, good) = (compiled(&github), signed(&github, "evt_1"));
    let name = HeaderName::from_static("x-hub-signature-256");
    let right = good.headers.get(&name).expect("a signature").clone();
    let wrong = HeaderValue::from_str(&format!("sha256={}", "00".repeat(32))).expect("a value");
    let with = |values: &[&HeaderValue]| {
        let others = good
            .headers
            .iter()
            .filter(|(known, _)| *known != name)
            .cloned();
        let headers = others
            .chain(values.iter().map(|value| (name.clone(), (*value).clone())))
            .collect();
        Request {
            headers,
            ..good.clone()
        }
    };
    one(&scheme, &with(&[&right, &right, &right]), NOW);
    one(
        &scheme,
        &with(&[&HeaderValue::from_static("no signature"), &right]),
        NOW,
    );
    let sixteen = [[&wrong; 15].as_slice(), &[&right]].concat();
    assert_eq!(
        refused(&scheme, &with(&sixteen), NOW),
        Reason::SignatureMismatch,
        "of several, the first is the one"
    );
}

#[test]
fn a_list_has_three_signatures_checked_against_public_keys() {
    let key = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
    let public = <ring::signature::Ed25519KeyPair as ring::signature::KeyPair>::public_key(&key)
        .as_ref()
        .to_vec();
    let scheme = "kind = \"ed25519\"\nmessage = \"{body}\"\nsig = { from = \"header:x-sig\", split = \" \", encoding = \"hex\" }";
    let mut source = with_scheme(
        SourceSpec {
            provider: None,
            ..source("", &[])
        },
        scheme,
    );
    source.public_keys = vec![Secret::new(hex::encode(public).into_bytes())];
    let (scheme, right) = (compiled(&source), hex::encode(key.sign(b"{}")));
    let with = |wrong: usize| {
        let list: Vec<_> = (0..wrong)
            .map(|number| format!("{number:0128x}"))
            .chain([right.clone()])
            .collect();
        request("POST", "/ingest/test", &[("x-sig", &list.join(" "))], b"{}")
    };
    one(&scheme, &with(2), NOW);
    assert_eq!(refused(&scheme, &with(3), NOW), Reason::SignatureMismatch);
}

#[test]
fn odd_bodies_with_a_good_signature() {
    let stripe = source("stripe", &[SECRET]);
    let scheme = compiled(&stripe);
    let with =
        |body: String| as_request(&sign(&stripe, &inputs(body, "x", NOW)).expect("it signs"));
    assert_eq!(
        refused(&scheme, &with(r#"{"id":"a","id":"b"}"#.into()), NOW),
        Reason::IdAmbiguous
    );
    assert_eq!(
        one(
            &scheme,
            &with(r#"{"id":12345678901234567890123}"#.into()),
            NOW
        )
        .id()
        .unwrap_or_default(),
        "12345678901234567890123"
    );
    let deep = format!(
        r#"{{"id":"deep","x":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        one(&scheme, &with(deep), NOW).id().unwrap_or_default(),
        "deep"
    );
    for body in [
        "",
        "no JSON",
        "{}",
        r#"{"id":null}"#,
        r#"{"id":{}}"#,
        r#"{"id":""}"#,
    ] {
        let event = one(&scheme, &with(body.into()), NOW);
        assert_eq!(
            (event.class, event.id().unwrap_or_default()),
            (IdClass::Absent, ""),
            "{body}"
        );
    }
    let long = one(
        &scheme,
        &with(format!(r#"{{"id":"{}"}}"#, "x".repeat(9000))),
        NOW,
    );
    assert_eq!(long.id().unwrap_or_default().len(), 9000);
    one(&scheme, &with(r#"{"id":"\u0000\ud800"}"#.into()), NOW);
}

#[test]
fn a_compressed_body_hides_neither_id_nor_type() {
    use std::io::Write as _;
    let nylas = source("nylas", &[SECRET]);
    let scheme = compiled(&nylas);
    let packed = |text: &[u8]| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(text).expect("memory");
        gzip.finish().expect("memory")
    };
    let signed =
        |body: Vec<u8>| as_request(&sign(&nylas, &inputs(body, "x", NOW)).expect("it signs"));
    let body = packed(br#"{"id":"n-1","type":"message.created"}"#);
    let event = one(&scheme, &signed(body.clone()), NOW);
    assert_eq!(
        (
            event.id().unwrap_or_default(),
            event.event_type.as_deref(),
            &*event.body
        ),
        ("n-1", Some("message.created"), &body[..])
    );
    // A bomb, and what only begins like gzip, are events without an id: they are signed.
    for body in [
        packed(&vec![b' '; 30 << 20]),
        [&[0x1f, 0x8b][..], &[7; 40]].concat(),
    ] {
        assert_eq!(one(&scheme, &signed(body), NOW).event_type, None);
    }
}

#[test]
fn a_repeated_type_does_not_refuse_a_signed_event() {
    let stripe = source("stripe", &[SECRET]);
    let signed = as_request(
        &sign(
            &stripe,
            &inputs(r#"{"id":"a","type":"x","type":"y","x":1,"x":2}"#, "x", NOW),
        )
        .expect("it signs"),
    );
    let event = one(&compiled(&stripe), &signed, NOW);
    assert_eq!((event.id(), &event.event_type), (Some("a"), &None));

    let github = source("github", &[SECRET]);
    let mut signed = self::signed(&github, "delivery-1");
    let twice = (
        HeaderName::from_static("x-github-event"),
        HeaderValue::from_static("push"),
    );
    signed.headers = signed.headers.iter().cloned().chain([twice]).collect();
    assert_eq!(one(&compiled(&github), &signed, NOW).event_type, None);
}

#[test]
fn digits_moved_between_the_time_and_the_body_are_refused() {
    for (provider, header) in [
        ("cashfree", "x-webhook-timestamp"),
        ("airwallex", "x-timestamp"),
        ("discord", "x-signature-timestamp"),
    ] {
        let (source, spec, private_key) = made_up(provider);
        let request = testing::signed(&source, &spec, private_key, "evt-1").expect("it signs");
        let scheme = compiled(&source);
        one(&scheme, &request, NOW);
        let header: HeaderName = header.parse().expect("a name");
        let time = request
            .headers
            .get(&header)
            .expect("a time")
            .to_str()
            .expect("text")
            .to_owned();
        let (kept, moved) = time.split_at(time.len() - 1);
        let mut forged = request.clone();
        forged.headers = request
            .headers
            .iter()
            .map(|(n, v)| {
                (
                    n.clone(),
                    if *n == header {
                        kept.parse().expect("a value")
                    } else {
                        v.clone()
                    },
                )
            })
            .collect();
        forged.body = [moved.as_bytes(), &request.body].concat().into();
        assert!(
            verify(&scheme, &forged, UnixMillis(NOW)).is_err(),
            "{provider}"
        );
    }
    let retell = source("retell", &[SECRET]);
    let request = signed(&retell, "call");
    assert!(
        !request.body.ends_with(b"1"),
        "a document ends with a bracket"
    );
    one(&compiled(&retell), &request, NOW);
}

#[test]
fn slack_answers_its_signed_handshake_only() {
    let slack = source("slack", &[SECRET]);
    let scheme = compiled(&slack);
    let body = r#"{"token":"x","challenge":"3eZb\"w","type":"url_verification"}"#;
    let request = as_request(&sign(&slack, &inputs(body, "x", NOW)).expect("it signs"));
    let Ok(Verdict::Challenge(answer)) = verify(&scheme, &request, UnixMillis(NOW)) else {
        panic!("no challenge")
    };
    assert_eq!(
        (answer.status, &*answer.body),
        (200, &br#"{"challenge":"3eZb\"w"}"#[..])
    );
    let forged = super::request(
        "POST",
        "/",
        &[
            ("x-slack-signature", "v0=00"),
            ("x-slack-request-timestamp", "1750000000"),
        ],
        body.as_bytes(),
    );
    assert_eq!(refused(&scheme, &forged, NOW), Reason::SignatureMismatch);
}

#[test]
fn an_event_by_get_is_its_query() {
    let (twilio, spec, _) = made_up("twilio");
    let scheme = compiled(&twilio);
    let query = "AccountSid=AC1&MessageSid=SM1&MessageStatus=delivered&To=%2B14155550100";
    let url = format!("{}?{query}", twilio.public_url.clone().expect("a URL"));
    let mac = crate::crypto::mac::MacKey::new(spec.hash, SECRET.as_bytes()).expect("a key");
    let signature =
        crate::crypto::mac::Encoding::Base64.encode(mac.of([url.as_bytes()]).as_bytes());
    let get = |query: &str| {
        super::request(
            "GET",
            &format!("/ingest/test?{query}"),
            &[("x-twilio-signature", &signature)],
            b"",
        )
    };
    let event = one(&scheme, &get(query), NOW);
    assert_eq!(
        (&*event.body, event.event_type.as_deref()),
        (query.as_bytes(), Some("delivered"))
    );
    assert!(
        event.id().unwrap_or_default().contains("SM1"),
        "{:?}",
        event.id()
    );
    assert_eq!(
        refused(&scheme, &get(&query.replace("SM1", "SM2")), NOW),
        Reason::SignatureMismatch
    );

    let vonage = source("vonage", &[SECRET]);
    let scheme = compiled(&vonage);
    let token = |claims: &str| {
        let part = |text: &str| crate::crypto::mac::Encoding::Base64Url.encode(text.as_bytes());
        let signed = format!("{}.{}", part(r#"{"alg":"HS256"}"#), part(claims));
        let mac = crate::crypto::mac::MacKey::new(
            crate::crypto::mac::HashName::Sha256,
            SECRET.as_bytes(),
        )
        .expect("a key");
        format!(
            "Bearer {signed}.{}",
            crate::crypto::mac::Encoding::Base64Url.encode(mac.of([signed.as_bytes()]).as_bytes())
        )
    };
    let iat = NOW / 1000;
    let get = |claims: &str| {
        super::request(
            "GET",
            "/ingest/test?messageId=m1&status=delivered",
            &[("authorization", &token(claims))],
            b"",
        )
    };
    let event = one(&scheme, &get(&format!(r#"{{"iat":{iat}}}"#)), NOW);
    assert_eq!(
        (&*event.body, event.id().unwrap_or_default()),
        (&b"messageId=m1&status=delivered"[..], "m1:delivered")
    );
    let of_another = format!(r#"{{"iat":{iat},"payload_hash":"{}"}}"#, "0".repeat(64));
    assert_eq!(
        refused(&scheme, &get(&of_another), NOW),
        Reason::PreconditionFailed
    );
}

#[test]
fn slacks_look_at_a_certificate_is_answered_without_a_signature() {
    let scheme = compiled(&source("slack", &[SECRET]));
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let probe = super::request(
        "POST",
        "/",
        &form,
        b"ssl_check=1&token=Jhj5dZrVaK7ZwHHjRyZWjbDl",
    );
    let Ok(Verdict::Challenge(answer)) = verify(&scheme, &probe, UnixMillis(NOW)) else {
        panic!("no probe")
    };
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let command = super::request("POST", "/", &form, b"command=%2Fweir&text=ssl_check%3D1");
    assert_eq!(refused(&scheme, &command, NOW), Reason::SignatureMissing);
}

#[test]
fn a_subscription_to_mcp_events_is_verified_by_its_signed_challenge() {
    let mcp = source(
        "mcp-events",
        &["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="],
    );
    let scheme = compiled(&mcp);
    let body = r#"{"type":"verification","challenge":"q0-Xy_z"}"#;
    let request =
        as_request(&sign(&mcp, &inputs(body, "msg_verification_1", NOW)).expect("it signs"));
    let Ok(Verdict::Challenge(answer)) = verify(&scheme, &request, UnixMillis(NOW)) else {
        panic!("no challenge")
    };
    assert_eq!(
        (answer.status, &*answer.body),
        (200, &br#"{"challenge":"q0-Xy_z"}"#[..])
    );
    assert!(
        verify(
            &scheme,
            &super::request("POST", "/", &[], body.as_bytes()),
            UnixMillis(NOW)
        )
        .is_err()
    );
}

#[test]
fn bitbucket_servers_test_of_a_connection_is_answered_and_is_no_event() {
    let scheme = compiled(&source("bitbucket-server", &[SECRET]));
    let ping = super::request(
        "POST",
        "/",
        &[("x-event-key", "diagnostics:ping"), ("x-request-id", "r1")],
        br#"{"test":true}"#,
    );
    assert!(
        matches!(verify(&scheme, &ping, UnixMillis(NOW)), Ok(Verdict::Challenge(answer)) if answer.status == 200)
    );
    let push = super::request(
        "POST",
        "/",
        &[("x-event-key", "repo:refs_changed")],
        br#"{"test":true}"#,
    );
    assert_eq!(refused(&scheme, &push, NOW), Reason::SignatureMissing);
}

#[test]
fn mailgun_signs_for_a_subaccount_with_the_parents_key_as_well() {
    let mailgun = source("mailgun", &[SECRET]);
    let scheme = compiled(&mailgun);
    let signed = signed(&mailgun, "e-1");
    let body = String::from_utf8(signed.body.to_vec()).expect("text");
    let mut json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let parent = std::mem::replace(&mut json["signature"]["signature"], "00".repeat(32).into());
    json["signature"]["parent-signature"] = parent;
    let mut of_subaccount = signed.clone();
    of_subaccount.body = json.to_string().into();
    one(&scheme, &of_subaccount, NOW);
    json["signature"]["parent-signature"] = "00".repeat(32).into();
    of_subaccount.body = json.to_string().into();
    assert_eq!(
        refused(&scheme, &of_subaccount, NOW),
        Reason::SignatureMismatch
    );
    assert_eq!(
        refused(&scheme, &signed, NOW + 400 * 86_400_000),
        Reason::TimestampTooOld
    );
}

#[test]
fn mistakes_are_refused_when_loading() {
    let errors = |source: &SourceSpec| -> Vec<String> {
        Scheme::compile(source, 1000)
            .map(|_| Vec::new())
            .unwrap_or_else(|errors| errors.iter().map(ToString::to_string).collect())
    };
    assert_eq!(
        errors(&source("stripe", &[])),
        ["secrets: missing; this provider signs with a secret, so give at least one"]
    );
    assert_eq!(errors(&source("stripe", &["", "short"])).len(), 2);
    assert!(errors(&source("strip", &[SECRET]))[0].contains("did you mean \"stripe\""));
    let mut nameless = source("stripe", &[SECRET]);
    nameless.provider = None;
    assert!(errors(&nameless)[0].starts_with("provider: missing"));
    assert!(errors(&source("none", &[SECRET]))[0].contains("verifies nothing"));
    assert!(errors(&source("none", &[])).is_empty());
    for (bad, what) in [
        (
            "signatur = 1",
            "scheme.signatur: no such key; did you mean signature?",
        ),
        ("kind = \"magic\"", "magic"),
        ("message = \"{oops}\"", "{oops} is not a token"),
        ("message = \"{timestamp}.[{body}\"", "\"[\" is not closed"),
        (
            "message = \"{body}\"\ntimestamp = { from = \"header:x-at\", tolerance_secs = 300 }",
            "anybody could change the time",
        ),
        ("message = \"{param:who}{body}\"", "params.who"),
        ("message = \"{url}{body}\"", "public_url"),
        ("message = \"{secret}{body}\"", "kind = \"hash\" only"),
        ("signature = { from = \"cookie:x\" }", "is not a place"),
        (
            "signature = { from = \"header:x\", encoding = \"base32\" }",
            "base32",
        ),
        (
            "signature = { from = \"header:x\", label_separator = \"=\" }",
            "name the labels",
        ),
        ("event = { id = \"{json:id}\" }", "not a JSON pointer"),
        ("key = { decode = \"hex\" }", ""),
    ] {
        let found = errors(&with_scheme(source("hmac", &[SECRET]), bad));
        assert!(
            bad.contains("decode") || found.iter().any(|error| error.contains(what)),
            "{bad}: {found:?}"
        );
    }
    let mut split = source("stripe", &[SECRET]);
    split.split = Some(true);
    assert!(errors(&split)[0].starts_with("batch"));
}

#[test]
fn a_scheme_in_old_words_verifies_and_each_is_warned_of() {
    let old = r#"
        kind = "hmac"
        sig = { from = "header:x-sig", split = ",", kv = "=", take = ["v1"], encoding = "hex" }
        ts = { from = "sig:t", tolerance = 60, future = true }
        message = "{ts}.{body}"
        event = { id = "{json:/id}", missing = "refuse" }
        respond = { status = 202, type = "text/plain", body = "ok", reject = 403 }
    "#;
    let new = r#"
        kind = "hmac"
        signature = { from = "header:x-sig", separators = ",", label_separator = "=", labels = ["v1"], encoding = "hex" }
        timestamp = { from = "signature:t", tolerance_secs = 60, refuse_future = true }
        message = "{timestamp}.{body}"
        event = { id = "{json:/id}", missing_id = "refuse" }
        respond = { status = 202, content_type = "text/plain", body = "ok", reject_status = 403 }
    "#;
    let own = |words| {
        let mut own = with_scheme(source("hmac", &[SECRET]), words);
        own.provider = None;
        own
    };
    let request =
        as_request(&sign(&own(new), &inputs(r#"{"id":"evt_1"}"#, "evt_1", NOW)).expect("signed"));
    let (old_scheme, new_scheme) = (compiled(&own(old)), compiled(&own(new)));
    for scheme in [&old_scheme, &new_scheme] {
        assert_eq!(one(scheme, &request, NOW).id(), Some("evt_1"));
        assert_eq!(
            refused(scheme, &request, NOW + 61_000),
            Reason::TimestampTooOld
        );
        assert_eq!(
            refused(scheme, &request, NOW - 61_000),
            Reason::TimestampInFuture
        );
        assert_eq!(scheme.answers().rejected, Some(403));
    }
    assert_eq!(old_scheme.describe(), new_scheme.describe());
    let warned = |scheme: &Scheme, word: &str| {
        scheme
            .warnings()
            .iter()
            .any(|warning| warning.to_string().starts_with(word))
    };
    for (word, new) in [
        ("sig", "signature"),
        ("sig.kv", "label_separator"),
        ("ts.tolerance", "tolerance_secs"),
        ("ts.from: sig:t", "signature:t"),
        ("message: {ts}", "{timestamp}"),
        ("event.missing", "missing_id"),
        ("respond.reject", "reject_status"),
    ] {
        let text = format!("scheme.{word} is an old word; write {new} instead");
        assert!(
            warned(&old_scheme, &text),
            "{text}: {:#?}",
            old_scheme.warnings()
        );
    }
    assert!(
        !warned(&new_scheme, "scheme."),
        "{:?}",
        new_scheme.warnings()
    );

    // On top of a preset, which is in new words; and a mistake is told by the word that was
    // written.
    let mut like = source("stripe", &[SECRET]);
    like = with_scheme(like, "ts = { tolerance = 60 }");
    assert!(compiled(&like).describe().ends_with("60 s"));
    let wrong = with_scheme(source("stripe", &[SECRET]), "ts = { tolerance = \"60\" }");
    let errors = Scheme::compile(&wrong, 1000).expect_err("no number");
    assert_eq!(errors[0].key.to_string(), "scheme.ts.tolerance");
}

#[test]
fn an_operators_own_scheme() {
    let own = with_scheme(
        source("hmac", &[SECRET]),
        r#"
        hash = "sha512"
        signature = { from = "header:acme-signature", prefix = "sha512=", encoding = "base64" }
        timestamp = { from = "header:acme-time", unit = "ms", tolerance_secs = 60, refuse_future = true }
        message = "{timestamp}.{header:acme-id}.{body}"
        event = { id = "{header:acme-id}", type = "{json:/kind}" }
        "#,
    );
    let scheme = compiled(&own);
    let request =
        as_request(&sign(&own, &inputs(r#"{"kind":"a.b"}"#, "n1", NOW)).expect("it signs"));
    let event = one(&scheme, &request, NOW);
    assert_eq!(
        (event.id().unwrap_or_default(), event.event_type.as_deref()),
        ("n1", Some("a.b"))
    );
    assert_eq!(
        scheme.describe(),
        "HMAC-SHA512 over `{timestamp}.{header:acme-id}.{body}`, base64, in acme-signature after `sha512=`, 60 s"
    );
    let mut like = source("x", &[SECRET]);
    like.provider = None;
    let like = with_scheme(like, "like = \"stripe\"\nts = { tolerance_secs = 60 }");
    assert_eq!(
        compiled(&like).describe(),
        "HMAC-SHA256 over `{timestamp}.{body}`, hex, in `v1=` of stripe-signature, 60 s"
    );
}

#[test]
fn facts_follow_from_the_preset() {
    let facts = |provider: &str| compiled(&source(provider, &[SECRET])).facts().clone();
    let day = Duration::from_secs(86_400);
    assert_eq!(facts("stripe").window, 7 * day);
    assert_eq!(facts("slack").deadline, Some(Duration::from_millis(2400)));
    assert!(
        facts("stripe").body_covered
            && facts("stripe").id_covered
            && !facts("github").id_covered
            && !facts("token").body_covered
    );
    assert!(
        compiled(&source("github", &[SECRET]))
            .warnings()
            .contains(&SchemeWarning::IdNotCovered)
    );
    let slack = compiled(&source("slack", &[SECRET]));
    assert!(slack.answers_method(&Method::POST) && !slack.answers_method(&Method::GET));
}

#[test]
fn a_key_set_that_is_not_here_is_no_refusal() {
    let mut pubsub = source("gcp-pubsub", &[]);
    pubsub.params = [
        ("audience", "https://a.example"),
        ("email", "push@a.example"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into();
    let (given, spec, private_key) = made_up("gcp-pubsub");
    let request = testing::signed(&given, &spec, private_key, "evt_1").expect("it signs");
    let scheme = compiled(&pubsub);
    assert!(
        scheme
            .jwks_url()
            .is_some_and(|url| url.starts_with("https://www.googleapis.com/"))
    );
    let needed = verify(&scheme, &request, UnixMillis(NOW));
    assert!(
        matches!(&needed, Ok(Verdict::NeedsKeys(needed)) if matches!(needed[..], [KeyRequest::KeySet])),
        "{needed:?}"
    );
    // Another provider's keys decide nothing about a token that names none of them, but do about
    // one that names them.
    let other = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let mut keys = KeyRing::EMPTY;
    keys.set_key_set(Arc::new(JwkSet::parse(other).expect("a key set")));
    let refusal = crate::verify(&scheme, &keys, &request, UnixMillis(NOW)).expect_err("refused");
    assert_eq!(refusal.reason, Reason::SignatureMismatch);
    for bad in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        r#"{"keys":[{"kty":"oct","k":"AAAA"}]}"#,
    ] {
        assert!(JwkSet::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn tokens_that_say_what_they_should_not() {
    let livekit = {
        let mut source = source("livekit", &[SECRET]);
        source.params.insert("api_key".into(), "key".into());
        source
    };
    let scheme = compiled(&livekit);
    let key = mac::MacKey::new(mac::HashName::Sha256, SECRET.as_bytes()).expect("a key");
    let body = br#"{"id":"e"}"#;
    let digest = mac::Encoding::Base64.encode(mac::HashName::Sha256.of([&body[..]]).as_bytes());
    let claims = |more: &str| {
        format!(
            r#"{{"iss":"key","exp":{},"sha256":"{digest}"{more}}}"#,
            NOW / 1000 + 60
        )
    };
    let verdict = |header: &str, claims: &str, sign: bool| {
        let encode = |text: &str| mac::Encoding::Base64Url.encode(text.as_bytes());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = if sign {
            mac::Encoding::Base64Url.encode(key.of([signed.as_bytes()]).as_bytes())
        } else {
            String::new()
        };
        let request = super::request(
            "POST",
            "/",
            &[("authorization", &format!("{signed}.{signature}"))],
            body,
        );
        verify(&scheme, &request, UnixMillis(NOW))
            .map(|_| ())
            .map_err(|rejection| rejection.reason)
    };
    let hs256 = r#"{"alg":"HS256"}"#;
    assert_eq!(verdict(hs256, &claims(""), true), Ok(()));
    use Reason::*;
    assert_eq!(
        verdict(r#"{"alg":"none"}"#, &claims(""), false),
        Err(SignatureMalformed)
    );
    assert_eq!(
        verdict(r#"{"alg":"none"}"#, &claims(""), true),
        Err(SignatureMalformed)
    );
    assert_eq!(
        verdict(r#"{"alg":"HS512"}"#, &claims(""), true),
        Err(SignatureMalformed)
    );
    assert_eq!(
        verdict(r#"{"alg":"HS256","alg":"HS256"}"#, &claims(""), true),
        Err(SignatureMalformed)
    );
    assert_eq!(
        verdict(r#"{"alg":"HS256","crit":["b64"]}"#, &claims(""), true),
        Err(SignatureMalformed)
    );
    assert_eq!(
        verdict(hs256, &claims(r#","exp":9999999999"#), true),
        Err(PreconditionFailed)
    );
    assert_eq!(
        verdict(hs256, &claims(r#","nbf":9999999999"#), true),
        Err(TimestampInFuture)
    );
    assert_eq!(
        verdict(hs256, &claims("").replace("\"key\"", "\"other\""), true),
        Err(PreconditionFailed)
    );
    assert_eq!(
        verdict(hs256, &claims("").replace("\"exp\"", "\"expires\""), true),
        Err(PreconditionFailed)
    );
    assert_eq!(
        verdict(hs256, &claims("").replace("\"sha256\"", "\"sha\""), true),
        Err(PreconditionFailed)
    );
    assert_eq!(verdict(hs256, "no JSON", true), Err(PreconditionFailed));
}

#[test]
fn several_tokens_in_one_are_all_there_or_none_is() {
    let toml = "kind = \"hmac\"\nsig = { from = \"header:x-sig\" }\nmessage = \"{join:header:x-a+body}\"\nevent = { id = \"{join:header:x-a+header:x-b|sha256:hex}\" }";
    let mut own = source("stripe", &[SECRET]);
    own.provider = None;
    let scheme = compiled(&with_scheme(own, toml));
    let key = mac::MacKey::new(mac::HashName::Sha256, SECRET.as_bytes()).expect("a key");
    let signature = mac::Encoding::Hex.encode(key.of([&b"1{}"[..]]).as_bytes());
    let sent = |headers: &[(&str, &str)]| {
        events(
            &scheme,
            &request(
                "POST",
                "/",
                &[&[("x-sig", &*signature)], headers].concat(),
                b"{}",
            ),
            NOW,
        )
    };
    let id = |headers: &[(&str, &str)]| {
        sent(headers)
            .expect("signed")
            .remove(0)
            .id()
            .unwrap_or_default()
            .to_owned()
    };
    assert_ne!(
        id(&[("x-a", "1"), ("x-b", "2")]),
        id(&[("x-a", "1"), ("x-b", "3")])
    );
    assert_eq!(
        sent(&[("x-a", "1")]).expect("signed").remove(0).class,
        IdClass::Absent,
        "without x-b there is no such id"
    );
    assert_eq!(
        sent(&[]).expect_err("x-a is signed").reason,
        Reason::SignatureMissing
    );
}

/// A secret with "+" in it, pasted into the URL at the provider as it is: a form's "+" is a blank.
#[test]
fn a_secret_with_a_plus_in_a_url_is_known_as_pasted_and_as_escaped() {
    let secret = "aF1+eLd/SeCr3t+0123456==";
    let scheme = compiled(&with_scheme(
        source("token", &[secret]),
        "token = \"query:secret\"",
    ));
    let post = |query: &str| super::request("POST", &format!("/ingest/test?{query}"), &[], b"{}");
    for right in [
        "secret=aF1+eLd/SeCr3t+0123456==",
        "secret=aF1%2BeLd%2FSeCr3t%2B0123456%3D%3D",
        "a=1&secret=aF1%2beLd/SeCr3t+0123456==",
    ] {
        assert!(events(&scheme, &post(right), NOW).is_ok(), "{right}");
    }
    for wrong in [
        "secret=aF1%20eLd/SeCr3t%200123456==",
        "secret=aF1eLd/SeCr3t0123456==",
        "secret=+",
        "secret=",
    ] {
        assert!(events(&scheme, &post(wrong), NOW).is_err(), "{wrong}");
    }
}

/// A check of a configuration goes on where a secret cannot be read. The scheme that it compiles
/// must accept nothing.
#[test]
fn a_secret_that_was_not_read_verifies_nothing() {
    for provider in ["hmac", "github", "stripe"] {
        let unread = SourceSpec {
            secrets: vec![Secret::unread()],
            ..source(provider, &[])
        };
        let scheme = compiled(&unread);
        let zeros = SourceSpec {
            secrets: vec![Secret::new([0; 32])],
            ..source(provider, &[])
        };
        assert!(scheme.verifies(), "{provider}");
        assert_eq!(
            refused(&scheme, &signed(&zeros, "evt_1"), NOW),
            Reason::SignatureMismatch,
            "{provider}"
        );
    }
}
