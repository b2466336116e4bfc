//! Facts about providers that must not be got wrong, each where a preset or the engine could.

use super::*;
use crate::language::spec::{KeyDecode, SchemeSpec, TimeUnit};

fn spec(provider: &str) -> SchemeSpec {
    made_up(provider).1
}

fn by(provider: &str, body: &str) -> (Scheme, Request) {
    let (source, _, private_key) = made_up(provider);
    let inputs = SignInputs {
        private_key,
        ..inputs(body.to_owned(), "x", NOW)
    };
    (
        compiled(&source),
        as_request(&sign(&source, &inputs).expect("it signs")),
    )
}

fn hmac_of(secret: usize, text: &str, encoding: mac::Encoding) -> String {
    let key = if secret == 0 {
        SECRET.to_owned()
    } else {
        SECRET.replace('0', "f")
    };
    encoding.encode(
        mac::MacKey::new(mac::HashName::Sha256, key.as_bytes())
            .expect("a key")
            .of([text.as_bytes()])
            .as_bytes(),
    )
}

/// The request with one header changed.
pub(crate) fn rewritten(
    request: &Request,
    header: &str,
    change: impl Fn(&str) -> String,
) -> Request {
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| match name.as_str() == header {
            true => (
                name.clone(),
                HeaderValue::from_str(&change(value.to_str().expect("text"))).expect("text"),
            ),
            false => (name.clone(), value.clone()),
        });
    Request {
        headers: headers.collect(),
        ..request.clone()
    }
}

/// A body whose parsing and writing again would change it, and what it would become.
#[test]
fn the_bytes_off_the_wire_are_verified() {
    for (provider, sent, written_again) in [
        (
            "sendgrid",
            "[{\"sg_event_id\":\"a\",\"event\":\"open\"}]\r\n",
            "[{\"sg_event_id\":\"a\",\"event\":\"open\"}]",
        ),
        (
            "openai",
            r#"{"id": "a", "type": "x"}"#,
            r#"{"id":"a","type":"x"}"#,
        ),
        (
            "cashfree",
            r#"{"type":"x","amount":2.00}"#,
            r#"{"type":"x","amount":2}"#,
        ),
        (
            "easypost",
            r#"{"id":"a","weight":12.0}"#,
            r#"{"id":"a","weight":12}"#,
        ),
        (
            "meta",
            r#"{"object":"page","text":"\u00e4"}"#,
            r#"{"object":"page","text":"ä"}"#,
        ),
    ] {
        let (scheme, request) = by(provider, sent);
        assert!(events(&scheme, &request, NOW).is_ok(), "{provider}");
        let changed = Request {
            body: written_again.to_owned().into(),
            ..request
        };
        assert!(events(&scheme, &changed, NOW).is_err(), "{provider}");
    }
}

#[test]
fn secrets_become_keys_as_each_provider_means_them() {
    for (decode, providers) in [
        (
            KeyDecode::Utf8,
            &["stripe", "imagekit", "polar", "zendesk"][..],
        ),
        (
            KeyDecode::Hex,
            &["adyen", "authorizenet", "squarespace", "onfleet"],
        ),
        (
            KeyDecode::Base64,
            &[
                "svix",
                "standardwebhooks",
                "openai",
                "airtable",
                "microsoft-teams",
                "sinch-voice",
            ],
        ),
    ] {
        for provider in providers {
            assert_eq!(spec(provider).key.decode, decode, "{provider}");
        }
    }
    assert!(spec("openai").key.plain_without_prefix && !spec("svix").key.plain_without_prefix);
    assert_eq!(spec("braintree").key.derive_hash, Some(mac::HashName::Sha1));
    assert_eq!(spec("fitbit").key.append_text.as_deref(), Some("&"));
    assert!(spec("easypost").key.normalize.is_some());
    assert_eq!(
        spec("stripe").key.strip_prefix,
        None,
        "whsec_ is a part of it"
    );
}

