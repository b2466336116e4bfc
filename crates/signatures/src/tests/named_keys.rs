//! Keys that a delivery names: asked for only where the scheme pins them, and then decisive.

use std::cell::RefCell;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};

use super::*;

const RSA: &[u8] = include_bytes!("../../tests/data/rsa-for-tests.pk8");
const CERTIFICATE: &str = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";
const CONFIRM: &str = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:123456789012:weir&Token=2336";
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:weir";

/// A certificate of the test's key, valid in these years.
fn certificate(years: (i32, i32)) -> Vec<u8> {
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&RSA.into(), &PKCS_RSA_SHA256).expect("a key");
    let mut params = CertificateParams::new(vec!["sns.amazonaws.com".into()]).expect("a name");
    (params.not_before, params.not_after) =
        (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
    params
        .self_signed(&key)
        .expect("a certificate")
        .pem()
        .into_bytes()
}

fn sns(confirm: &str) -> SourceSpec {
    let params = BTreeMap::from([
        ("topic_arn".into(), TOPIC.into()),
        ("confirm".into(), confirm.into()),
    ]);
    SourceSpec {
        params,
        ..source("aws-sns", &[])
    }
}

fn notification(fields: serde_json::Value) -> Request {
    let mut body = serde_json::json!({
        "Type": "Notification", "MessageId": "m1", "Message": "hello", "Subject": "s", "Timestamp": "2025-06-15T15:06:40.000Z",
        "SigningCertURL": CERTIFICATE,
    });
    body.as_object_mut()
        .expect("an object")
        .extend(fields.as_object().expect("an object").clone());
    let inputs = SignInputs {
        private_key: Some(RSA.to_vec()),
        ..inputs(body.to_string(), "m1", NOW)
    };
    let signed = as_request(&sign(&sns("off"), &inputs).expect("signed"));
    // The signer names a certificate of its own making.
    changed(&signed, "SigningCertURL", body["SigningCertURL"].clone())
}

fn changed(request: &Request, field: &str, value: serde_json::Value) -> Request {
    let mut body: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
    body[field] = value;
    Request {
        body: body.to_string().into(),
        ..request.clone()
    }
}

/// A scheme with its ring, and the fetches that deliveries asked for.
struct Rig {
    scheme: Scheme,
    keys: RefCell<KeyRing>,
    asked: RefCell<Vec<Fetch>>,
}

fn rig(source: &SourceSpec) -> Rig {
    Rig {
        scheme: compiled(source),
        keys: RefCell::default(),
        asked: RefCell::default(),
    }
}

impl Keyed for Rig {
    fn verify(&self, request: &Request, now: UnixMillis) -> Result<Verdict, Refusal> {
        let verdict = crate::verify(&self.scheme, &self.keys.borrow(), request, now)?;
        if let Verdict::NeedsKeys(needed) = &verdict {
            let mut asked = self.asked.borrow_mut();
            for request in needed {
                let KeyRequest::Fetch(fetch) = request else {
                    panic!("{request:?}")
                };
                if !asked.iter().any(|known| known.name() == fetch.name()) {
                    asked.push(fetch.clone());
                }
            }
        }
        Ok(verdict)
    }
}

impl Rig {
    fn keep(&self, fetch: &Fetch, answer: &[u8]) -> Result<(), String> {
        self.keys.borrow_mut().insert(fetch, answer)
    }

    fn forget(&self, fetch: &Fetch) {
        self.keys.borrow_mut().remove(fetch.name());
    }
}

fn is_missing(rig: &Rig, request: &Request) -> bool {
    matches!(
        verify(rig, request, UnixMillis(NOW)),
        Ok(Verdict::NeedsKeys(needed)) if needed.len() == 1
    )
}

/// Fetches that were asked for since the last look.
fn asked_for(rig: &Rig) -> Vec<Fetch> {
    rig.asked.take()
}

