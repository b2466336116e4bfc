//! Chains of certificates that a token brings: right, and wrong in every way that somebody could
//! try.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use super::*;

const LEAF: &[u64] = &[1, 2, 840, 113_635, 100, 6, 11, 1];
const BETWEEN: &[u64] = &[1, 2, 840, 113_635, 100, 6, 2, 1];

/// Properties of a certificate in the chain.
#[derive(Clone)]
struct Like {
    name: &'static str,
    ca: bool,
    mark: Option<&'static [u64]>,
    critical: bool,
    years: (i32, i32),
}

impl Like {
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params
            .distinguished_name
            .push(DnType::CommonName, self.name);
        (params.not_before, params.not_after) = (
            date_time_ymd(self.years.0, 1, 1),
            date_time_ymd(self.years.1, 1, 1),
        );
        if self.ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        params.custom_extensions.extend(self.mark.map(|oid| {
            let mut extension = CustomExtension::from_oid_content(oid, vec![5, 0]);
            extension.set_criticality(self.critical);
            extension
        }));
        params
    }
}

fn root() -> Like {
    Like {
        name: "root",
        ca: true,
        mark: None,
        critical: false,
        years: (2014, 2039),
    }
}
fn between() -> Like {
    Like {
        name: "between",
        ca: true,
        mark: Some(BETWEEN),
        critical: false,
        years: (2021, 2036),
    }
}
fn leaf() -> Like {
    Like {
        name: "leaf",
        ca: false,
        mark: Some(LEAF),
        critical: false,
        years: (2024, 2027),
    }
}

/// Three certificates, the signer's first, and its key.
struct Chain {
    der: Vec<Vec<u8>>,
    key: KeyPair,
    root: String,
}

fn chain(root: &Like, between: &Like, leaf: &Like) -> Chain {
    let key = || KeyPair::generate().expect("randomness");
    let (root_key, between_key, key) = (key(), key(), key());
    let root_certificate = root.params().self_signed(&root_key).expect("a certificate");
    let root_params = root.params();
    let by_root = Issuer::from_params(&root_params, &root_key);
    let between_certificate = between
        .params()
        .signed_by(&between_key, &by_root)
        .expect("a certificate");
    let between_params = between.params();
    let by_between = Issuer::from_params(&between_params, &between_key);
    let leaf_certificate = leaf
        .params()
        .signed_by(&key, &by_between)
        .expect("a certificate");
    let der = [&leaf_certificate, &between_certificate, &root_certificate]
        .map(|certificate| certificate.der().to_vec());
    Chain {
        der: der.to_vec(),
        key,
        root: root_certificate.pem(),
    }
}

/// A notification as Apple sends it.
fn notification(chain: &Chain, header: serde_json::Value, bundle: &str) -> Request {
    let encode = |json: &serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = serde_json::json!({ "notificationUUID": "u1", "notificationType": "TEST", "data": { "bundleId": bundle } });
    let mut full = serde_json::json!({ "alg": "ES256", "x5c": chain.der.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>() });
    full.as_object_mut()
        .expect("an object")
        .extend(header.as_object().expect("an object").clone());
    let signed = format!("{}.{}", encode(&full), encode(&claims));
    let random = ring::rand::SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(
        &ECDSA_P256_SHA256_FIXED_SIGNING,
        &chain.key.serialize_der(),
        &random,
    )
    .expect("a key");
    let signature = key.sign(&random, signed.as_bytes()).expect("signed");
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()));
    request(
        "POST",
        "/",
        &[],
        serde_json::json!({ "signedPayload": token })
            .to_string()
            .as_bytes(),
    )
}

fn scheme_with(root: &str) -> Scheme {
    let params = BTreeMap::from([("bundle_id".into(), "com.example".into())]);
    let source = SourceSpec {
        params,
        ..source("apple-app-store", &[])
    };
    compiled(&with_scheme(
        source,
        &format!("jwt = {{ x5c = {{ root_pem = '''\n{root}''' }} }}"),
    ))
}

/// Returns the verdict on a chain of three such certificates, under its own root.
fn comes_to(root: &Like, between: &Like, leaf: &Like) -> Result<VerifiedEvent, Reason> {
    let chain = chain(root, between, leaf);
    let request = notification(&chain, serde_json::json!({}), "com.example");
    events(&scheme_with(&chain.root), &request, NOW)
        .map(|mut events| events.remove(0))
        .map_err(|rejection| rejection.reason)
}

#[test]
fn a_chain_to_the_pinned_root_verifies() {
    let event = comes_to(&root(), &between(), &leaf()).expect("verified");
    assert_eq!(
        (event.id().unwrap_or_default(), event.event_type.as_deref()),
        ("u1", Some("TEST"))
    );
}