#[test]
fn times_have_their_units_and_go_into_the_message_as_sent() {
    for (unit, providers) in [
        (
            TimeUnit::Ms,
            &[
                "workos",
                "sanity",
                "imagekit",
                "retell",
                "hubspot-v3",
                "webflow",
                "front",
                "cashfree",
                "recurly",
                "ghost",
                "linear",
            ][..],
        ),
        (
            TimeUnit::Rfc3339,
            &["twitch", "zendesk", "box", "sinch-voice"],
        ),
        (
            TimeUnit::S,
            &["stripe", "slack", "standardwebhooks", "paddle", "zoom"],
        ),
    ] {
        for provider in providers {
            assert_eq!(
                spec(provider).timestamp.expect("a time").unit,
                unit,
                "{provider}"
            );
        }
    }
    assert_eq!(
        spec("linear").timestamp.expect("a time").from.to_string(),
        "json:/webhookTimestamp",
        "in the signed body, not in a header"
    );

    // Twitch sends nanoseconds; read and written again they would be gone.
    let (scheme, body) = (
        compiled(&made_up("twitch").0),
        r#"{"subscription":{"type":"x"}}"#,
    );
    let with = |signed: &str, sent: &str| {
        let signature = format!(
            "sha256={}",
            hmac_of(0, &format!("m1{signed}{body}"), mac::Encoding::Hex)
        );
        let headers = [
            ("twitch-eventsub-message-id", "m1"),
            ("twitch-eventsub-message-timestamp", sent),
            ("twitch-eventsub-message-signature", &*signature),
        ];
        events(
            &scheme,
            &request("POST", "/", &headers, body.as_bytes()),
            NOW,
        )
        .is_ok()
    };
    let nanos = "2025-06-15T15:06:40.634234626Z";
    assert!(with(nanos, nanos));
    assert!(
        !with("2025-06-15T15:06:40.634Z", nanos)
            && !with("2025-06-15T15:06:40.634234626+00:00", nanos)
    );
}

/// Timestamps in the future: the provider decides whether they are refused.
#[test]
fn the_future_is_refused_where_the_provider_does() {
    for (future, providers) in [
        (
            false,
            &[
                "stripe",
                "mux",
                "slack",
                "elevenlabs",
                "paddle",
                "hubspot-v3",
            ][..],
        ),
        (
            true,
            &["standardwebhooks", "svix", "linear", "telnyx", "finch"],
        ),
    ] {
        for provider in providers {
            assert_eq!(
                spec(provider).timestamp.expect("a time").refuse_future,
                future,
                "{provider}"
            );
        }
    }
}

/// An SDK's tolerance is kept, except where none could arrive in time through a network (Paddle's 5
/// s).
#[test]
fn tolerances() {
    for (provider, seconds) in [
        ("contentful", 30),
        ("linear", 60),
        ("workos", 180),
        ("stripe", 300),
        ("paddle", 300),
        ("twitch", 600),
        ("box", 600),
        ("elevenlabs", 1800),
        ("cloudinary", 7200),
        ("zoom", 0),
        ("sanity", 0),
        ("discord", 0),
        ("sendgrid", 0),
        ("replicate", 0),
    ] {
        assert_eq!(
            spec(provider).timestamp.expect("a time").tolerance_secs,
            seconds,
            "{provider}"
        );
    }
}

#[test]
fn what_is_not_covered_is_said_to_be_so() {
    for provider in [
        "mailgun",
        "dropbox-sign",
        "mercadopago",
        "jira-connect",
        "gcp-pubsub",
        "adyen",
        "token",
        "chargebee",
        "gitlab-token",
    ] {
        assert!(
            !compiled(&made_up(provider).0).facts().body_covered,
            "{provider}"
        );
    }
    let warned = |provider: &str, warning: SchemeWarning| {
        compiled(&made_up(provider).0).warnings().contains(&warning)
    };
    assert!(
        warned("mercadopago", SchemeWarning::BodyNotCovered)
            && warned("gcp-pubsub", SchemeWarning::BodyNotCovered)
            && warned("mailgun", SchemeWarning::BodyPartlyCovered)
    );
    assert!(
        warned("github", SchemeWarning::IdNotCovered)
            && warned("github", SchemeWarning::TypeNotCovered)
            && warned("shopify", SchemeWarning::TypeNotCovered)
    );
    assert!(
        ["stripe", "standardwebhooks", "slack"]
            .into_iter()
            .all(|provider| !warned(provider, SchemeWarning::IdNotCovered)
                && !warned(provider, SchemeWarning::TypeNotCovered))
    );
}