#[test]
fn a_certificate_is_asked_for_once_and_then_decides() {
    let scheme = rig(&sns("off"));
    let good = notification(serde_json::json!({}));
    assert!(scheme.scheme.fetches() && is_missing(&scheme, &good) && is_missing(&scheme, &good));
    let wanted = asked_for(&scheme);
    assert_eq!(
        wanted.iter().map(Fetch::url).collect::<Vec<_>>(),
        [CERTIFICATE]
    );
    assert!(wanted[0].body().is_none() && asked_for(&scheme).is_empty());
    assert!(scheme.keep(&wanted[0], b"<html>").is_err() && is_missing(&scheme, &good));
    scheme
        .keep(&wanted[0], &certificate((2025, 2026)))
        .expect("kept");
    assert_eq!(one(&scheme, &good, NOW).id().unwrap_or_default(), "m1");
    for (field, value) in [
        ("Message", "hallo"),
        ("MessageId", "m2"),
        ("Subject", "t"),
        ("Timestamp", "2025-06-15T15:06:41.000Z"),
        ("Type", "X"),
    ] {
        assert_eq!(
            refused(&scheme, &changed(&good, field, value.into()), NOW),
            Reason::SignatureMismatch,
            "{field}"
        );
    }
    for (field, value) in [
        ("Subject", serde_json::json!(null)),
        ("Token", "t".into()),
        ("SubscribeURL", CONFIRM.into()),
    ] {
        assert_eq!(
            refused(&scheme, &changed(&good, field, value), NOW),
            Reason::SignatureMismatch,
            "{field}"
        );
    }
    assert_eq!(
        refused(
            &scheme,
            &changed(&good, "TopicArn", "arn:aws:sns:us-east-1:666:theirs".into()),
            NOW
        ),
        Reason::PreconditionFailed
    );
    for version in ["1", "3", ""] {
        assert_eq!(
            refused(
                &scheme,
                &changed(&good, "SignatureVersion", version.into()),
                NOW
            ),
            Reason::SignatureMismatch,
            "{version}"
        );
    }
    scheme.forget(&wanted[0]);
    assert!(is_missing(&scheme, &good));
}

/// `openssl dgst -sha1 -sign` over the same fields.
#[test]
fn signatures_of_version_1_are_made_with_sha_1() {
    let scheme = rig(&sns("off"));
    let signature = "Fe8595VxTCuVtKxVqPMjSBo5euO6JHdOgMGVMMljMZsVHK5m+QASt+fNeWOZZBsIRBn8RgpJGCT6K1PlanKiaRlxJ81jClTVg2HpDFd/eJ1dqNYSI7ncJtb1zr1j\
                     kAfvXKnMT98H89/rhTZGmrCbatQ5QvPmDiD11ZZ+v5UmMiZhY61u713OcsaUPRtOCv6856A/z40+NxV++xhK1B7mvamovuwzLfNczbVI2MyxQ/DH4SuHcSRFyiXN\
                     LiTEHLbss5ZIqMeYWImropMdQ1QUJ7+71NyoQNe5IH9RXQg6+LeMPjjFjTqTtPDp+nnI+GFJS7e2lZcp8OlzKmn9Dnt4DA==";
    let old = changed(
        &changed(
            &notification(serde_json::json!({})),
            "Signature",
            signature.into(),
        ),
        "SignatureVersion",
        "1".into(),
    );
    assert!(is_missing(&scheme, &old));
    scheme
        .keep(&asked_for(&scheme)[0], &certificate((2025, 2026)))
        .expect("kept");
    one(&scheme, &old, NOW);
    assert_eq!(
        refused(&scheme, &changed(&old, "SignatureVersion", "2".into()), NOW),
        Reason::SignatureMismatch
    );
}

