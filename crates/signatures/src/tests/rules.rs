//! Rules that hold for every preset, each tried on all of them.

use proptest::prelude::*;

use super::facts::rewritten;
use super::*;
use crate::language::spec::{IdKind, Kind};

fn spec(provider: &str) -> spec::SchemeSpec {
    made_up(provider).1
}

#[test]
fn no_token_covers_a_body() {
    for provider in presets::names() {
        if matches!(spec(provider).kind, Kind::Token | Kind::Basic | Kind::None) {
            assert!(
                !compiled(&made_up(provider).0).facts().body_covered,
                "{provider}"
            );
        }
    }
    assert!(
        compiled(&made_up("vonage").0).facts().body_covered,
        "by payload_hash"
    );
}

/// The places that an id is made of, without what is done to them.
fn places(id: &str) -> Vec<&str> {
    id.split('{')
        .skip(1)
        .filter_map(|rest| rest.split(['}', '|']).next())
        .collect()
}

/// An object has many events: an id that names an object has the event's type or state in it too.
#[test]
fn the_id_of_an_object_holds_the_type() {
    // A token for each request; a hash over time and type; an array that is named after the type.
    let otherwise = [
        ("twilio", "header:i-twilio-idempotency-token"),
        ("twilio-sha256", "header:i-twilio-idempotency-token"),
        ("dropbox-sign", "json:/event/event_hash"),
        ("x", "json:/tweet_create_events/*/id_str"),
    ];
    let words = [
        "type", "status", "state", "event", "action", "name", "kind", "topic", "trigger",
    ];
    let mut failures = Vec::new();
    for provider in presets::names() {
        let event = spec(provider).event;
        let types = event
            .batch
            .iter()
            .map(|batch| batch.event_type.as_str())
            .chain([event.event_type.as_str()]);
        let types: Vec<_> = types.flat_map(places).collect();
        for id in event
            .id
            .iter()
            .chain(event.batch.iter().flat_map(|batch| &batch.id))
        {
            let named = |place: &str| {
                words
                    .iter()
                    .any(|word| place.to_ascii_lowercase().ends_with(word))
            };
            let holds = |place: &&str| {
                types.contains(place) || named(place) || otherwise.contains(&(provider, *place))
            };
            if event.id_kind == IdKind::Object && !places(id.as_str()).iter().any(holds) {
                failures.push(format!("{provider}: {id}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Ids inside the event's object belong to the object, except in documents that are events
/// themselves.
#[test]
fn the_id_of_an_event_is_not_that_of_an_object() {
    let inside = |place: &str| {
        ["/data/", "/object/", "/resource/", "/entity/", "/payload/"]
            .iter()
            .any(|part| place.contains(part))
    };
    for provider in presets::names() {
        let event = spec(provider).event;
        let mut ids = event
            .id
            .iter()
            .chain(event.batch.iter().flat_map(|batch| &batch.id));
        let an_objects = event.id_kind == IdKind::Event
            && ids.any(|id| places(id.as_str()).iter().any(|place| inside(place)));
        assert!(
            !an_objects || ["keygen", "persona", "telnyx"].contains(&provider),
            "{provider}"
        );
    }
}

#[test]
fn what_signs_its_url_needs_it() {
    for provider in presets::names() {
        let (mut source, spec, _) = made_up(provider);
        let words = format!(
            "{:?}",
            (
                &spec.message,
                &spec.event,
                &spec.bind,
                &spec.jwt,
                &spec.handshake
            )
        );
        let names_it = ["{url", "base_url", "{path}", "{canonical:"]
            .iter()
            .any(|word| words.contains(word));
        let wanted = names_it
            || spec
                .jwt
                .as_ref()
                .is_some_and(|jwt| jwt.url_digest.is_some());
        source.public_url = None;
        let found = Scheme::compile(&source, 1)
            .is_err_and(|errors| errors.iter().any(|error| error.key == SourceKey::PublicUrl));
        assert_eq!(found, wanted, "{provider}");
    }
}

#[test]
fn no_signed_handshake_is_answered_to_a_stranger() {
    for provider in presets::names() {
        let (source, spec, _) = made_up(provider);
        for handshake in spec.handshake.iter().filter(|handshake| handshake.signed) {
            let when = &handshake.when;
            let value = when.equals.as_deref().unwrap_or("x");
            let mut json = serde_json::json!({});
            if let Some(pointer) = &when.json {
                crate::json_pointers::set(&mut json, pointer, value.into());
            }
            let headers: Vec<_> = when
                .header
                .iter()
                .map(|header| (header.as_str(), value))
                .collect();
            let target = when
                .query
                .as_ref()
                .map_or("/".into(), |name| format!("/?{name}={value}"));
            let request = request(
                when.method.as_deref().unwrap_or("POST"),
                &target,
                &headers,
                json.to_string().as_bytes(),
            );
            let verdict = verify(&compiled(&source), &request, UnixMillis(NOW));
            assert!(
                matches!(verdict, Err(_) | Ok(Verdict::NeedsKeys(_))),
                "{provider}: {verdict:?}"
            );
        }
    }
}

/// A header that is signed and comes twice could be read one way here and another way by its
/// sender.
#[test]
fn a_signed_header_comes_once() {
    let mut tried = 0;
    for provider in presets::names() {
        let (source, spec, private_key) = made_up(provider);
        let Ok(good) = signed(&source, &spec, private_key, "evt_1") else {
            continue;
        };
        let message = spec.message.clone().unwrap_or_default().to_string();
        for (name, value) in good
            .headers
            .iter()
            .filter(|(name, _)| message.contains(&format!("{{header:{name}}}")))
        {
            let twice = good
                .headers
                .iter()
                .cloned()
                .chain([(name.clone(), value.clone())])
                .collect();
            assert!(
                events(
                    &compiled(&source),
                    &Request {
                        headers: twice,
                        ..good.clone()
                    },
                    NOW
                )
                .is_err(),
                "{provider}: {name} twice"
            );
            tried += 1;
        }
    }
    assert!(tried >= 10, "{tried}");
}

#[test]
fn base64_has_its_padding() {
    let mut tried = 0;
    for provider in presets::names() {
        let (source, spec, private_key) = made_up(provider);
        let Some(sig) = spec
            .signature
            .first()
            .filter(|sig| spec.kind != Kind::Token && sig.encoding == mac::Encoding::Base64)
        else {
            continue;
        };
        let (Some(header), Ok(good)) = (
            sig.from.header_name(),
            signed(&source, &spec, private_key, "evt_1"),
        ) else {
            continue;
        };
        let bare = rewritten(&good, header, |text| text.trim_end_matches('=').to_owned());
        if bare.headers.get(&header.parse().expect("a name"))
            != good.headers.get(&header.parse().expect("a name"))
        {
            assert!(
                events(&compiled(&source), &bare, NOW).is_err(),
                "{provider}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
}

#[test]
fn a_flood_of_candidates_or_entries_is_refused() {
    let mut tried = 0;
    for provider in presets::names() {
        let (source, spec, private_key) = made_up(provider);
        let Some(sig) = spec.signature.first().filter(|_| spec.kind != Kind::Token) else {
            continue;
        };
        let (Some(header), Some(split), Some(kv), Some(label)) = (
            sig.from.header_name(),
            &sig.separators,
            &sig.label_separator,
            sig.labels.first(),
        ) else {
            continue;
        };
        let Ok(good) = signed(&source, &spec, private_key, "evt_1") else {
            continue;
        };
        for (label, count) in [(label.as_literal().expect("no parameters"), 16), ("zz", 64)] {
            let junk: String = (0..count)
                .map(|number| format!("{}{label}{kv}{number:032x}", &split[..1]))
                .collect();
            let flood = rewritten(&good, header, |text| format!("{text}{junk}"));
            assert_eq!(
                refused(&compiled(&source), &flood, NOW),
                Reason::SignatureMalformed,
                "{provider}: {count} {label}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
}

#[test]
fn no_token_chooses_its_algorithm() {
    let mut tried = 0;
    for provider in presets::names() {
        let (source, spec, private_key) = made_up(provider);
        let Some((jwt, header)) = spec
            .jwt
            .as_ref()
            .and_then(|jwt| Some((jwt, jwt.from.header_name()?)))
        else {
            continue;
        };
        let Ok(good) = signed(&source, &spec, private_key, "evt_1") else {
            continue;
        };
        for alg in ["none", "None", "HS257"] {
            let head = mac::Encoding::Base64Url.encode(format!(r#"{{"alg":"{alg}"}}"#).as_bytes());
            let bad = rewritten(&good, header, |text| {
                let token = text.strip_prefix(jwt.prefix.as_str()).expect("its prefix");
                format!(
                    "{}{head}{}",
                    jwt.prefix,
                    &token[token.find('.').expect("a dot")..]
                )
            });
            assert_eq!(
                refused(&compiled(&source), &bad, NOW),
                Reason::SignatureMalformed,
                "{provider} {alg}"
            );
            tried += 1;
        }
    }
    assert!(tried >= 12, "{tried}");
}

/// The request names the hash; only one on the list counts.
#[test]
fn a_hash_that_is_not_on_the_list_signs_nothing() {
    let hex_of = |hash| {
        let key = mac::MacKey::new(hash, SECRET.as_bytes()).expect("a key");
        mac::Encoding::Hex.encode(key.of([&b"{}"[..]]).as_bytes())
    };
    let scheme = compiled(&made_up("sumsub").0);
    for (named, hash, good) in [
        ("HMAC_SHA256_HEX", mac::HashName::Sha256, true),
        ("HMAC_SHA512_HEX", mac::HashName::Sha512, true),
        ("HMAC_SHA1_HEX", mac::HashName::Sha1, false),
        ("HMAC_SHA512_HEX", mac::HashName::Sha256, false),
    ] {
        let headers = [
            ("x-payload-digest", &*hex_of(hash)),
            ("x-payload-digest-alg", named),
        ];
        assert_eq!(
            events(&scheme, &request("POST", "/", &headers, b"{}"), NOW).is_ok(),
            good,
            "{named}"
        );
    }
    let scheme = compiled(&made_up("youtube").0);
    let youtube = |text: String| {
        events(
            &scheme,
            &request("POST", "/", &[("x-hub-signature", &text)], b"{}"),
            NOW,
        )
        .is_ok()
    };
    assert!(youtube(format!("sha1={}", hex_of(mac::HashName::Sha1))));
    assert!(
        !youtube(format!("md5={}", hex_of(mac::HashName::Md5)))
            && !youtube(format!("sha256={}", hex_of(mac::HashName::Sha1)))
    );
}

proptest! {
    /// Stripe's list, with anything in it in any order: it verifies if and only if the right
    /// signature is there under the right label.
    #[test]
    fn a_list_holds_what_it_holds(
        entries in proptest::collection::vec((0usize..4, 0usize..5, " {0,2}", " {0,2}"), 0..12),
        time in 0usize..12,
    ) {
        let (source, spec, _) = made_up("stripe");
        let good = signed(&source, &spec, None, "evt_1").expect("it signs");
        let header = "stripe-signature";
        let text = good.headers.get(&header.parse().expect("a name")).expect("it").to_str().expect("text");
        let (t, right) = text.split_once(",v1=").expect("a time and a signature");
        let wrong = "0".repeat(64);
        let values = [right, &wrong, "no hexadecimal", "", &right[..62]];
        let mut list: Vec<_> =
            entries.iter().map(|(label, value, before, after)| format!("{before}{}={}{after}", ["v1", "v0", "", "V1"][*label], values[*value])).collect();
        list.insert(time.min(list.len()), t.to_owned());
        let verdict = events(&compiled(&source), &rewritten(&good, header, |_| list.join(",")), NOW);
        let expected = entries.iter().any(|(label, value, ..)| (*label, *value) == (0, 0));
        prop_assert_eq!(verdict.is_ok(), expected, "{}", list.join(","));
    }
}