#[test]
fn ids_that_change_over_redeliveries_are_not_taken_for_stable_ones() {
    for provider in ["woocommerce", "discourse"] {
        let spec = spec(provider);
        assert!(
            spec.event.id.is_empty() || !spec.event.stable_id,
            "{provider}"
        );
    }
    // Their signed bodies count attempts, so a digest of the body would make every attempt an event
    // of its own.
    for provider in ["coinbase-commerce", "telnyx", "hubspot-v3"] {
        let spec = spec(provider);
        assert!(
            !spec.event.id.is_empty() || spec.event.batch.is_some_and(|batch| !batch.id.is_empty()),
            "{provider}"
        );
    }
}

#[test]
fn several_events_come_in_one_post() {
    for provider in [
        "line",
        "gocardless",
        "sendgrid",
        "hubspot-v3",
        "mandrill",
        "microsoft-graph",
        "azure-eventgrid",
        "xero",
        "okta",
        "meta",
        "whatsapp",
        "tailscale",
        "adyen",
    ] {
        assert!(spec(provider).event.batch.is_some(), "{provider}");
    }
}

/// The URL is the provider's: from the configuration, with the query as it came, whatever `Host`
/// says.
#[test]
fn the_url_is_the_providers() {
    for provider in [
        "twilio",
        "square",
        "trello",
        "mandrill",
        "hubspot-v3",
        "plivo",
        "qstash",
        "messagebird",
        "gong",
        "hubspot-v2",
    ] {
        let (mut source, spec, private_key) = made_up(provider);
        let request = signed(&source, &spec, private_key.clone(), "evt_1").expect("it signs");
        let hosts = ["evil.example.com", "hooks.example.com"].map(|host| {
            let mut headers: Vec<_> = request.headers.iter().cloned().collect();
            headers.push((http::header::HOST, HeaderValue::from_static(host)));
            headers.push((
                HeaderName::from_static("x-forwarded-host"),
                HeaderValue::from_static(host),
            ));
            Request {
                headers: headers.into(),
                ..request.clone()
            }
        });
        let scheme = compiled(&source);
        assert!(
            hosts
                .iter()
                .all(|request| events(&scheme, request, NOW).is_ok()),
            "{provider}"
        );
        source.public_url = Some("https://hooks.example.com/ingest/test/".into());
        assert!(
            events(&compiled(&source), &request, NOW).is_err(),
            "{provider}: a slash more"
        );
        source.public_url = None;
        let errors = Scheme::compile(&source, 1).expect_err("a URL is needed");
        assert!(
            errors.iter().any(|error| error.key == SourceKey::PublicUrl),
            "{provider}: {errors:?}"
        );
    }
}

#[test]
fn version_labels_are_honoured() {
    for (provider, header, right, wrong) in [
        ("stripe", "stripe-signature", "v1=", "v0="),
        ("standardwebhooks", "webhook-signature", "v1,", "v1a,"),
        ("pagerduty", "x-pagerduty-signature", "v1=", "v2="),
        ("circleci", "circleci-signature", "v1=", "v0="),
        ("paddle", "paddle-signature", "h1=", "h2="),
        ("elevenlabs", "elevenlabs-signature", "v0=", "v1="),
    ] {
        let (source, spec, _) = made_up(provider);
        let good = signed(&source, &spec, None, "evt_1").expect("it signs");
        let bad = rewritten(&good, header, |text| text.replace(right, wrong));
        assert!(
            events(&compiled(&source), &good, NOW).is_ok()
                && events(&compiled(&source), &bad, NOW).is_err(),
            "{provider}"
        );
    }
}