#[test]
fn certificates_of_another_time_or_key_do_not_count() {
    let good = notification(serde_json::json!({}));
    let other = KeyPair::generate().expect("randomness");
    let other = CertificateParams::new(Vec::new())
        .expect("no names")
        .self_signed(&other)
        .expect("a certificate")
        .pem();
    for years in [(2020, 2025), (2026, 2027)] {
        let scheme = rig(&sns("off"));
        assert!(is_missing(&scheme, &good));
        let wanted = asked_for(&scheme);
        assert!(
            scheme
                .keep(&wanted[0], other.as_bytes())
                .is_err_and(|why| why.contains("another kind")),
            "a key on a curve"
        );
        scheme.keep(&wanted[0], &certificate(years)).expect("kept");
        assert_eq!(
            refused(&scheme, &good, NOW),
            Reason::SignatureMismatch,
            "{years:?}"
        );
    }
}

#[test]
fn nothing_but_the_pinned_hosts_is_asked_for() {
    let scheme = rig(&sns("off"));
    let good = notification(serde_json::json!({}));
    let file = "SimpleNotificationService-0123456789abcdef0123456789abcdef.pem";
    let hosts = [
        "https://sns.us-east-1.amazonaws.com.evil.example",
        "https://evil.example/sns.us-east-1.amazonaws.com",
        "https://evil.example#sns.us-east-1.amazonaws.com",
        "https://evil.example?sns.us-east-1.amazonaws.com",
        "https://evil.example\\sns.us-east-1.amazonaws.com",
        "https://sns.us-east-1.amazonaws.com@evil.example",
        "https://user@sns.us-east-1.amazonaws.com",
        "https://user:pass@sns.us-east-1.amazonaws.com",
        "https://sns.us-east-1.amazonaws.com:8443",
        "https://sns.us-east-1.amazonaws.com:443",
        "https://sns.us-east-1.amazonaws.com.",
        "https://sns.us-east-1.amazonaws.com.cn.",
        "http://sns.us-east-1.amazonaws.com",
        "HTTPS://sns.us-east-1.amazonaws.com",
        "https:sns.us-east-1.amazonaws.com",
        "https:///sns.us-east-1.amazonaws.com",
        "https://SNS.us-east-1.amazonaws.com",
        "https://sns.us-east-1.amazonaws.com%2eevil.example",
        "https://sns.us-eаst-1.amazonaws.com",
        "https://sns.us-east-1\u{3002}amazonaws.com",
        "https://sns.us-east-1.amazonaws.com\u{ad}",
        "https://sns.s3-us-west-2.amazonaws.com",
        "https://sns.s3.amazonaws.com",
        "https://sns.evil.us-east-1.amazonaws.com",
        "https://evilsns.us-east-1.amazonaws.com",
        "https://sns..amazonaws.com",
        "https://sns.amazonaws.com",
        "https://xsns.us-east-1.amazonaws.com",
        "https://127.0.0.1",
        "https://[::1]",
        " https://sns.us-east-1.amazonaws.com",
        "https://sns.us-east-1.amazonaws.com\n",
        "https://sns.us-east-1.amazonaws.com\t",
    ];
    let mut urls: Vec<String> = hosts.iter().map(|host| format!("{host}/{file}")).collect();
    let paths = [
        "",
        "/",
        "//",
        "/SimpleNotificationService-.pem",
        "/SimpleNotificationService-a/b.pem",
        "/x.pem",
        "/../SimpleNotificationService-a.pem",
        "/SimpleNotificationService-a.pem?x",
        "/SimpleNotificationService-a.pem#x",
        "/SimpleNotificationService-a%2fb.pem",
        "/SimpleNotificationService-a..pem",
    ];
    urls.extend(paths.map(|path| format!("https://sns.us-east-1.amazonaws.com{path}")));
    urls.push(format!(
        "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{}.pem",
        "a".repeat(500)
    ));
    for url in urls {
        let verdict = verify(
            &scheme,
            &changed(&good, "SigningCertURL", url.clone().into()),
            UnixMillis(NOW),
        );
        assert!(verdict.is_err(), "{url:?}: {verdict:?}");
    }
    assert!(
        verify(
            &scheme,
            &changed(&good, "SigningCertURL", serde_json::json!([CERTIFICATE])),
            UnixMillis(NOW)
        )
        .is_err()
    );
    assert!(asked_for(&scheme).is_empty());
    for region in [
        "eu-central-1",
        "us-gov-west-1",
        "ap-southeast-4",
        "us-isob-east-1",
    ] {
        assert!(
            is_missing(
                &scheme,
                &changed(
                    &good,
                    "SigningCertURL",
                    format!("https://sns.{region}.amazonaws.com/{file}").into()
                )
            ),
            "{region}"
        );
    }
    assert!(is_missing(
        &scheme,
        &changed(
            &good,
            "SigningCertURL",
            format!("https://sns.cn-north-1.amazonaws.com.cn/{file}").into()
        )
    ));
    assert_eq!(asked_for(&scheme).len(), 5);
}

