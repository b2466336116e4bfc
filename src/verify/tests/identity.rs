//! Which deliveries are the same event: the table of identity, its pure part.

use super::*;

fn hmac(toml: &str) -> SourceSpec {
    with_scheme(source("hmac", &[SECRET]), toml)
}

/// The event of a body that was signed at `at`.
fn event(source: &SourceSpec, body: &str, at: i64) -> Event {
    one(
        &compiled(source),
        &as_request(&sign(source, &inputs(body.to_owned(), "x", at)).expect("it signs")),
        at,
    )
}

fn with_header(request: &Request, name: &str, value: &str) -> Request {
    let name: HeaderName = name.parse().expect("a name");
    let others = request
        .headers
        .iter()
        .filter(|(known, _)| *known != name)
        .cloned();
    let headers = others
        .chain([(name.clone(), HeaderValue::from_str(value).expect("a value"))])
        .collect();
    Request {
        headers,
        ..request.clone()
    }
}

#[test]
fn a_signed_id_decides_alone() {
    let stripe = source("stripe", &[SECRET]);
    let (first, second) = (
        event(&stripe, r#"{"id":"evt_1","n":1}"#, NOW),
        event(&stripe, r#"{"id":"evt_1","n":2}"#, NOW),
    );
    assert_eq!(
        (first.key, first.message, first.class),
        (second.key, second.message, IdClass::Signed)
    );
    assert_ne!(first.digest, second.digest);
    assert!(first.bytes_key.is_none() && first.replay.is_none());
    assert_eq!(
        first.message,
        MessageKey::of(&first.key),
        "instances that cannot ask each other agree"
    );
}

#[test]
fn an_unsigned_id_decides_and_equal_bytes_under_another_can_be_told() {
    let shopify = source("shopify", &[SECRET]);
    let (_, spec, _) = made_up("shopify");
    let request = signed(&shopify, &spec, None, "1").expect("it signs");
    let scheme = compiled(&shopify);
    let id = ["x-shopify-event-id", "x-shopify-webhook-id"];
    let other_id = id.iter().fold(request.clone(), |request, name| {
        with_header(&request, name, "other")
    });
    let other_topic = with_header(&request, "x-shopify-topic", "orders/paid");
    let [first, other_id, other_topic] =
        [&request, &other_id, &other_topic].map(|request| one(&scheme, request, NOW));
    assert_eq!(first.class, IdClass::Unsigned);
    assert_ne!(first.key, other_id.key, "another id is another event");
    assert_eq!(first.bytes_key, other_id.bytes_key, "…with equal bytes");
    assert_ne!(
        first.bytes_key, other_topic.bytes_key,
        "the same bytes under another type are other bytes"
    );
    assert!(first.replay.is_none(), "no time is signed");
    let again = one(&scheme, &request, NOW);
    assert_eq!(
        (first.key, first.message),
        (again.key, again.message),
        "instances that cannot ask each other agree"
    );

    let own = hmac("event = { id = \"{header:x-id}\" }");
    let [one_body, other_body] = ["{}", "[]"].map(|body| {
        let request = as_request(&sign(&own, &inputs(body, "x", NOW)).expect("it signs"));
        one(&compiled(&own), &with_header(&request, "x-id", "1"), NOW)
    });
    assert!(
        one_body.key == other_body.key && one_body.message != other_body.message,
        "…also on what they call another body"
    );
}

#[test]
fn an_id_of_an_object_is_known_for_as_long_as_the_provider_retries() {
    for kind in ["object", "unknown"] {
        let source = hmac(&format!(
            "event = {{ id = \"{{json:/call}}\", id_kind = \"{kind}\" }}\nfacts = {{ retry_hours = 10 }}"
        ));
        let (first, again) = (
            event(&source, r#"{"call":1}"#, NOW),
            event(&source, r#"{"call":1}"#, NOW),
        );
        assert_eq!(
            (first.key, first.digest, first.class),
            (again.key, again.digest, IdClass::Object)
        );
        assert_ne!(
            first.message, again.message,
            "if it counts as another event, it is another message"
        );
        assert!(first.bytes_key.is_none());
        assert_eq!(
            compiled(&source).facts().retry_span,
            Duration::from_secs(12 * 3600)
        );
    }
    assert_eq!(
        compiled(&hmac(
            "event = { id = \"{json:/call}\", id_kind = \"object\" }"
        ))
        .facts()
        .retry_span,
        Duration::from_secs(3600)
    );
}

#[test]
fn without_an_id_every_delivery_is_an_event_and_equal_bytes_can_be_told() {
    for provider in ["hmac", "token", "basic", "none"] {
        let (source, spec, private_key) = made_up(provider);
        let request = signed(&source, &spec, private_key, "x").expect("it signs");
        let (first, again) = (
            one(&compiled(&source), &request, NOW),
            one(&compiled(&source), &request, NOW),
        );
        assert_eq!(first.class, IdClass::Absent, "{provider}");
        assert_ne!(
            first.key, again.key,
            "{provider}: a heartbeat is none of the last one"
        );
        assert!(
            first.bytes_key.is_some() && first.bytes_key == again.bytes_key,
            "{provider}"
        );
        assert_eq!(first.id.as_str(), first.message.message_id().to_string());
    }
}

#[test]
fn without_a_body_the_query_tells_events_apart() {
    let (source, ..) = made_up("none");
    let bytes =
        |target: &str| one(&compiled(&source), &request("POST", target, &[], b""), NOW).bytes_key;
    assert_eq!(bytes("/ingest/test?a=1"), bytes("/ingest/test?a=1"));
    assert_ne!(bytes("/ingest/test?a=1"), bytes("/ingest/test?a=2"));
}

#[test]
fn bodies_that_are_known_to_be_unique_are_ids() {
    let source = hmac("event = { missing_id = \"body\", type = \"{json:/t}\" }");
    let (first, again) = (
        event(&source, r#"{"t":1}"#, NOW),
        event(&source, r#"{"t":1}"#, NOW),
    );
    assert_eq!((first.key, first.class), (again.key, IdClass::Body));
    assert!(first.id.as_str().starts_with("sha256:") && first.bytes_key.is_none());
    assert_ne!(first.message, again.message);
    assert_ne!(first.key, event(&source, r#"{"t":2}"#, NOW).key);
    let refusing = hmac("event = { missing_id = \"refuse\" }");
    let request = as_request(&sign(&refusing, &inputs("{}", "x", NOW)).expect("it signs"));
    assert_eq!(
        refused(&compiled(&refusing), &request, NOW),
        hookweir_signatures::Reason::IdMissing
    );
}

const TIMED: &str = "timestamp = { from = \"header:x-at\", tolerance_secs = 300 }\nmessage = \"{timestamp}.{body}\"";

#[test]
fn the_very_same_signed_request_is_a_duplicate_wherever_a_time_is_signed() {
    // Without an id, it is the key itself, so that instances agree.
    let without = hmac(TIMED);
    let [first, again, later] = [NOW, NOW, NOW + 1000].map(|at| event(&without, "{}", at));
    assert_eq!(
        (first.key, first.message, first.digest),
        (again.key, again.message, again.digest)
    );
    assert!(
        first.key != later.key && first.bytes_key == later.bytes_key,
        "signed anew it is another event with equal bytes"
    );

    // An id that anybody can change does not make the same request another one.
    let unsigned = hmac(&format!("{TIMED}\nevent = {{ id = \"{{header:x-id}}\" }}"));
    let request = as_request(&sign(&unsigned, &inputs("{}", "x", NOW)).expect("it signs"));
    let [one_id, other_id] = ["1", "2"].map(|id| {
        one(
            &compiled(&unsigned),
            &with_header(&request, "x-id", id),
            NOW,
        )
    });
    assert_ne!(one_id.key, other_id.key);
    assert!(one_id.replay.is_some() && one_id.replay == other_id.replay);

    let object = hmac(&format!(
        "{TIMED}\nevent = {{ id = \"{{json:/id}}\", id_kind = \"object\" }}"
    ));
    let [first, later] = [NOW, NOW + 1000].map(|at| event(&object, r#"{"id":1}"#, at));
    assert!(first.replay.is_some() && first.replay != later.replay);
    for (provider, replays) in [
        ("twitch", false),
        ("mailgun", true),
        ("github", false),
        ("gitea", false),
    ] {
        let (source, spec, private_key) = made_up(provider);
        let request = signed(&source, &spec, private_key, "x").expect("it signs");
        let [event, again] = [(); 2].map(|()| one(&compiled(&source), &request, NOW));
        let by_its_key = event.class == IdClass::Absent && event.key == again.key;
        assert_eq!(
            event.replay.is_some() || by_its_key,
            replays,
            "{provider} {:?}",
            event.class
        );
    }
}

#[test]
fn a_time_that_is_not_signed_with_the_body_tells_no_events_apart() {
    // Two events of one second have this signed message in common.
    let source = hmac("timestamp = { from = \"header:x-at\" }\nmessage = \"{timestamp}\"");
    let [first, other] = [r#"{"n":1}"#, r#"{"n":2}"#].map(|body| event(&source, body, NOW));
    assert_ne!(first.key, other.key);
    assert!(first.replay.is_none());
}

#[test]
fn what_a_redelivery_may_change_is_no_other_body() {
    let source = hmac(
        "event = { id = \"{json:/id}\", varies = [\"/attempt\", \"/items/*/tries\", \"/nothing\"] }",
    );
    let digest = |body: &str| event(&source, body, NOW).digest;
    let first = digest(r#"{"id":1,"attempt":1,"items":[{"tries":1,"n":1},{"tries":22,"n":2}]}"#);
    assert_eq!(
        first,
        digest(
            r#"{"id":1,"attempt":{"n":[2]},"items":[{"tries":"x","n":1},{"tries":null,"n":2}]}"#
        )
    );
    assert_ne!(
        first,
        digest(r#"{"id":1,"attempt":1,"items":[{"tries":1,"n":1},{"tries":22,"n":3}]}"#)
    );
    assert_ne!(
        first,
        digest(r#"{"id":1,"attempt":1,"items":[{"n":1},{"tries":22,"n":2}]}"#)
    );
    let plain = hmac("event = { id = \"{json:/id}\" }");
    for body in ["no JSON", "[1", r#"{"id":1}"#] {
        assert_eq!(
            digest(body),
            event(&plain, body, NOW).digest,
            "{body}: there is nothing to leave out"
        );
    }
    let sent = r#"{"id":1,"attempt":7}"#;
    assert_eq!(
        event(&source, sent, NOW).body,
        sent,
        "what is published is what came"
    );
}

#[test]
fn elements_of_a_batch_are_compared_without_what_a_redelivery_may_change() {
    let batch = |split| {
        hmac(&format!(
            "event = {{ batch = {{ array = \"/events\", id = \"{{json:/id}}\", varies = [\"/attempt\"], split = {split} }} }}"
        ))
    };
    let request = |source: &SourceSpec, attempt: u8| {
        let body = format!(
            r#"{{"events":[{{"id":1,"attempt":{attempt}}},{{"id":2,"attempt":{attempt}}}]}}"#
        );
        as_request(&sign(source, &inputs(body, "x", NOW)).expect("it signs"))
    };
    let (split, whole) = (batch(true), batch(false));
    let digests = |source: &SourceSpec, attempt| -> Vec<_> {
        events(&compiled(source), &request(source, attempt), NOW)
            .expect("events")
            .into_iter()
            .map(|event| event.digest)
            .collect()
    };
    assert_eq!(digests(&split, 0).len(), 2, "the preset's default");
    assert_eq!(digests(&split, 0), digests(&split, 1));
    assert_eq!(digests(&whole, 0).len(), 1);
    assert_eq!(digests(&whole, 0), digests(&whole, 1));
    let overridden = SourceSpec {
        split: Some(false),
        ..split
    };
    assert_eq!(
        digests(&overridden, 0),
        digests(&whole, 0),
        "the source decides"
    );
}

#[test]
fn elements_without_an_id_are_events_that_a_replay_does_not_bring_again() {
    let source = hmac(&format!(
        "{TIMED}\nevent = {{ batch = {{ array = \"/events\", split = true }} }}"
    ));
    let request = |at| {
        as_request(
            &sign(&source, &inputs(r#"{"events":[{"n":1},{"n":1}]}"#, "x", at)).expect("it signs"),
        )
    };
    let keys = |at| -> Vec<_> {
        events(&compiled(&source), &request(at), at)
            .expect("events")
            .into_iter()
            .map(|event| event.key)
            .collect()
    };
    assert_ne!(keys(NOW)[0], keys(NOW)[1], "equal elements are two events");
    assert_eq!(keys(NOW), keys(NOW));
    assert_ne!(keys(NOW), keys(NOW + 1000));
}

#[test]
fn a_batch_beyond_every_bound_is_kept_whole() {
    let source =
        hmac("event = { batch = { array = \"/events\", id = \"{json:/id}\", split = true } }");
    let many = |count: usize| {
        let elements: Vec<_> = (0..count).map(|n| format!(r#"{{"id":{n}}}"#)).collect();
        format!(r#"{{"events":[{}]}}"#, elements.join(","))
    };
    let of = |count: usize| {
        let request = as_request(&sign(&source, &inputs(many(count), "x", NOW)).expect("it signs"));
        events(&compiled(&source), &request, NOW).expect("never refused")
    };
    assert_eq!(of(1000).len(), 1000);
    let whole = of(1001).remove(0);
    assert_eq!(whole.body, many(1001));
    assert_eq!(of(1001).remove(0).key, whole.key);
    let huge = of(70_000).remove(0);
    assert_eq!(
        (huge.class, huge.body.len()),
        (IdClass::Absent, many(70_000).len()),
        "more than are looked at"
    );
}

#[test]
fn equal_bytes_are_dropped_where_the_operator_says_so() {
    let span = Some(Duration::from_secs(60));
    for (event_toml, class) in [
        ("event = {}", IdClass::Absent),
        ("event = { id = \"{json:/id}\" }", IdClass::Signed),
        (
            "event = { id = \"{json:/id}\", id_kind = \"object\" }",
            IdClass::Object,
        ),
    ] {
        let event = event(&hmac(event_toml), r#"{"id":1}"#, NOW);
        let keys = EventKeys::new(&name("test"), span, &event.event);
        assert_eq!(event.class, class);
        assert!(keys.bytes_key.is_some(), "{event_toml}");
    }
}