/// `X-Hub-Signature` is SHA-1 for some and SHA-256 for others: what stands in front of the value
/// decides, never the header's name.
#[test]
fn the_hash_follows_from_the_preset() {
    for (provider, prefix, hash) in [
        ("jira", "sha256=", mac::HashName::Sha256),
        ("bitbucket", "sha256=", mac::HashName::Sha256),
        ("intercom", "sha1=", mac::HashName::Sha1),
        ("greenhouse", "sha256 ", mac::HashName::Sha256),
        ("vercel", "", mac::HashName::Sha1),
    ] {
        let spec = spec(provider);
        assert_eq!(
            (
                spec.signature[0]
                    .prefix
                    .as_literal()
                    .expect("no parameters"),
                spec.hash
            ),
            (prefix, hash),
            "{provider}"
        );
    }
    for provider in ["hubspot-v1", "hubspot-v2", "lark", "cloudinary", "midtrans"] {
        assert_eq!(
            spec(provider).kind,
            spec::Kind::Hash,
            "{provider}: not an HMAC"
        );
    }
}

/// No delivery is refused for its content type: SNS sends JSON as text, LiveKit and Contentful have
/// types of their own.
#[test]
fn content_types_decide_nothing() {
    for provider in presets::names() {
        let (source, spec, private_key) = made_up(provider);
        // Two sign it; a form or several parts cannot be read without it.
        let needed =
            sample::is_form_scheme(&spec) || matches!(spec.document, DocumentRef::Multipart(_));
        if needed || ["sinch-voice", "contentful"].contains(&provider) {
            continue;
        }
        let Ok(good) = signed(&source, &spec, private_key, "evt_1") else {
            continue;
        };
        for kind in [
            "text/plain; charset=UTF-8",
            "application/webhook+json",
            "application/octet-stream",
        ] {
            let other = rewritten(&good, "content-type", |_| kind.into());
            assert!(
                events(&compiled(&source), &other, NOW).is_ok(),
                "{provider}: {kind}"
            );
        }
    }
    let empty = [
        ("x-goog-channel-token", SECRET),
        ("x-goog-channel-id", "c"),
        ("x-goog-message-number", "2"),
    ];
    assert_eq!(
        one(
            &compiled(&made_up("google-drive").0),
            &request("POST", "/", &empty, b""),
            NOW
        )
        .id()
        .unwrap_or_default(),
        "c:2"
    );
}

/// HubSpot signs the URL with some escapes decoded, and others not.
#[test]
fn hubspot_signs_some_escapes_decoded() {
    let mut source = made_up("hubspot-v3").0;
    source.public_url = Some("https://h.example/a%3Ab%20c".into());
    let (scheme, body) = (compiled(&source), "[{}]");
    let with = |url: &str| {
        let signature = hmac_of(0, &format!("POST{url}{body}{NOW}"), mac::Encoding::Base64);
        let headers = [
            ("x-hubspot-signature-v3", &*signature),
            ("x-hubspot-request-timestamp", &*NOW.to_string()),
        ];
        events(
            &scheme,
            &request("POST", "/?q=%2F%26", &headers, body.as_bytes()),
            NOW,
        )
        .is_ok()
    };
    assert!(with("https://h.example/a:b%20c?q=/%26"));
    assert!(!with("https://h.example/a%3Ab%20c?q=%2F%26") && !with("https://h.example/a:b c?q=/&"));
}

#[test]
fn each_header_has_its_key_and_each_key_its_header() {
    let (scheme, at) = (compiled(&made_up("box").0), "2025-06-15T15:06:40Z");
    let sent = |header: &str, secret: usize| {
        let signature = hmac_of(secret, &format!("{{}}{at}"), mac::Encoding::Base64);
        let headers = [
            (header, &*signature),
            ("box-delivery-timestamp", at),
            ("box-signature-version", "1"),
            ("box-signature-algorithm", "HmacSHA256"),
        ];
        events(&scheme, &request("POST", "/", &headers, b"{}"), NOW).is_ok()
    };
    assert!(sent("box-signature-primary", 0) && sent("box-signature-secondary", 1));
    assert!(!sent("box-signature-primary", 1) && !sent("box-signature-secondary", 0));
}

