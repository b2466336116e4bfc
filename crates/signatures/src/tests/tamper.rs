//! Tampering: a signed request with any part changed is refused.

use super::*;
use crate::language::spec::{Kind, SchemeSpec};
use crate::language::syntax::{Node, Token};

/// A source of a preset, and what its provider signs.
struct Case {
    provider: &'static str,
    spec: SchemeSpec,
    source: SourceSpec,
    scheme: Scheme,
    request: Request,
}

fn cases() -> impl Iterator<Item = Case> {
    presets::names().map(|provider| {
        let (source, spec, private_key) = made_up(provider);
        let scheme = compiled(&source);
        let request = signed(&source, &spec, private_key, "evt_1")
            .unwrap_or_else(|error| panic!("{provider}: {error}"));
        Case {
            provider,
            spec,
            source,
            scheme,
            request,
        }
    })
}

impl Case {
    /// The headers that any change of must be noticed.
    fn guarded_headers(&self) -> Vec<String> {
        let spec = &self.spec;
        let mut places: Vec<String> = spec
            .signature
            .iter()
            .map(|sig| sig.from.to_string())
            .chain(spec.timestamp.iter().map(|ts| ts.from.to_string()))
            .collect();
        places.extend(spec.require.keys().map(ToString::to_string));
        places.extend(spec.jwt.iter().map(|jwt| jwt.from.to_string()));
        let message = spec.message.clone().unwrap_or_default();
        // A header in an optional or joined part may be left out.
        let signed = message
            .template()
            .nodes()
            .iter()
            .filter_map(|node| match node {
                Node::Token(Token::Header(name), _) => Some(format!("header:{name}")),
                _ => None,
            });
        places.extend(signed);
        if spec.kind == Kind::Basic {
            places.push("header:authorization".into());
        }
        places
            .iter()
            .filter_map(|place| place.strip_prefix("header:"))
            .map(|name| ParamText::try_from(name.to_owned()).expect("a name"))
            .map(|name| name.fill(&self.source.params).expect("params"))
            .collect()
    }
}

#[test]
fn no_change_of_any_byte_verifies() {
    for case in cases().filter(|case| case.spec.kind != Kind::None) {
        let good = &case.request;
        let refuses = |bad: &Request, what: &str| {
            let verdict = verify(&case.scheme, bad, UnixMillis(NOW));
            assert!(verdict.is_err(), "{}: {what}: {verdict:?}", case.provider);
        };
        if case.scheme.facts().body_covered {
            // Alipay signs every field but this one.
            let text = String::from_utf8_lossy(&good.body);
            let unsigned = text
                .find("&sign_type=")
                .filter(|_| case.provider == "alipay")
                .map_or(0..0, |at| at..at + "&sign_type=RSA2".len());
            for at in (0..good.body.len()).filter(|at| !unsigned.contains(at)) {
                let mut body = good.body.to_vec();
                body[at] ^= 1;
                refuses(
                    &Request {
                        body: body.into(),
                        ..good.clone()
                    },
                    &format!("byte {at} of the body"),
                );
            }
            refuses(
                &Request {
                    body: good.body.slice(..good.body.len().saturating_sub(1)),
                    ..good.clone()
                },
                "a body cut short",
            );
            refuses(
                &Request {
                    body: [&good.body[..], b"\n"].concat().into(),
                    ..good.clone()
                },
                "a byte more",
            );
            refuses(
                &Request {
                    body: [&good.body[..], b"&x=1"].concat().into(),
                    ..good.clone()
                },
                "a longer body",
            );
        }
        for header in case.guarded_headers() {
            let header: HeaderName = header.parse().expect("a header");
            let Some(value) = good.headers.get(&header) else {
                continue;
            };
            let with = |value: Option<HeaderValue>| Request {
                headers: good
                    .headers
                    .iter()
                    .filter_map(|(n, v)| {
                        Some((
                            n.clone(),
                            if *n == header {
                                value.clone()?
                            } else {
                                v.clone()
                            },
                        ))
                    })
                    .collect(),
                ..good.clone()
            };
            refuses(&with(None), &format!("without {header}"));
            refuses(
                &with(Some(HeaderValue::from_static(""))),
                &format!("with an empty {header}"),
            );
            for at in 0..value.len() {
                for flip in [0x01, 0x20] {
                    let mut text = value.as_bytes().to_vec();
                    text[at] ^= flip;
                    // The name of the basic scheme is spelled in any case.
                    if case.spec.kind == Kind::Basic && at < 5 && flip == 0x20 {
                        continue;
                    }
                    let Ok(changed) = HeaderValue::from_bytes(&text) else {
                        continue;
                    };
                    refuses(
                        &with(Some(changed)),
                        &format!("{header} with {:?} at {at}", char::from(text[at])),
                    );
                }
            }
        }
        let message = case.spec.message.iter();
        let mut tokens = message.flat_map(|message| message.template().tokens());
        if tokens.any(|token| *token == Token::Url) {
            refuses(
                &Request {
                    target: format!("{}?x=1", good.target),
                    ..good.clone()
                },
                "another URL",
            );
        }
    }
}

#[test]
fn stale_deliveries_are_refused_where_the_preset_says_so() {
    let mut aged = 0;
    for case in cases() {
        let tolerance = case
            .spec
            .timestamp
            .as_ref()
            .map(|ts| ts.tolerance_secs)
            .filter(|tolerance| *tolerance > 0);
        let Some(tolerance) = tolerance else { continue };
        let late = NOW + i64::try_from(tolerance).expect("small") * 1000;
        assert!(
            events(&case.scheme, &case.request, late - 1000).is_ok(),
            "{}",
            case.provider
        );
        assert_eq!(
            refused(&case.scheme, &case.request, late + 2000),
            Reason::TimestampTooOld,
            "{}",
            case.provider
        );
        aged += 1;
    }
    assert!(aged > 40, "{aged}");
}
