//! Test kit: sources with generated keys, and signed requests. For the tests of this crate and of
//! crates that use it.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use p521::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RsaKeyPair,
};

use crate::sign::{SignInputs, SignedRequest, sample_body, sign};
use crate::spec::{JwtAlg, Kind, SchemeSpec};
use crate::{
    KeyRing, Reason, Refusal, Request, Scheme, Secret, SourceSpec, UnixMillis, Verdict,
    VerifiedEvent, params_of, spec_of,
};

/// A source of a provider with these secrets.
pub fn source(provider: &str, secrets: &[&str]) -> SourceSpec {
    SourceSpec {
        secrets: secrets
            .iter()
            .map(|secret| Secret::new(secret.as_bytes()))
            .collect(),
        routes_by_type: true,
        ..SourceSpec::of(provider)
    }
}

/// The source with a scheme of its own.
pub fn with_scheme(mut source: SourceSpec, toml: &str) -> SourceSpec {
    source.scheme = Some(toml.parse().expect("TOML"));
    source
}

/// The compiled scheme of a source.
pub fn compiled(source: &SourceSpec) -> Scheme {
    Scheme::compile(source, 1000)
        .unwrap_or_else(|errors| panic!("{:?}: {errors:?}", source.provider))
}

/// A request.
pub fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
    Request {
        method: Method::from_bytes(method.as_bytes()).expect("a method"),
        target: target.into(),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    name.parse::<HeaderName>().expect("a name"),
                    HeaderValue::from_str(value).expect("a value"),
                )
            })
            .collect(),
        body: Bytes::copy_from_slice(body),
        received_at: UnixMillis(0),
    }
}

/// A signed request as it arrives.
pub fn as_request(signed: &SignedRequest) -> Request {
    let query = if signed.query.is_empty() {
        String::new()
    } else {
        format!("?{}", signed.query)
    };
    Request {
        method: signed.method.clone(),
        target: format!("/ingest/test{query}"),
        headers: signed.headers.iter().cloned().collect(),
        body: signed.body.clone(),
        received_at: UnixMillis(0),
    }
}

/// Inputs of a signature by the first secret.
pub fn inputs(body: impl Into<Bytes>, id: &str, at: i64) -> SignInputs {
    SignInputs {
        body: body.into(),
        id: id.into(),
        event_type: "example.created".into(),
        at: UnixMillis(at),
        secret: 0,
        private_key: None,
    }
}

/// Scheme with keys at hand; a scheme alone has those of its configuration.
pub trait Keyed {
    /// Verifies a request.
    fn verify(&self, request: &Request, now: UnixMillis) -> Result<Verdict, Refusal>;
}

impl Keyed for Scheme {
    fn verify(&self, request: &Request, now: UnixMillis) -> Result<Verdict, Refusal> {
        crate::verify(self, &KeyRing::EMPTY, request, now)
    }
}

/// Verifies a request by a scheme with the keys at hand.
pub fn verify(scheme: &impl Keyed, request: &Request, now: UnixMillis) -> Result<Verdict, Refusal> {
    scheme.verify(request, now)
}

/// The events of a request.
pub fn events(
    scheme: &impl Keyed,
    request: &Request,
    at: i64,
) -> Result<Vec<VerifiedEvent>, Refusal> {
    match verify(scheme, request, UnixMillis(at))? {
        Verdict::Events(verified) => Ok(verified.into_events()),
        verdict => panic!("no events: {verdict:?}"),
    }
}

/// The only event of a request.
pub fn one(scheme: &impl Keyed, request: &Request, at: i64) -> VerifiedEvent {
    let mut events =
        events(scheme, request, at).unwrap_or_else(|rejection| panic!("{rejection:?}"));
    assert_eq!(events.len(), 1);
    events.remove(0)
}

/// The reason for which a request is refused.
pub fn refused(scheme: &impl Keyed, request: &Request, at: i64) -> Reason {
    match verify(scheme, request, UnixMillis(at)) {
        Err(rejection) => rejection.reason,
        Ok(verdict) => panic!("{verdict:?}"),
    }
}

/// Time of the tests.
pub const NOW: i64 = 1_750_000_000_000;
/// A secret that is long enough.
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A secret of this text.
pub fn secret(text: impl AsRef<str>) -> Secret {
    Secret::new(text.as_ref().as_bytes())
}