#[test]
fn chains_that_are_wrong_in_one_thing_are_refused() {
    let mismatch = |what: &str, root: Like, between: Like, leaf: Like| {
        assert_eq!(
            comes_to(&root, &between, &leaf).err(),
            Some(Reason::SignatureMismatch),
            "{what}"
        );
    };
    mismatch(
        "a leaf that has expired",
        root(),
        between(),
        Like {
            years: (2023, 2025),
            ..leaf()
        },
    );
    mismatch(
        "a leaf that is not valid yet",
        root(),
        between(),
        Like {
            years: (2026, 2028),
            ..leaf()
        },
    );
    mismatch(
        "an intermediate that has expired",
        root(),
        Like {
            years: (2021, 2025),
            ..between()
        },
        leaf(),
    );
    mismatch(
        "a root that has expired",
        Like {
            years: (2014, 2025),
            ..root()
        },
        between(),
        leaf(),
    );
    mismatch(
        "a leaf without the mark",
        root(),
        between(),
        Like {
            mark: None,
            ..leaf()
        },
    );
    mismatch(
        "an intermediate without the mark",
        root(),
        Like {
            mark: None,
            ..between()
        },
        leaf(),
    );
    mismatch(
        "marks the other way round",
        root(),
        Like {
            mark: Some(LEAF),
            ..between()
        },
        Like {
            mark: Some(BETWEEN),
            ..leaf()
        },
    );
    mismatch(
        "an intermediate that may not issue",
        root(),
        Like {
            ca: false,
            ..between()
        },
        leaf(),
    );
    mismatch(
        "something critical that is not understood",
        root(),
        between(),
        Like {
            critical: true,
            ..leaf()
        },
    );
}

#[test]
fn chains_of_others_and_tokens_without_one_are_refused() {
    let (ours, theirs) = (
        chain(&root(), &between(), &leaf()),
        chain(&root(), &between(), &leaf()),
    );
    let scheme = scheme_with(&ours.root);
    let good = notification(&ours, serde_json::json!({}), "com.example");
    one(&scheme, &good, NOW);
    let reason = |chain: &Chain, header: serde_json::Value| {
        refused(&scheme, &notification(chain, header, "com.example"), NOW)
    };
    assert_eq!(
        reason(&theirs, serde_json::json!({})),
        Reason::SignatureMismatch,
        "another root of the same name"
    );
    let mixed = |positions: [(usize, bool); 3]| Chain {
        der: positions
            .iter()
            .map(|(at, mine)| {
                if *mine {
                    ours.der[*at].clone()
                } else {
                    theirs.der[*at].clone()
                }
            })
            .collect(),
        key: KeyPair::generate().expect("randomness"),
        root: String::new(),
    };
    assert_eq!(
        reason(
            &mixed([(0, true), (1, true), (2, true)]),
            serde_json::json!({})
        ),
        Reason::SignatureMismatch,
        "another key"
    );
    let leaf_of_theirs = Chain {
        key: KeyPair::from_pem(&theirs.key.serialize_pem()).expect("a key"),
        ..mixed([(0, false), (1, true), (2, true)])
    };
    assert_eq!(
        reason(&leaf_of_theirs, serde_json::json!({})),
        Reason::SignatureMismatch,
        "another's leaf"
    );
    for x5c in [
        serde_json::json!([]),
        serde_json::json!(null),
        serde_json::json!("x"),
        serde_json::json!(["AA==", "AA==", "AA=="]),
    ] {
        assert_eq!(
            reason(&ours, serde_json::json!({ "x5c": x5c })),
            Reason::SignatureMismatch,
            "{x5c}"
        );
    }
    let four: Vec<_> = ours
        .der
        .iter()
        .chain(&ours.der[2..])
        .map(|der| STANDARD.encode(der))
        .collect();
    assert_eq!(
        reason(&ours, serde_json::json!({ "x5c": four })),
        Reason::SignatureMismatch,
        "four"
    );
    for alg in ["none", "HS256", "RS256", "ES384", "es256"] {
        assert_eq!(
            reason(&ours, serde_json::json!({ "alg": alg })),
            Reason::SignatureMalformed,
            "{alg}"
        );
    }
    let other_app = notification(&ours, serde_json::json!({}), "com.example.other");
    assert_eq!(
        refused(&scheme, &other_app, NOW),
        Reason::PreconditionFailed
    );
    // Apple's own root, which the preset has, knows nothing of ours.
    let params = BTreeMap::from([("bundle_id".into(), "com.example".into())]);
    let preset = compiled(&SourceSpec {
        params,
        ..source("apple-app-store", &[])
    });
    assert_eq!(refused(&preset, &good, NOW), Reason::SignatureMismatch);
}

#[test]
fn no_change_of_a_byte_of_a_notification_verifies() {
    let chain = chain(&root(), &between(), &leaf());
    let scheme = scheme_with(&chain.root);
    let good = notification(&chain, serde_json::json!({}), "com.example");
    for at in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[at] ^= 1;
        let verdict = verify(
            &scheme,
            &Request {
                body: body.into(),
                ..good.clone()
            },
            UnixMillis(NOW),
        );
        assert!(verdict.is_err(), "byte {at}: {verdict:?}");
    }
}

#[test]
fn apples_root_is_the_one_that_apple_publishes() {
    let spec = spec_of(&source("apple-app-store", &[])).expect("a preset");
    let root = spec.jwt.and_then(|jwt| jwt.x5c).expect("a chain").root_pem;
    let (_, pem) = x509_parser::pem::parse_x509_pem(root.as_bytes()).expect("PEM");
    let digest = mac::HashName::Sha256.of([&*pem.contents]);
    assert_eq!(
        hex::encode(digest.as_bytes()),
        "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179"
    );
}