#[test]
fn a_subscription_is_confirmed_only_where_the_source_says_so_and_once() {
    let confirmation = serde_json::json!({ "Type": "SubscriptionConfirmation", "Token": "2336", "SubscribeURL": CONFIRM });
    let genuine = notification(confirmation);
    let ready = |confirm: &str| {
        let scheme = rig(&sns(confirm));
        assert!(is_missing(&scheme, &genuine));
        scheme
            .keep(&asked_for(&scheme)[0], &certificate((2025, 2026)))
            .expect("kept");
        scheme
    };
    let off = ready("off");
    assert_eq!(
        one(&off, &genuine, NOW).event_type.as_deref(),
        Some("SubscriptionConfirmation")
    );
    assert!(asked_for(&off).is_empty(), "nothing is visited");

    let on = ready("on");
    assert!(is_missing(&on, &genuine) && is_missing(&on, &genuine));
    let visits = asked_for(&on);
    assert_eq!(visits.iter().map(Fetch::url).collect::<Vec<_>>(), [CONFIRM]);
    on.keep(&visits[0], b"<ConfirmSubscriptionResponse/>")
        .expect("visited");
    for _ in 0..100 {
        let verdict = verify(&on, &genuine, UnixMillis(NOW));
        assert!(
            matches!(verdict, Ok(Verdict::Challenge(Answer { status: 200, .. }))),
            "{verdict:?}"
        );
    }
    assert!(asked_for(&on).is_empty(), "nothing is visited twice");
    // Not even a URL that is signed is visited anywhere else, nor one that is not signed at all.
    let elsewhere = CONFIRM.replace("amazonaws.com", "example.com");
    let signed = notification(
        serde_json::json!({ "Type": "SubscriptionConfirmation", "Token": "2336", "SubscribeURL": elsewhere }),
    );
    assert_eq!(refused(&on, &signed, NOW), Reason::PreconditionFailed);
    assert_eq!(
        refused(
            &on,
            &changed(&genuine, "SubscribeURL", format!("{CONFIRM}7").into()),
            NOW
        ),
        Reason::SignatureMismatch
    );
    assert!(asked_for(&on).is_empty());
}

