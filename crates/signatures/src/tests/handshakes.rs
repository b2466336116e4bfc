//! Requests that are no events, and POSTs that are several.

use super::*;

fn challenge(source: &SourceSpec, request: &Request) -> Answer {
    match verify(&compiled(source), request, UnixMillis(NOW)) {
        Ok(Verdict::Challenge(answer)) => answer,
        other => panic!("{:?}: {other:?}", source.provider),
    }
}

/// Status and body of the answer to an unsigned handshake.
fn unsigned(
    provider: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let answer = challenge(
        &made_up(provider).0,
        &request(method, target, headers, body.as_bytes()),
    );
    (answer.status, String::from_utf8(answer.body).expect("text"))
}

fn hmac(text: &str, encoding: mac::Encoding) -> String {
    encoding.encode(
        mac::MacKey::new(mac::HashName::Sha256, SECRET.as_bytes())
            .expect("a key")
            .of([text.as_bytes()])
            .as_bytes(),
    )
}

#[test]
fn unsigned_ones_are_answered_to_anybody() {
    let ok = |text: &str| (200, text.to_owned());
    let meta = "/ingest/test?hub.mode=subscribe&hub.challenge=11%2B5&hub.verify_token=verify_token";
    assert_eq!(unsigned("whatsapp", "GET", meta, &[], ""), ok("11+5"));
    assert_eq!(
        unsigned("x", "GET", "/?crc_token=abc", &[], "").1,
        format!(
            r#"{{"response_token":"sha256={}"}}"#,
            hmac("abc", mac::Encoding::Base64)
        )
    );
    assert_eq!(
        unsigned("dropbox", "GET", "/?challenge=c1", &[], ""),
        ok("c1")
    );
    assert_eq!(
        unsigned(
            "microsoft-graph",
            "POST",
            "/?validationToken=a%20b",
            &[],
            ""
        ),
        ok("a b")
    );
    assert_eq!(
        unsigned(
            "okta",
            "GET",
            "/",
            &[("x-okta-verification-challenge", "q\"")],
            ""
        ),
        ok(r#"{"verification":"q\""}"#)
    );
    assert_eq!(
        unsigned("monday", "POST", "/", &[], r#"{"challenge":"c"}"#),
        ok(r#"{"challenge":"c"}"#)
    );
    assert_eq!(unsigned("trello", "HEAD", "/", &[], "").0, 200);
    assert_eq!(unsigned("nylas", "GET", "/?challenge=n", &[], ""), ok("n"));
    let linkedin = unsigned("linkedin", "GET", "/?challengeCode=c", &[], "");
    assert_eq!(
        linkedin,
        ok(&format!(
            r#"{{"challengeCode":"c","challengeResponse":"{}"}}"#,
            hmac("c", mac::Encoding::Hex)
        ))
    );
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(
        unsigned("woocommerce", "POST", "/", &form, "webhook_id=7").0,
        200
    );
    let smartsheet = challenge(
        &made_up("smartsheet").0,
        &request("POST", "/", &[("smartsheet-hook-challenge", "s")], b"{}"),
    );
    assert!(smartsheet.headers.iter().any(|(name, value)| {
        name.eq_ignore_ascii_case("smartsheet-hook-response") && value == "s"
    }));
}

#[test]
fn a_wrong_token_or_too_much_of_it_is_not_ours() {
    let source = made_up("whatsapp").0;
    let scheme = compiled(&source);
    let wrong = request("GET", "/?hub.challenge=1&hub.verify_token=guess", &[], b"");
    assert_eq!(refused(&scheme, &wrong, NOW), Reason::PreconditionFailed);
    assert_eq!(
        refused(&scheme, &request("GET", "/", &[], b""), NOW),
        Reason::PreconditionFailed
    );
    let many = request("GET", &format!("/?{}", "a&".repeat(2000)), &[], b"");
    assert_eq!(refused(&scheme, &many, NOW), Reason::BodyMalformed);
    assert!(scheme.answers_method(&Method::GET) && !scheme.answers_method(&Method::PUT));
    let mut without = source;
    without.params.clear();
    let scheme = compiled(&without);
    assert!(
        scheme
            .warnings()
            .iter()
            .any(|warning| matches!(warning, SchemeWarning::HandshakeOff { missing, .. } if missing.contains("params.verify_token"))),
        "{:?}",
        scheme.warnings()
    );
    assert!(!scheme.answers_method(&Method::GET));
}

#[test]
fn signed_ones_are_answered_to_the_provider_only() {
    for (provider, body, answer) in [
        (
            "zoom",
            r#"{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}"#,
            format!(
                r#"{{"encryptedToken":"{}","plainToken":"p"}}"#,
                hmac("p", mac::Encoding::Hex)
            ),
        ),
        ("discord", r#"{"type":1}"#, r#"{"type":1}"#.into()),
    ] {
        let (source, _, private_key) = made_up(provider);
        let inputs = SignInputs {
            private_key,
            ..inputs(body, "x", NOW)
        };
        let good = as_request(&sign(&source, &inputs).expect("it signs"));
        assert_eq!(
            String::from_utf8(challenge(&source, &good).body).expect("text"),
            answer,
            "{provider}"
        );
        let bad = Request {
            headers: good
                .headers
                .iter()
                .filter(|(name, _)| !name.as_str().contains("signature"))
                .cloned()
                .collect(),
            ..good
        };
        assert!(
            verify(&compiled(&source), &bad, UnixMillis(NOW)).is_err(),
            "{provider}"
        );
    }
}

#[test]
fn a_batch_is_whole_or_split() {
    for (provider, two, none) in [
        (
            "line",
            r#"{"destination":"U","events":[{"webhookEventId":"A","type":"message"}, {"webhookEventId":"B","type":"follow"}]}"#,
            r#"{"events":[]}"#,
        ),
        (
            "gocardless",
            r#"{"events":[{"id":"A","resource_type":"x","action":"y"}, {"id":"B","resource_type":"x","action":"z"}]}"#,
            r#"{"events":[]}"#,
        ),
        (
            "sendgrid",
            r#"[{"sg_event_id":"A","event":"open"}, {"sg_event_id":"B","event":"click"}]"#,
            "[]",
        ),
    ] {
        let (mut source, _, private_key) = made_up(provider);
        let by = |source: &SourceSpec, body: &str| {
            let inputs = SignInputs {
                private_key: private_key.clone(),
                ..inputs(body.to_owned(), "x", NOW)
            };
            as_request(&sign(source, &inputs).expect("it signs"))
        };
        source.split = Some(false);
        let whole = one(&compiled(&source), &by(&source, two), NOW);
        assert_eq!(
            (whole.id().unwrap_or_default(), &*whole.body),
            ("A,B", two.as_bytes()),
            "{provider}"
        );
        assert_eq!(
            challenge(&source, &by(&source, none)).status,
            200,
            "{provider}"
        );
        let one_only = one(
            &compiled(&source),
            &by(&source, &two.replace(", {", ",{")),
            NOW,
        );
        assert_eq!(
            one_only.identity, whole.identity,
            "{provider}: spaces are no part of ids"
        );

        source.split = Some(true);
        let split = events(&compiled(&source), &by(&source, two), NOW).expect("events");
        let shown: Vec<_> = split
            .iter()
            .map(|event| event.id().unwrap_or_default())
            .collect();
        assert_eq!(shown, ["A", "B"], "{provider}");
        assert!(
            split
                .iter()
                .all(|event| two.contains(std::str::from_utf8(&event.body).expect("text"))),
            "{provider}"
        );
        assert!(
            split[0].event_type.is_some() && split[0].event_type != split[1].event_type,
            "{provider}"
        );
        let max = Scheme::compile(&source, 1).expect("a scheme");
        assert_eq!(
            one(&max, &by(&source, two), NOW).identity,
            whole.identity,
            "{provider}: more than the bound is kept whole, never refused"
        );
    }
}

#[test]
fn adyen_refuses_what_holds_no_signed_item() {
    let (source, spec, _) = made_up("adyen");
    let scheme = compiled(&source);
    assert_eq!(
        refused(
            &scheme,
            &request("POST", "/", &[], br#"{"notificationItems":[]}"#),
            NOW
        ),
        Reason::SignatureMissing
    );
    let good = signed(&source, &spec, None, "evt_1").expect("it signs");
    let item = std::str::from_utf8(&good.body)
        .expect("text")
        .split_once("[{")
        .expect("an item")
        .1
        .rsplit_once("}]")
        .expect("an item")
        .0
        .to_owned();
    let forged = item.replace("evt_1", "evt_2");
    let both = String::from_utf8_lossy(&good.body).replace(
        &format!("[{{{item}}}]"),
        &format!("[{{{item}}},{{{forged}}}]"),
    );
    assert_eq!(
        refused(
            &scheme,
            &Request {
                body: both.into(),
                ..good.clone()
            },
            NOW
        ),
        Reason::SignatureMismatch
    );
    assert_eq!(
        scheme
            .answers()
            .accepted
            .as_ref()
            .map(|answer| &*answer.body),
        Some(&b"[accepted]"[..])
    );
    assert!(scheme.facts().window >= Duration::from_secs(35 * 86_400));
    assert_eq!(
        compiled(&made_up("xero").0)
            .answers()
            .accepted
            .as_ref()
            .map(|answer| answer.body.len()),
        Some(0)
    );
}

#[test]
fn what_is_compressed_is_verified_as_stream_signs_it() {
    use std::io::Write;
    let (source, ..) = made_up("stream");
    let plain = br#"{"type":"message.new"}"#;
    let good = as_request(&sign(&source, &inputs(&plain[..], "x", NOW)).expect("it signs"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(plain).expect("memory");
    let gzip: Bytes = gzip.finish().expect("memory").into();
    let event = one(
        &compiled(&source),
        &Request {
            body: gzip.clone(),
            ..good.clone()
        },
        NOW,
    );
    assert_eq!(
        (event.event_type.as_deref(), &event.body),
        (Some("message.new"), &gzip)
    );
    assert!(
        verify(
            &compiled(&source),
            &Request {
                body: gzip.slice(..gzip.len() - 1),
                ..good
            },
            UnixMillis(NOW)
        )
        .is_err()
    );
}

#[test]
fn a_secret_is_learned_once_and_only_where_it_is_switched_on() {
    let hand_over = |secret: &str| request("POST", "/", &[("x-hook-secret", secret)], b"{}");
    let first = hand_over(SECRET);
    // Switched off, it is a handshake like any other.
    assert_eq!(challenge(&made_up("asana").0, &first).status, 200);

    let (known, spec, _) = made_up("asana");
    let learning = SourceSpec {
        secrets: Vec::new(),
        learn_secret: true,
        ..known.clone()
    };
    let scheme = compiled(&learning);
    assert!(scheme.learns() && !compiled(&known).learns());
    let event = signed(&known, &spec, None, "evt_1").expect("it signs");
    let by = |scheme: &Scheme, read_at: i64, request: &Request, at: i64| {
        let mut keys = KeyRing::EMPTY;
        keys.set_secret_read_at(UnixMillis(read_at));
        crate::verify(scheme, &keys, request, UnixMillis(at))
    };
    let verdict = |request: &Request, at: i64| by(&scheme, NOW, request, at);
    assert!(
        matches!(verdict(&event, NOW), Ok(Verdict::NeedsKeys(needed)) if matches!(needed[..], [KeyRequest::LearnedSecret])),
        "nobody can say yet"
    );
    let Ok(Verdict::Learn { secret, answer }) = verdict(&first, NOW) else {
        panic!("not learned")
    };
    assert_eq!((secret.expose(), answer.status), (SECRET.as_bytes(), 200));
    assert!(
        !format!("{:?}", verdict(&first, NOW)).contains(SECRET)
            || answer.headers.iter().any(|(_, value)| value == SECRET)
    );
    assert!(
        verdict(&hand_over("short"), NOW).is_err(),
        "anybody could guess it"
    );

    let learned = scheme.with_learned(&secret).expect("a secret");
    assert!(learned.learns() && learned.has_learned(&secret) && !scheme.has_learned(&secret));
    let verdict = |request: &Request, at: i64| by(&learned, NOW, request, at);
    assert!(matches!(verdict(&event, NOW), Ok(Verdict::Events(_))));
    assert!(
        matches!(verdict(&first, NOW), Ok(Verdict::Challenge(_))),
        "the same again is answered"
    );
    let other = hand_over(&SECRET.replace('0', "f"));
    assert_eq!(
        verdict(&other, NOW).expect_err("another").reason,
        Reason::PreconditionFailed
    );
    let forged = Request {
        body: "{}".into(),
        ..event.clone()
    };
    assert_eq!(
        verdict(&forged, NOW).expect_err("forged").reason,
        Reason::SignatureMismatch
    );

    // What was read a while ago verifies still, and refuses nothing: another instance may have
    // learned another one.
    let later = NOW + 6_000;
    assert!(matches!(verdict(&event, later), Ok(Verdict::Events(_))));
    assert!(matches!(verdict(&forged, later), Ok(Verdict::NeedsKeys(_))));
    // Forgotten, the scheme without a secret is swapped in again.
    let verdict = |request: &Request, at: i64| by(&scheme, later, request, at);
    assert!(matches!(verdict(&event, later), Ok(Verdict::NeedsKeys(_))));
    assert!(matches!(verdict(&other, later), Ok(Verdict::Learn { .. })));
}

#[test]
fn learning_is_refused_where_it_makes_no_sense() {
    let errors = |provider: &str, secrets: &[&str], learn_secret: bool| -> Vec<String> {
        let source = SourceSpec {
            learn_secret,
            ..source(provider, secrets)
        };
        Scheme::compile(&source, 1000)
            .map(|_| Vec::new())
            .unwrap_or_else(|errors| errors.iter().map(ToString::to_string).collect())
    };
    assert!(
        errors("stripe", &[], true)[0]
            .starts_with("learn_secret: this provider hands over no secret")
    );
    assert!(errors("asana", &[SECRET], true)[0].starts_with("learn_secret: secrets are given"));
    assert!(errors("asana", &[], false)[0].contains("learn_secret = true"));
    assert!(errors("asana", &[SECRET], false).is_empty() && errors("notion", &[], true).is_empty());
}

#[test]
fn the_rest_of_the_unsigned_ones() {
    let ok = |text: &str| (200, text.to_owned());
    assert_eq!(
        unsigned("adobe-io", "GET", "/?challenge=c", &[], ""),
        ok("c")
    );
    assert_eq!(unsigned("onfleet", "GET", "/?check=c", &[], ""), ok("c"));
    let strava = "/?hub.mode=subscribe&hub.verify_token=verify_token&hub.challenge=c";
    assert_eq!(
        unsigned("strava", "GET", strava, &[], ""),
        ok(r#"{"hub.challenge":"c"}"#)
    );
    for provider in ["youtube", "websub"] {
        let asked = |mode: &str, topic: &str| {
            unsigned(
                provider,
                "GET",
                &format!("/?hub.mode={mode}&hub.topic={topic}&hub.challenge=c"),
                &[],
                "",
            )
        };
        assert_eq!(asked("subscribe", "topic"), ok("c"));
        assert_eq!(
            (
                asked("unsubscribe", "topic").0,
                asked("subscribe", "another").0
            ),
            (404, 404),
            "{provider}"
        );
    }
    assert_eq!(
        (
            unsigned("intercom", "HEAD", "/", &[], "").0,
            unsigned("mandrill", "HEAD", "/", &[], "").0
        ),
        (200, 200)
    );
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(
        unsigned("mandrill", "POST", "/", &form, "mandrill_events=%5B%5D").0,
        200
    );
    assert_eq!(unsigned("mailchimp", "GET", "/", &[], "").0, 200);
    assert_eq!(
        unsigned("monday", "POST", "/", &[], r#"{"challenge":"c"}"#),
        ok(r#"{"challenge":"c"}"#)
    );
    for (provider, body, headers) in [
        (
            "notion",
            r#"{"verification_token":"0123456789abcdef"}"#,
            &[][..],
        ),
        ("keap", "{}", &[("x-hook-secret", SECRET)]),
    ] {
        assert_eq!(
            unsigned(provider, "POST", "/", headers, body).0,
            200,
            "{provider}"
        );
    }
    // What it signs with is the key of its events: SHA-1 of the private key.
    let key = mac::MacKey::new(
        mac::HashName::Sha1,
        mac::HashName::Sha1.of([SECRET.as_bytes()]).as_bytes(),
    )
    .expect("a key");
    let challenge = "20f9f8ed05f77439fe955c977e4c8a53";
    let signature = mac::Encoding::Hex.encode(key.of([challenge.as_bytes()]).as_bytes());
    assert_eq!(
        unsigned(
            "braintree",
            "GET",
            &format!("/?bt_challenge={challenge}"),
            &[],
            ""
        ),
        ok(&format!("public_key_id|{signature}"))
    );
}

#[test]
fn the_rest_of_the_signed_ones() {
    let answer = |provider: &str, method: &str, body: &str, headers: &[(&str, &str)]| {
        let (source, _, private_key) = made_up(provider);
        let inputs = SignInputs {
            private_key,
            ..inputs(body.to_owned(), "x", NOW)
        };
        let good = as_request(&sign(&source, &inputs).expect("it signs"));
        let added = headers.iter().map(|(name, value)| {
            (
                name.parse::<HeaderName>().expect("a name"),
                HeaderValue::from_str(value).expect("text"),
            )
        });
        let kept = good
            .headers
            .iter()
            .filter(|(name, _)| !headers.iter().any(|(added, _)| *added == name.as_str()))
            .cloned();
        let headers = kept.chain(added).collect();
        challenge(
            &source,
            &Request {
                method: method.parse().expect("a method"),
                headers,
                ..good.clone()
            },
        )
    };
    assert_eq!(
        answer(
            "viber",
            "POST",
            r#"{"event":"webhook","timestamp":1457764197627,"message_token":241256543215}"#,
            &[]
        )
        .status,
        200
    );
    assert_eq!(
        answer(
            "discord-events",
            "POST",
            r#"{"version":1,"application_id":"1","type":0}"#,
            &[]
        )
        .status,
        204
    );
    assert_eq!(
        answer(
            "google-drive",
            "POST",
            "",
            &[("x-goog-resource-state", "sync")]
        )
        .status,
        200
    );
    assert_eq!(
        answer("front", "POST", "{}", &[("x-front-challenge", "c")]).body,
        b"c"
    );
    let validation = r#"[{"id":"1","topic":"t","subject":"","data":{"validationCode":"512d38b6"},"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent"}]"#;
    let azure = answer(
        "azure-eventgrid",
        "POST",
        validation,
        &[("aeg-event-type", "SubscriptionValidation")],
    );
    assert_eq!(azure.body, br#"{"validationResponse":"512d38b6"}"#);
    let header = |answer: &Answer, name: &str| {
        answer
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.clone())
    };
    let azure = answer(
        "azure-eventgrid-cloudevents",
        "OPTIONS",
        "",
        &[("webhook-request-origin", "eventgrid.azure.net")],
    );
    assert_eq!(
        header(&azure, "webhook-allowed-origin").as_deref(),
        Some("eventgrid.azure.net")
    );
    assert_eq!(header(&azure, "webhook-allowed-rate").as_deref(), Some("*"));
    let adobe = answer("adobe-sign", "GET", "", &[]);
    assert_eq!(
        header(&adobe, "x-adobesign-clientid").as_deref(),
        Some("client_id")
    );
}

/// eBay wants a hash over its challenge, our token and our URL.
#[test]
fn ebay_is_answered_with_a_hash_of_three() {
    use sha2::{Digest as _, Sha256};
    let mut source = made_up("ebay").0;
    let hash = hex::encode(Sha256::digest(
        "a1b2verification_tokenhttps://hooks.example.com/ingest/test",
    ));
    assert_eq!(
        unsigned("ebay", "GET", "/?challenge_code=a1b2", &[], ""),
        (200, format!(r#"{{"challengeResponse":"{hash}"}}"#))
    );
    source.public_url = None;
    assert!(
        Scheme::compile(&source, 1)
            .expect_err("a URL is needed")
            .iter()
            .any(|error| error.key == SourceKey::PublicUrl)
    );
}

/// The header is JSON in base64, with the signature in it; the hash is SHA-1.
#[test]
fn ebay_signs_with_what_is_inside_of_its_header() {
    let (source, spec, private_key) = made_up("ebay");
    let good = signed(&source, &spec, private_key, "n1").expect("it signs");
    let scheme = compiled(&source);
    assert_eq!(one(&scheme, &good, NOW).id().unwrap_or_default(), "n1");
    let header = |text: &str| request("POST", "/", &[("x-ebay-signature", text)], &good.body);
    let text = good
        .headers
        .get(&"x-ebay-signature".parse().expect("a name"))
        .expect("it")
        .to_str()
        .expect("text");
    let mut wrapped: serde_json::Value = serde_json::from_slice(
        &mac::Encoding::Base64
            .decode(text.as_bytes())
            .expect("base64"),
    )
    .expect("JSON");
    wrapped["alg"] = "ecdsa".into();
    wrapped["kid"] = "9936261a-7d7b-4621-a0f1-964f14ae0d3c".into();
    let again =
        |json: &serde_json::Value| mac::Encoding::Base64.encode(json.to_string().as_bytes());
    assert!(
        events(&scheme, &header(&again(&wrapped)), NOW).is_ok(),
        "whatever stands beside it"
    );
    for bad in [
        "",
        "AAAA",
        "{}",
        &again(&serde_json::json!({})),
        &again(&serde_json::json!({ "signature": 1 })),
        &again(&serde_json::json!({ "signature": "AAAA" })),
    ] {
        assert!(events(&scheme, &header(bad), NOW).is_err(), "{bad}");
    }
}

/// With an encrypt key, Lark's URL check comes encrypted, and so do id and type of an event.
#[test]
fn lark_is_answered_and_read_through_its_encryption() {
    let (source, spec, _) = made_up("lark");
    let scheme = compiled(&source);
    let Document::Sealed(sealed) = &scheme.document else {
        panic!("not encrypted")
    };
    let check = sealed
        .seal(
            br#"{"challenge":"c1","token":"t","type":"url_verification"}"#,
            1,
            [7; 16],
        )
        .expect("a body");
    let answer = challenge(&source, &request("POST", "/", &[], &check));
    assert_eq!(
        (answer.status, &*answer.body),
        (200, &br#"{"challenge":"c1"}"#[..])
    );
    let plain = br#"{"challenge":"c2","token":"t","type":"url_verification"}"#;
    assert_eq!(
        challenge(&source, &request("POST", "/", &[], plain)).body,
        br#"{"challenge":"c2"}"#
    );

    // Encrypted anew, and signed anew, it is the same event.
    let sent = |at: i64| {
        let inputs = inputs(
            sample_body(&spec, "event-one-of-lark", UnixMillis(NOW)),
            "event-one-of-lark",
            at,
        );
        as_request(&sign(&source, &inputs).expect("it signs"))
    };
    let (first, again) = (sent(NOW), sent(NOW + 5000));
    assert!(
        first.body != again.body
            && !String::from_utf8_lossy(&first.body).contains("event-one-of-lark")
    );
    let (event, redelivered) = (one(&scheme, &first, NOW), one(&scheme, &again, NOW + 5000));
    assert_eq!(
        (event.id().unwrap_or_default(), event.event_type.as_deref()),
        ("event-one-of-lark", Some("im.message.receive_v1"))
    );
    assert!(same(&event, &redelivered));
    assert_eq!(event.body, first.body);
    assert!(scheme.facts().id_covered && scheme.facts().body_covered);
}

/// X, LinkedIn and Braintree have the key of their events sign what they ask for, unsigned. Nobody
/// must get an event signed so.
#[test]
fn no_answer_to_a_stranger_signs_an_event() {
    let json = r#"{"for_user_id":"1","type":"x"}"#;
    for body in [
        json,
        "word",
        "890e4665-4dfe-4ab1-b689-ed553bceeed0",
        "[]",
        "\"\"",
        " ",
    ] {
        for (provider, parameter, before, header, field) in [
            (
                "x",
                "crc_token",
                "",
                "x-twitter-webhooks-signature",
                "response_token",
            ),
            (
                "linkedin",
                "challengeCode",
                "hmacsha256=",
                "x-li-signature",
                "challengeResponse",
            ),
        ] {
            let scheme = compiled(&made_up(provider).0);
            let target = format!(
                "/?{parameter}={}",
                sample::escaped(&format!("{before}{body}"))
            );
            let asked = verify(&scheme, &request("GET", &target, &[], b""), UnixMillis(NOW));
            let signature = match asked {
                Ok(Verdict::Challenge(answer)) => {
                    let answer: serde_json::Value =
                        serde_json::from_slice(&answer.body).expect("JSON");
                    answer[field].as_str().expect("text").to_owned()
                }
                Err(rejection) => {
                    assert_eq!(
                        rejection.reason,
                        Reason::PreconditionFailed,
                        "{provider} {body}"
                    );
                    continue;
                }
                other => panic!("{provider} {body}: {other:?}"),
            };
            let forged = request("POST", "/", &[(header, &signature)], body.as_bytes());
            assert_eq!(
                refused(&scheme, &forged, NOW),
                Reason::SignatureMismatch,
                "{provider} {body}"
            );
        }
    }
    let (source, ..) = made_up("braintree");
    for payload in [
        "20f9f8ed05f77439fe955c977e4c8a53",
        "PHhtbC8+",
        "PG5vdGlmaWNhdGlvbj4=\n",
    ] {
        let target = format!("/?bt_challenge={}", sample::escaped(payload));
        let asked = verify(
            &compiled(&source),
            &request("GET", &target, &[], b""),
            UnixMillis(NOW),
        );
        let Ok(Verdict::Challenge(answer)) = asked else {
            continue;
        };
        let signature = String::from_utf8(answer.body).expect("text");
        let form = format!(
            "bt_signature={}&bt_payload={}",
            sample::escaped(&signature),
            sample::escaped(payload)
        );
        let forged = request(
            "POST",
            "/",
            &[("content-type", "application/x-www-form-urlencoded")],
            form.as_bytes(),
        );
        assert_eq!(
            refused(&compiled(&source), &forged, NOW),
            Reason::SignatureMismatch,
            "{payload}"
        );
    }
}

/// Rule for every preset that signs for strangers, later presets included.
#[test]
fn every_scheme_that_signs_for_strangers_tells_challenges_from_events() {
    let signing: Vec<_> = presets::names()
        .filter(|provider| {
            compiled(&made_up(provider).0)
                .unsigned
                .iter()
                .any(|handshake| handshake.answer.templates().any(template::Template::signs))
        })
        .collect();
    assert_eq!(signing, ["braintree", "linkedin", "x"]);
    for provider in signing {
        let Check::Proof(proof) = compiled(&made_up(provider).0).check else {
            panic!("{provider}")
        };
        assert!(proof.signs_challenges, "{provider}");
    }
}