#[test]
fn several_signatures_come_at_once_while_keys_change() {
    let zeros = "00".repeat(32);
    let recurly = |text: String| {
        events(
            &compiled(&made_up("recurly").0),
            &request("POST", "/", &[("recurly-signature", &text)], b"{}"),
            NOW,
        )
    };
    let good = hmac_of(0, &format!("{NOW}.{{}}"), mac::Encoding::Hex);
    assert!(
        recurly(format!("{NOW},{zeros},{good}")).is_ok()
            && recurly(format!("{good},{NOW}")).is_err()
    );

    let third = [
        ("x-docusign-signature-1", "AAAA"),
        (
            "x-docusign-signature-3",
            &*hmac_of(1, "{}", mac::Encoding::Base64),
        ),
    ];
    assert!(
        events(
            &compiled(&made_up("docusign").0),
            &request("POST", "/", &third, b"{}"),
            NOW
        )
        .is_ok()
    );

    let (source, spec, _) = made_up("qstash");
    let next = SignInputs {
        secret: 1,
        ..inputs(sample_body(&spec, "e", UnixMillis(NOW)), "e", NOW)
    };
    assert!(
        events(
            &compiled(&source),
            &as_request(&sign(&source, &next).expect("it signs")),
            NOW
        )
        .is_ok()
    );

    let (source, spec, _) = made_up("braintree");
    let good = signed(&source, &spec, None, "e").expect("it signs");
    let text = String::from_utf8(good.body.to_vec()).expect("text");
    let with = |body: String| {
        events(
            &compiled(&source),
            &Request {
                body: body.into(),
                ..good.clone()
            },
            NOW,
        )
    };
    assert!(
        with(text.replace(
            "bt_signature=",
            &format!("bt_signature=other%7C{}%26", "00".repeat(20))
        ))
        .is_ok()
    );
    let wrong = text.replace("public%5Fkey%5Fid%7C", "other%7C");
    assert!(
        wrong != text && with(wrong).is_err(),
        "the key's name is another one's"
    );
}

#[test]
fn separators_and_old_headers() {
    for (provider, header, from, to) in [
        ("ghost", "x-ghost-signature", ",", ", "),
        ("workos", "workos-signature", ", ", ","),
        ("sanity", "sanity-webhook-signature", ",", ", "),
    ] {
        let (source, spec, _) = made_up(provider);
        let good = signed(&source, &spec, None, "e").expect("it signs");
        let other = rewritten(&good, header, |text| text.replace(from, to));
        assert!(
            other.headers.get(&header.parse().expect("a name"))
                != good.headers.get(&header.parse().expect("a name")),
            "{provider}"
        );
        assert!(
            events(&compiled(&source), &other, NOW).is_ok(),
            "{provider} {to:?}"
        );
    }
    // The SHA-1 that GitHub still sends along is nothing to go by.
    let old = request("POST", "/", &[("x-hub-signature", "sha1=00")], b"{}");
    assert_eq!(
        refused(&compiled(&made_up("github").0), &old, NOW),
        Reason::SignatureMissing
    );
}

/// Nylas signs the compressed bytes, unlike Stream.
#[test]
fn nylas_signs_what_it_sends() {
    use std::io::Write as _;
    let plain = br#"{"id":"a","type":"x"}"#;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).expect("memory");
    let source = made_up("nylas").0;
    let good = as_request(
        &sign(&source, &inputs(gzip.finish().expect("memory"), "x", NOW)).expect("it signs"),
    );
    assert!(events(&compiled(&source), &good, NOW).is_ok());
    assert!(
        events(
            &compiled(&source),
            &Request {
                body: Bytes::from_static(plain),
                ..good
            },
            NOW
        )
        .is_err()
    );
}