#[test]
fn sources_that_cannot_be_right_are_refused_at_load() {
    let errors = |source: &SourceSpec| {
        Scheme::compile(source, 1)
            .expect_err("refused")
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    };
    assert!(errors(&source("aws-sns", &[])).contains("params.topic_arn"));
    assert!(errors(&sns("yes")).contains("params.confirm: write \"on\" or \"off\""));
    assert!(errors(&source("paypal", &[])).contains("params.webhook_id"));
    assert!(errors(&source("plaid", &[])).contains("secrets: give exactly one"));
    assert!(errors(&source("apple-app-store", &[])).contains("params.bundle_id"));
    assert!(errors(&source("truelayer", &[])).contains("public_url: missing"));
    assert!(errors(&source("contentful", &[SECRET])).contains("public_url: missing"));
    for (what, scheme) in [
        ("hosts", "cert_url = { hosts = [\"sns.*\"] }"),
        ("hosts", "cert_url = { hosts = [] }"),
        ("hosts", "cert_url = { hosts = [\"user@example.com\"] }"),
        (
            "params.region",
            "cert_url = { hosts = [\"sns.{param:region}.example.com\"] }\nparams = { region = \"*\" }",
        ),
        (
            "needs params.region",
            "cert_url = { hosts = [\"sns.{param:region}.example.com\"] }",
        ),
        ("path", "cert_url = { path = \"x\" }"),
        ("hash", "hash_by = false\nhash = \"md5\""),
        (
            "visit",
            "handshake = [{ when = { json = \"/Type\" }, visit = { from = \"json:/u\", hosts = [\"example.com\"], path = \"/\" } }]",
        ),
        ("canonical", "message = \"{canonical:unknown}\""),
    ] {
        assert!(
            errors(&with_scheme(sns("off"), scheme)).contains(what),
            "{scheme}: {}",
            errors(&with_scheme(sns("off"), scheme))
        );
    }
    let apple = with_scheme(
        source("apple-app-store", &[]),
        "jwt = { x5c = { root_pem = \"x\", leaf_oid = \"1.x\" } }",
    );
    assert!(errors(&apple).contains("root_pem is not a certificate"));
    let api = with_scheme(
        source("plaid", &[SECRET]),
        "jwt = { key_api = { url = \"http://example.com/\" } }\nparams = { client_id = \"c\" }",
    );
    assert!(errors(&api).contains("https://"));
    for (secret, said) in [("  ", "secrets[0]: is empty"), ("\u{0}", "")] {
        let plaid = SourceSpec {
            secrets: vec![Secret::new(secret.as_bytes())],
            ..plaid()
        };
        let told = Scheme::compile(&plaid, 1)
            .map(|_| ())
            .map_err(|errors| errors[0].to_string());
        assert_eq!(
            told.is_err_and(|told| told == said),
            !said.is_empty(),
            "{secret:?}"
        );
    }
    let binary = SourceSpec {
        secrets: vec![Secret::new(&b"\xff\xff"[..])],
        ..plaid()
    };
    assert!(errors(&binary).contains("secrets[0]: is not text"));
}

#[test]
fn no_key_is_asked_for_with_a_secret_that_was_not_read() {
    let (pkcs8, _) = plaid_key();
    let delivery = plaid_delivery(&pkcs8, "k-1", "{}", NOW);
    let unread = SourceSpec {
        secrets: vec![Secret::unread()],
        ..plaid()
    };
    let scheme = rig(&unread);
    assert_eq!(refused(&scheme, &delivery, NOW), Reason::SignatureMismatch);
    assert!(asked_for(&scheme).is_empty());
}

fn plaid() -> SourceSpec {
    SourceSpec {
        params: BTreeMap::from([("client_id".into(), "c1".into())]),
        ..source("plaid", &[SECRET])
    }
}

/// A key on P-256, as PKCS#8 and as a JSON Web Key.
fn plaid_key() -> (Vec<u8>, serde_json::Value) {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .expect("randomness");
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .expect("a key");
    let point = key.public_key().as_ref();
    let text = |bytes: &[u8]| mac::Encoding::Base64Url.encode(bytes);
    let jwk = serde_json::json!({ "alg": "ES256", "crv": "P-256", "kid": "k-1", "kty": "EC", "use": "sig", "x": text(&point[1..33]), "y": text(&point[33..]), "created_at": 1, "expired_at": null });
    (pkcs8.as_ref().to_vec(), jwk)
}

fn plaid_delivery(key: &[u8], kid: &str, body: &str, at: i64) -> Request {
    let source = with_scheme(
        plaid(),
        &format!("jwt = {{ header = {{ kid = \"{kid}\" }} }}"),
    );
    let inputs = SignInputs {
        private_key: Some(key.to_vec()),
        ..inputs(body.to_owned(), "1", at)
    };
    as_request(&sign(&source, &inputs).expect("signed"))
}

