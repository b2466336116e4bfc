//! Facts about providers that must not be got wrong, each where a preset or the engine could.

use super::catalogue::{made_up, signed};
use super::*;
use crate::verify::spec::{KeyDecode, SchemeSpec, TimeUnit};

fn spec(provider: &str) -> SchemeSpec {
    made_up(provider).1
}

fn by(provider: &str, body: &str) -> (Scheme, Request) {
    let (source, _, private_key) = made_up(provider);
    let inputs = SignInputs { private_key, ..inputs(body.to_owned(), "x", NOW) };
    (compiled(&source), as_request(&sign(&source, &inputs).expect("it signs")))
}

/// A body whose parsing and writing again would change it, and what it would become.
#[test]
fn the_bytes_off_the_wire_are_verified() {
    for (provider, sent, written_again) in [
        ("sendgrid", "[{\"sg_event_id\":\"a\",\"event\":\"open\"}]\r\n", "[{\"sg_event_id\":\"a\",\"event\":\"open\"}]"),
        ("openai", r#"{"id": "a", "type": "x"}"#, r#"{"id":"a","type":"x"}"#),
        ("cashfree", r#"{"type":"x","amount":2.00}"#, r#"{"type":"x","amount":2}"#),
        ("easypost", r#"{"id":"a","weight":12.0}"#, r#"{"id":"a","weight":12}"#),
        ("meta", r#"{"object":"page","text":"\u00e4"}"#, r#"{"object":"page","text":"ä"}"#),
    ] {
        let (scheme, request) = by(provider, sent);
        assert!(events(&scheme, &request, NOW).is_ok(), "{provider}");
        let changed = Request { body: written_again.to_owned().into(), ..request };
        assert!(events(&scheme, &changed, NOW).is_err(), "{provider}");
    }
}

#[test]
fn secrets_become_keys_as_each_provider_means_them() {
    for (decode, providers) in [
        (KeyDecode::Utf8, &["stripe", "imagekit", "polar", "zendesk"][..]),
        (KeyDecode::Hex, &["adyen", "authorizenet", "squarespace", "onfleet"]),
        (KeyDecode::Base64, &["svix", "standardwebhooks", "openai", "airtable", "microsoft-teams", "sinch-voice"]),
    ] {
        for provider in providers {
            assert_eq!(spec(provider).key.decode, decode, "{provider}");
        }
    }
    assert!(spec("openai").key.plain_without_prefix && !spec("svix").key.plain_without_prefix);
    assert_eq!(spec("braintree").key.derive, Some(mac::HashName::Sha1));
    assert_eq!(spec("fitbit").key.append.as_deref(), Some("&"));
    assert!(spec("easypost").key.normalize.is_some());
    assert_eq!(spec("stripe").key.strip, None, "whsec_ is a part of it");
}

#[test]
fn times_have_their_units_and_go_into_the_message_as_sent() {
    for (unit, providers) in [
        (
            TimeUnit::Ms,
            &["workos", "sanity", "imagekit", "retell", "hubspot-v3", "webflow", "front", "cashfree", "recurly", "ghost", "linear"][..],
        ),
        (TimeUnit::Rfc3339, &["twitch", "zendesk", "box", "sinch-voice"]),
        (TimeUnit::S, &["stripe", "slack", "standardwebhooks", "paddle", "zoom"]),
    ] {
        for provider in providers {
            assert_eq!(spec(provider).ts.expect("a time").unit, unit, "{provider}");
        }
    }
    assert_eq!(spec("linear").ts.expect("a time").from, "json:/webhookTimestamp", "in the signed body, not in a header");
}

/// An SDK's tolerance is kept, except where none could arrive in time through a network (Paddle's 5 s).
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
        assert_eq!(spec(provider).ts.expect("a time").tolerance, seconds, "{provider}");
    }
}

#[test]
fn what_is_not_covered_is_said_to_be_so() {
    for provider in ["mailgun", "dropbox-sign", "mercadopago", "jira-connect", "gcp-pubsub", "adyen", "token", "chargebee", "gitlab-token"]
    {
        assert!(!compiled(&made_up(provider).0).facts().body_covered, "{provider}");
    }
    let warned = |provider: &str, text: &str| compiled(&made_up(provider).0).warnings().iter().any(|warning| warning.contains(text));
    assert!(warned("mercadopago", "not covered") && warned("gcp-pubsub", "not covered") && warned("mailgun", "only a part"));
    assert!(warned("github", "id that is not signed") && warned("github", "type is not signed") && warned("shopify", "type is not signed"));
    assert!(!warned("stripe", "not signed") && !warned("standardwebhooks", "not signed") && !warned("slack", "not signed"));
}

#[test]
fn ids_that_change_over_redeliveries_are_not_taken_for_stable_ones() {
    for provider in ["woocommerce", "discourse", "linear"] {
        let spec = spec(provider);
        assert!(spec.event.id.is_empty() || !spec.event.stable, "{provider}");
    }
    // Their signed bodies count attempts, so a digest of the body would make every attempt an event of its own.
    for provider in ["coinbase_commerce", "telnyx", "hubspot-v3"] {
        let spec = spec(provider);
        assert!(!spec.event.id.is_empty() || spec.event.batch.is_some_and(|batch| !batch.id.is_empty()), "{provider}");
    }
    for (provider, guarded) in
        [("github", true), ("shopify", true), ("razorpay", true), ("stripe", false), ("square", false), ("twitch", false)]
    {
        let (source, spec, private_key) = made_up(provider);
        let request = signed(&source, &spec, private_key, "evt_1").expect("it signs");
        assert_eq!(one(&compiled(&source), &request, NOW).guard.is_some(), guarded, "{provider}");
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

/// The URL is the provider's: from the configuration, with the query as it came, whatever `Host` says.
#[test]
fn the_url_is_the_providers() {
    for provider in ["twilio", "square", "trello", "mandrill", "hubspot-v3", "plivo"] {
        let (mut source, spec, private_key) = made_up(provider);
        let request = signed(&source, &spec, private_key.clone(), "evt_1").expect("it signs");
        let hosts = ["evil.example.com", "hooks.example.com"].map(|host| {
            let mut headers: Vec<_> = request.headers.iter().cloned().collect();
            headers.push((http::header::HOST, HeaderValue::from_static(host)));
            headers.push((HeaderName::from_static("x-forwarded-host"), HeaderValue::from_static(host)));
            Request { headers: headers.into(), ..request.clone() }
        });
        let scheme = compiled(&source);
        assert!(hosts.iter().all(|request| events(&scheme, request, NOW).is_ok()), "{provider}");
        source.public_url = Some("https://hooks.example.com/ingest/test/".into());
        assert!(events(&compiled(&source), &request, NOW).is_err(), "{provider}: a slash more");
        source.public_url = None;
        let errors = Scheme::compile(&source, 1).expect_err("a URL is needed");
        assert!(errors.iter().any(|error| error.key == "public_url"), "{provider}: {errors:?}");
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
        let relabelled = good.headers.iter().map(|(name, value)| match name.as_str() == header {
            true => (name.clone(), HeaderValue::from_str(&value.to_str().expect("text").replace(right, wrong)).expect("text")),
            false => (name.clone(), value.clone()),
        });
        let bad = Request { headers: relabelled.collect(), ..good.clone() };
        assert!(events(&compiled(&source), &good, NOW).is_ok() && events(&compiled(&source), &bad, NOW).is_err(), "{provider}");
    }
}

/// `X-Hub-Signature` is SHA-1 for some and SHA-256 for others: what stands in front of the value decides, never the header's name.
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
        assert_eq!((spec.sig[0].prefix.as_str(), spec.hash), (prefix, hash), "{provider}");
    }
    for provider in ["hubspot-v1", "hubspot-v2", "lark", "cloudinary", "midtrans"] {
        assert_eq!(spec(provider).kind, spec::Kind::Hash, "{provider}: not an HMAC");
    }
}

/// No delivery is refused for its content type: SNS sends JSON as text, LiveKit and Contentful have types of their own.
#[test]
fn content_types_decide_nothing() {
    for provider in ["stripe", "github", "livekit", "contentful", "slack"] {
        let (source, spec, _) = made_up(provider);
        let good = signed(&source, &spec, None, "evt_1").expect("it signs");
        for kind in ["text/plain; charset=UTF-8", "application/webhook+json", "application/octet-stream"] {
            let other = good.headers.iter().map(|(name, value)| match *name == http::header::CONTENT_TYPE {
                true => (name.clone(), HeaderValue::from_static(kind)),
                false => (name.clone(), value.clone()),
            });
            let request = Request { headers: other.collect(), ..good.clone() };
            // Contentful signs its content type where it names it.
            let signs_it = provider == "contentful" && events(&compiled(&source), &request, NOW).is_err();
            assert!(signs_it || events(&compiled(&source), &request, NOW).is_ok(), "{provider}: {kind}");
        }
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
        assert_eq!((accepted.status, &*accepted.body), (status, body.as_bytes()), "{provider}");
    }
    assert!(answers("adobe-sign").accepted.expect("an echo").headers.iter().any(|(name, _)| name == "X-AdobeSign-ClientId"));
    assert_eq!((answers("gocardless").rejected, answers("xero").rejected), (Some(498), Some(401)));
    assert!(matches!(answers("discord").rejected, None | Some(401)));
    // What signs nothing is a secret in the URL, and is said to be no more than that.
    for provider in ["mailchimp", "jotform", "dockerhub", "strava", "mollie-classic"] {
        let scheme = compiled(&made_up(provider).0);
        assert!(scheme.describe().starts_with("the secret itself") && !scheme.facts().body_covered, "{provider}: {}", scheme.describe());
    }
    assert!(spec("stream").gunzip && !spec("nylas").gunzip, "Stream signs what it compressed, Nylas what it sends");
}