/// A source of a provider with keys made up for it, and the private key where it signs with one.
pub fn made_up(provider: &str) -> (SourceSpec, SchemeSpec, Option<Vec<u8>>) {
    let mut source = source(provider, &[]);
    let spec = spec_of(&source).unwrap_or_else(|error| panic!("{provider}: {error}"));
    let alg = spec.jwt.as_ref().map(|jwt| jwt.algorithms[0]);
    let pair = match (spec.kind, alg) {
        (Kind::Ed25519, _) => Some(ed25519_pair()),
        (Kind::EcdsaP256, _) => Some(p256_pair(&ECDSA_P256_SHA256_ASN1_SIGNING)),
        (Kind::Rsa, _) => Some(rsa_pair()),
        (Kind::Jwt, Some(JwtAlg::ES256)) => {
            let (private, point) = p256_pair(&ECDSA_P256_SHA256_FIXED_SIGNING);
            let prefix = hex::decode(P256_SPKI).expect("hex");
            Some((private, [prefix, point].concat()))
        }
        (Kind::Jwt, Some(JwtAlg::ES512)) => Some(p521_pair()),
        (Kind::Jwt, Some(JwtAlg::RS256)) => {
            let (private, public) = rsa_pair();
            Some((private, rsa_spki(&public)))
        }
        _ => None,
    };
    match (&pair, spec.kind) {
        (Some((_, public)), _) => source.public_keys.push(secret(hex::encode(public))),
        (None, Kind::None) => {}
        (None, Kind::Basic) => source.secrets.push(secret("user:long-password")),
        (None, _) => source.secrets = vec![secret(SECRET), secret(SECRET.replace('0', "f"))],
    }
    source.public_url = Some("https://hooks.example.com/ingest/test".into());
    for (name, default) in params_of(&spec) {
        source.params.insert(name.clone(), default.unwrap_or(name));
    }
    (source, spec, pair.map(|(private, _)| private))
}

/// Start of a public key on P-256 as a certificate or PEM has it.
const P256_SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";

/// A private key as PKCS#8, and its public half.
type Pair = (Vec<u8>, Vec<u8>);

fn ed25519_pair() -> Pair {
    let private = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("randomness");
    let key = Ed25519KeyPair::from_pkcs8(private.as_ref()).expect("a key");
    let public = key.public_key().as_ref().to_vec();
    (private.as_ref().to_vec(), public)
}

fn p256_pair(algorithm: &'static EcdsaSigningAlgorithm) -> Pair {
    let random = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("randomness");
    let key = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).expect("a key");
    let public = key.public_key().as_ref().to_vec();
    (private.as_ref().to_vec(), public)
}

fn p521_pair() -> Pair {
    let mut bytes = [0; 66];
    SystemRandom::new()
        .fill(&mut bytes[1..])
        .expect("randomness");
    let key = p521::SecretKey::from_slice(&bytes).expect("less than the order of the curve");
    let public = key.public_key().to_public_key_der().expect("DER");
    let private = key.to_pkcs8_der().expect("DER");
    (private.as_bytes().to_vec(), public.as_bytes().to_vec())
}

fn rsa_pair() -> Pair {
    let private = include_bytes!("../tests/data/rsa-for-tests.pk8");
    let key = RsaKeyPair::from_pkcs8(private).expect("a key");
    (private.to_vec(), key.public_key().as_ref().to_vec())
}

/// A public key of RSA as a certificate or PEM has it.
fn rsa_spki(key: &[u8]) -> Vec<u8> {
    let element = |tag: u8, value: &[u8]| {
        [
            &[tag, 0x82],
            &u16::try_from(value.len()).expect("short").to_be_bytes()[..],
            value,
        ]
        .concat()
    };
    let algorithm = hex::decode("300d06092a864886f70d0101010500").expect("hex");
    element(
        0x30,
        &[algorithm, element(0x03, &[&[0], key].concat())].concat(),
    )
}

/// A request of a provider as it arrives, with its sample body.
pub fn signed(
    source: &SourceSpec,
    spec: &SchemeSpec,
    private_key: Option<Vec<u8>>,
    id: &str,
) -> Result<Request, String> {
    let inputs = SignInputs {
        private_key,
        ..inputs(sample_body(spec, id, UnixMillis(NOW)), id, NOW)
    };
    sign(source, &inputs)
        .map(|signed| as_request(&signed))
        .map_err(|error| error.to_string())
}