#[test]
fn a_key_is_asked_of_its_api_by_id() {
    let scheme = rig(&plaid());
    let (pkcs8, jwk) = plaid_key();
    let good = plaid_delivery(&pkcs8, "k-1", "{\n  \"webhook_type\": \"ITEM\"\n}", NOW);
    assert!(is_missing(&scheme, &good) && is_missing(&scheme, &good));
    let wanted = asked_for(&scheme);
    assert_eq!(wanted.len(), 1);
    assert_eq!(
        wanted[0].url(),
        "https://production.plaid.com/webhook_verification_key/get"
    );
    let asked: serde_json::Value =
        serde_json::from_slice(wanted[0].body().expect("a body")).expect("JSON");
    assert_eq!(
        asked,
        serde_json::json!({ "client_id": "c1", "secret": SECRET, "key_id": "k-1" })
    );
    assert!(
        !format!("{wanted:?}").contains(SECRET),
        "a secret is not shown"
    );

    let answer = |jwk: &serde_json::Value| {
        serde_json::json!({ "key": jwk, "request_id": "r" })
            .to_string()
            .into_bytes()
    };
    let mut expired = jwk.clone();
    expired["expired_at"] = 1_700_000_000.into();
    assert!(
        scheme.keep(&wanted[0], &answer(&expired)).is_err(),
        "a key that was taken out of use"
    );
    assert!(
        scheme
            .keep(
                &wanted[0],
                b"{\"error_code\":\"INVALID_WEBHOOK_VERIFICATION_KEY_ID\"}"
            )
            .is_err()
    );
    scheme.keep(&wanted[0], &answer(&jwk)).expect("kept");
    one(&scheme, &good, NOW);
    one(&scheme, &good, NOW + 299_000);
    assert_eq!(
        refused(&scheme, &good, NOW + 301_000),
        Reason::TimestampTooOld
    );
    assert_eq!(
        refused(
            &scheme,
            &Request {
                body: "{}".into(),
                ..good.clone()
            },
            NOW
        ),
        Reason::PreconditionFailed
    );
    let forged = plaid_delivery(&plaid_key().0, "k-1", "{}", NOW);
    assert_eq!(refused(&scheme, &forged, NOW), Reason::SignatureMismatch);
}

#[test]
fn ids_of_keys_are_plain_and_algorithms_are_those_of_the_scheme() {
    let scheme = rig(&plaid());
    let (pkcs8, _) = plaid_key();
    let long = "k".repeat(129);
    for kid in ["", "..", "a/b", "a?b", "a b", "a%2fb", "é", "a.b", &long] {
        assert_eq!(
            refused(&scheme, &plaid_delivery(&pkcs8, kid, "{}", NOW), NOW),
            Reason::SignatureMalformed,
            "{kid:?}"
        );
    }
    for alg in ["none", "HS256", "RS256"] {
        let source = with_scheme(
            plaid(),
            &format!("jwt = {{ header = {{ kid = \"k\", alg = \"{alg}\" }} }}"),
        );
        let inputs = SignInputs {
            private_key: Some(pkcs8.clone()),
            ..inputs("{}", "1", NOW)
        };
        let request = as_request(&sign(&source, &inputs).expect("signed"));
        assert_eq!(
            refused(&scheme, &request, NOW),
            Reason::SignatureMalformed,
            "{alg}"
        );
    }
    assert!(asked_for(&scheme).is_empty());
}