#[test]
fn probes_with_wrong_signatures_are_refused_as_they_should_be() {
    let probe = [
        ("wechatpay-signature", "WECHATPAY/SIGNTEST/AAAA"),
        ("wechatpay-timestamp", "1750000000"),
        ("wechatpay-nonce", "n"),
    ];
    assert!(
        events(
            &compiled(&made_up("wechatpay").0),
            &request("POST", "/", &probe, b"{}"),
            NOW
        )
        .is_err()
    );
    for provider in ["xero", "discord", "discord-events", "wechatpay"] {
        assert!(
            matches!(
                compiled(&made_up(provider).0).answers().rejected,
                None | Some(401)
            ),
            "{provider}"
        );
    }
    let fitbit = |target: &str| match verify(
        &compiled(&made_up("fitbit").0),
        &request("GET", target, &[], b""),
        UnixMillis(NOW),
    ) {
        Ok(Verdict::Challenge(answer)) => answer.status,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (fitbit("/?verify=verify_code"), fitbit("/?verify=wrong")),
        (204, 404)
    );
    let body = r#"{"challenge":"c"}"#;
    let at = "2025-06-15T15:06:40Z";
    let signature = format!(
        "sha256={}",
        hmac_of(0, &format!("m1{at}{body}"), mac::Encoding::Hex)
    );
    let headers = [
        ("twitch-eventsub-message-id", "m1"),
        ("twitch-eventsub-message-timestamp", at),
        ("twitch-eventsub-message-signature", &*signature),
        (
            "twitch-eventsub-message-type",
            "webhook_callback_verification",
        ),
    ];
    match verify(
        &compiled(&made_up("twitch").0),
        &request("POST", "/", &headers, body.as_bytes()),
        UnixMillis(NOW),
    ) {
        Ok(Verdict::Challenge(answer)) => assert_eq!(
            (&*answer.body, answer.content_type.as_deref()),
            (&b"c"[..], Some("text/plain"))
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fixed_answers() {
    let answers = |provider: &str| compiled(&made_up(provider).0).answers().clone();
    for (provider, status, body) in [
        ("adyen", 200, "[accepted]"),
        ("dropbox-sign", 200, "Hello API Event Received"),
        ("alipay", 200, "success"),
        ("xero", 200, ""),
        ("fitbit", 204, ""),
    ] {
        let accepted = answers(provider).accepted.expect("a fixed answer");
        assert_eq!(
            (accepted.status, &*accepted.body),
            (status, body.as_bytes()),
            "{provider}"
        );
    }
    assert!(
        answers("adobe-sign")
            .accepted
            .expect("an echo")
            .headers
            .iter()
            .any(|(name, _)| name == "X-AdobeSign-ClientId")
    );
    assert_eq!(
        (answers("gocardless").rejected, answers("xero").rejected),
        (Some(498), Some(401))
    );
    assert!(matches!(answers("discord").rejected, None | Some(401)));
    // What signs nothing is a secret in the URL, and is said to be no more than that.
    for provider in [
        "mailchimp",
        "jotform",
        "dockerhub",
        "strava",
        "mollie-classic",
    ] {
        let scheme = compiled(&made_up(provider).0);
        assert!(
            scheme.describe().starts_with("the secret itself") && !scheme.facts().body_covered,
            "{provider}: {}",
            scheme.describe()
        );
    }
    assert!(
        spec("stream").gunzip && !spec("nylas").gunzip,
        "Stream signs what it compressed, Nylas what it sends"
    );
}

#[test]
fn a_beginning_of_secrets_that_a_page_names_is_looked_for_in_what_is_pasted() {
    let mut named = 0;
    for provider in presets::names() {
        let spec = spec(provider);
        let texts = [&spec.facts.console, &spec.facts.note];
        for text in texts.into_iter().flatten() {
            for says in [
                "secret begins with ",
                "Secrets begin with ",
                "secret key begins with ",
                "signing token begins with ",
            ] {
                if let Some((_, rest)) = text.split_once(says) {
                    let begins = rest.split([' ', ';', '.']).next();
                    assert_eq!(spec.key.expected_prefix.as_deref(), begins, "{provider}");
                    named += 1;
                }
            }
        }
    }
    assert!(named >= 7, "{named}");
}
