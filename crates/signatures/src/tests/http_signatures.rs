//! HTTP Message Signatures: the examples of RFC 9421 (appendix B), and changes that must be
//! refused.

use super::*;

/// Time at which the RFC's examples were signed, in Unix milliseconds.
const SIGNED: i64 = 1_618_884_473_000;
const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----";
const SHARED: &str =
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==";
const DIGEST: &str = "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

fn of_the_rfc(input: &str, signature: &str) -> Request {
    let headers = [
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("content-type", "application/json"),
        ("content-digest", DIGEST),
        ("content-length", "18"),
        ("signature-input", input),
        ("signature", signature),
    ];
    request(
        "POST",
        "/ingest/test?param=Value&Pet=dog",
        &headers,
        b"{\"hello\": \"world\"}",
    )
}

fn receiver(kind: &str, covers: &str) -> SourceSpec {
    let mut source = match kind {
        "hmac" => source("http-message-signatures", &[SHARED]),
        _ => source("http-message-signatures", &[]),
    };
    if kind == "ed25519" {
        source.public_keys.push(Secret::new(ED25519.as_bytes()));
    }
    source.public_url = Some("https://example.com/foo".into());
    source.params.insert("covers".into(), covers.into());
    let key = if kind == "hmac" {
        "key = { decode = \"base64\" }"
    } else {
        ""
    };
    with_scheme(source, &format!("kind = \"{kind}\"\n{key}"))
}

const B25: (&str, &str) = (
    r#"sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret""#,
    "sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:",
);
const B26: (&str, &str) = (
    r#"sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519""#,
    "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
);

#[test]
fn the_rfcs_own_examples_verify() {
    one(
        &compiled(&receiver("hmac", "@authority")),
        &of_the_rfc(B25.0, B25.1),
        SIGNED,
    );
    one(
        &compiled(&receiver("ed25519", "@method @path")),
        &of_the_rfc(B26.0, B26.1),
        SIGNED,
    );
    // The second of two signatures is the one that covers enough.
    let (input, signature) = (
        format!("{}, {}", B25.0, B26.0),
        format!("{}, {}", B25.1, B26.1),
    );
    one(
        &compiled(&receiver("ed25519", "@method")),
        &of_the_rfc(&input, &signature),
        SIGNED,
    );
}

#[test]
fn what_is_not_signed_or_not_as_signed_is_refused() {
    let scheme = compiled(&receiver("ed25519", "@method @path"));
    let refused_for = |scheme: &Scheme, input: &str, signature: &str, at: i64| {
        refused(scheme, &of_the_rfc(input, signature), at)
    };
    assert_eq!(
        refused_for(&scheme, B26.0, B26.1, SIGNED + 301_000),
        Reason::TimestampTooOld
    );
    assert_eq!(
        refused_for(&scheme, B26.0, B26.1, SIGNED - 301_000),
        Reason::TimestampInFuture
    );
    assert_eq!(
        refused_for(
            &scheme,
            &B26.0.replace("1618884473", "1618884474"),
            B26.1,
            SIGNED
        ),
        Reason::SignatureMismatch
    );
    assert_eq!(
        refused_for(
            &scheme,
            &B26.0.replace(" \"content-length\"", ""),
            B26.1,
            SIGNED
        ),
        Reason::SignatureMismatch
    );
    for malformed in [
        "",
        "sig-b26=1",
        "sig-b26=(\"@method\" \"@method\")",
        "sig-b26=(\"@nothing\")",
        "sig-b26=(\"date\";sf)",
        "other=(\"date\")",
    ] {
        assert!(
            verify(&scheme, &of_the_rfc(malformed, B26.1), UnixMillis(SIGNED)).is_err(),
            "{malformed}"
        );
    }
    assert_eq!(
        refused(&scheme, &request("POST", "/", &[], b"{}"), SIGNED),
        Reason::SignatureMissing
    );
    // The example does not sign the body, and a source that asks for that takes it from nobody.
    let strict = compiled(&receiver("ed25519", "@method content-digest"));
    assert!(verify(&strict, &of_the_rfc(B26.0, B26.1), UnixMillis(SIGNED)).is_err());
    let mut of_another = receiver("ed25519", "@method");
    of_another.public_url = Some("https://example.org/foo".into());
    assert_eq!(
        refused_for(&compiled(&of_another), B26.0, B26.1, SIGNED),
        Reason::SignatureMismatch
    );
}

#[test]
fn a_change_of_the_body_behind_its_signed_digest_is_refused() {
    for provider in ["http-message-signatures", "http-signatures-cavage"] {
        for kind in ["hmac", "ed25519", "ecdsa-p256"] {
            let mut source = with_scheme(source(provider, &[]), &format!("kind = \"{kind}\""));
            source.public_url = Some("https://hooks.example.com:8443/in?a=1".into());
            let mut inputs = inputs(r#"{"a":1}"#, "evt-1", NOW);
            match kind {
                "hmac" => source.secrets.push(Secret::new(SECRET.as_bytes())),
                _ => {
                    let (private, public) =
                        sign::new_key(&spec_of(&source).expect("a scheme")).expect("a key");
                    inputs.private_key = Some(private);
                    source.public_keys.push(Secret::new(public.as_bytes()));
                }
            }
            let request = as_request(
                &sign(&source, &inputs)
                    .unwrap_or_else(|error| panic!("{provider} {kind}: {error}")),
            );
            let scheme = compiled(&source);
            assert!(scheme.facts().body_covered);
            one(&scheme, &request, NOW);
            let mut changed = request.clone();
            changed.body = Bytes::from_static(br#"{"a":2}"#);
            assert_eq!(
                refused(&scheme, &changed, NOW),
                Reason::PreconditionFailed,
                "{provider} {kind}"
            );
            let mut elsewhere = request.clone();
            elsewhere.method = Method::PUT;
            assert!(
                verify(&scheme, &elsewhere, UnixMillis(NOW)).is_err(),
                "{provider} {kind}"
            );
        }
    }
}

#[test]
fn the_drafts_date_is_a_time_of_signing_only_where_it_is_signed() {
    let mut source = with_scheme(
        source("http-signatures-cavage", &[SECRET]),
        "kind = \"hmac\"",
    );
    source.public_url = Some("https://example.com/foo".into());
    source
        .params
        .insert("covers".into(), "(request-target)".into());
    let scheme = compiled(&source);
    let mac =
        crate::crypto::mac::MacKey::new(crate::crypto::mac::HashName::Sha256, SECRET.as_bytes())
            .expect("a key");
    let signed = |headers: &str, text: &str| {
        let signature =
            crate::crypto::mac::Encoding::Base64.encode(mac.of([text.as_bytes()]).as_bytes());
        let value = format!(
            "Signature keyId=\"k\",algorithm=\"hs2019\",headers=\"{headers}\",signature=\"{signature}\""
        );
        request(
            "POST",
            "/ingest/test?x=1",
            &[
                ("date", "Tue, 20 Apr 2021 02:07:53 GMT"),
                ("authorization", &value),
            ],
            b"{}",
        )
    };
    let dated = signed(
        "(request-target) host date",
        "(request-target): post /foo?x=1\nhost: example.com\ndate: Tue, 20 Apr 2021 02:07:53 GMT",
    );
    one(&scheme, &dated, SIGNED);
    assert_eq!(
        refused(&scheme, &dated, SIGNED + 86_400_000),
        Reason::TimestampTooOld
    );
    let undated = signed("(request-target)", "(request-target): post /foo?x=1");
    assert_eq!(refused(&scheme, &undated, SIGNED), Reason::TimestampInvalid);
}