#[test]
fn atlassians_keys_are_in_pem_under_their_id() {
    let params = BTreeMap::from([("base_url".into(), "https://h.example".into())]);
    let source = SourceSpec {
        params,
        public_url: Some("https://h.example/installed".into()),
        ..source("jira-connect-installed", &[])
    };
    let signing = with_scheme(
        source.clone(),
        "jwt = { header = { kid = \"0e50fccb-239d\" } }",
    );
    let good = SignInputs {
        private_key: Some(RSA.to_vec()),
        ..inputs(r#"{"eventType":"installed"}"#, "1", NOW)
    };
    let good = as_request(&sign(&signing, &good).expect("signed"));
    let scheme = rig(&source);
    assert!(is_missing(&scheme, &good));
    let wanted = asked_for(&scheme);
    assert_eq!(
        (wanted[0].url(), wanted[0].body()),
        (
            "https://connect-install-keys.atlassian.com/0e50fccb-239d",
            None
        )
    );
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&RSA.into(), &PKCS_RSA_SHA256).expect("a key");
    scheme
        .keep(&wanted[0], key.public_key_pem().as_bytes())
        .expect("kept");
    assert_eq!(
        one(&scheme, &good, NOW).event_type.as_deref(),
        Some("installed")
    );
    // HS256 under what everybody can read: the public key.
    let confused = SourceSpec {
        params: source.params.clone(),
        public_url: source.public_url.clone(),
        ..super::source("jira-connect", &[&key.public_key_pem()])
    };
    let confused = with_scheme(
        confused,
        "jwt = { header = { kid = \"0e50fccb-239d\" }, claims = { aud = \"https://h.example\" } }",
    );
    let forged = as_request(&sign(&confused, &inputs("{}", "1", NOW)).expect("signed"));
    assert_eq!(refused(&scheme, &forged, NOW), Reason::SignatureMalformed);
}

#[test]
fn paypal_binds_webhook_transmission_and_checksum() {
    let params = BTreeMap::from([("webhook_id".into(), "9XL90610J3647323C".into())]);
    let source = SourceSpec {
        params,
        ..source("paypal", &[])
    };
    let inputs = SignInputs {
        private_key: Some(RSA.to_vec()),
        ..inputs(
            r#"{"id":"WH-1","event_type":"PAYMENT.SALE.COMPLETED"}"#,
            "t1",
            NOW,
        )
    };
    let good = as_request(&sign(&source, &inputs).expect("signed"));
    let scheme = rig(&source);
    assert!(is_missing(&scheme, &good));
    let wanted = asked_for(&scheme);
    assert_eq!(
        wanted[0].url(),
        "https://api.paypal.com/v1/notifications/certs/0123456789abcdef0123456789abcdef"
    );
    scheme
        .keep(&wanted[0], &certificate((2025, 2026)))
        .expect("kept");
    let event = one(&scheme, &good, NOW);
    assert!(
        event.signed.is_some(),
        "one transmission is one event, whatever its body says"
    );
    for at in 0..good.body.len() {
        let mut body = good.body.to_vec();
        body[at] ^= 1;
        assert_eq!(
            refused(
                &scheme,
                &Request {
                    body: body.into(),
                    ..good.clone()
                },
                NOW
            ),
            Reason::SignatureMismatch,
            "byte {at}"
        );
    }
    let with = |header: &str, value: &str| Request {
        headers: good
            .headers
            .iter()
            .filter(|(known, _)| *known != header)
            .cloned()
            .chain([(
                header.parse().expect("a name"),
                HeaderValue::from_str(value).expect("a value"),
            )])
            .collect(),
        ..good.clone()
    };
    for (header, value, reason) in [
        ("paypal-transmission-id", "t2", Reason::SignatureMismatch),
        (
            "paypal-transmission-time",
            "2025-06-15T15:06:41Z",
            Reason::SignatureMismatch,
        ),
        (
            "paypal-transmission-time",
            "2025-06-10T15:06:40Z",
            Reason::TimestampTooOld,
        ),
        (
            "paypal-auth-algo",
            "SHA1withRSA",
            Reason::PreconditionFailed,
        ),
        (
            "paypal-cert-url",
            "https://api.sandbox.paypal.com/v1/notifications/certs/example",
            Reason::PreconditionFailed,
        ),
        (
            "paypal-cert-url",
            "https://api.paypal.com.evil.example/v1/notifications/certs/example",
            Reason::PreconditionFailed,
        ),
        (
            "paypal-cert-url",
            "https://api.paypal.com/v1/notifications/certs/../x",
            Reason::PreconditionFailed,
        ),
        (
            "paypal-cert-url",
            "https://api.paypal.com/v1/oauth2/token",
            Reason::PreconditionFailed,
        ),
    ] {
        assert_eq!(
            refused(&scheme, &with(header, value), NOW),
            reason,
            "{header}: {value}"
        );
    }
}
