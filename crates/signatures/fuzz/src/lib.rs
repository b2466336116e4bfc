//! Parts that the fuzz targets share: sources with keys that are in no input, and requests.

use bytes::Bytes;
use hookweir_signatures::spec::Kind;
use hookweir_signatures::{
    Headers, KeyRing, Request, Scheme, Secret, SourceSpec, UnixMillis, Verdict, params_of, spec_of, verify,
};

pub const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

/// A source without keys.
pub fn source(provider: Option<&str>, scheme: Option<toml::Table>) -> SourceSpec {
    SourceSpec {
        provider: provider.map(Into::into),
        public_url: Some("https://hooks.example.com/ingest/test".into()),
        scheme,
        ..SourceSpec::default()
    }
}

/// `source` with keys of the kind that its scheme wants; none of them is in any input.
pub fn with_keys(mut source: SourceSpec) -> Option<(SourceSpec, Scheme)> {
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
    };
    let spec = spec_of(&source).ok()?;
    for (name, default) in params_of(&spec) {
        source.params.insert(name.clone(), default.unwrap_or(name));
    }
    if spec.kind == Kind::Basic {
        source
            .secrets
            .push(Secret::new(&b"somebody:a long password"[..]));
    } else if spec.kind != Kind::None {
        source
            .secrets
            .push(Secret::new(&b"7f3a9c51e2d8460bb1f04c7793ad5e28"[..]));
    }
    let random = ring::rand::SystemRandom::new();
    let ed25519 = || {
        hex::encode(
            Ed25519KeyPair::from_seed_unchecked(&[7; 32])
                .expect("a seed")
                .public_key(),
        )
    };
    let p256 = || {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .expect("randomness");
        hex::encode(
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random)
                .expect("a key")
                .public_key(),
        )
    };
    let rsa = || {
        let pkcs8 = include_bytes!("../../tests/data/rsa-for-tests.pk8");
        hex::encode(RsaKeyPair::from_pkcs8(pkcs8).expect("a key").public_key())
    };
    if let Ok(scheme) = Scheme::compile(&source, 1000) {
        return Some((source, scheme));
    }
    let secrets = std::mem::take(&mut source.secrets);
    for key in [ed25519(), p256(), rsa()] {
        source.public_keys = vec![Secret::new(key.into_bytes())];
        for secrets in [Vec::new(), secrets.clone()] {
            source.secrets = secrets;
            if let Ok(scheme) = Scheme::compile(&source, 1000) {
                return Some((source, scheme));
            }
        }
    }
    None
}

/// The headers that a request is made of: names, and what stands in a line each.
pub fn headers<'n>(
    names: impl IntoIterator<Item = &'n str>,
    lines: &mut dyn Iterator<Item = &[u8]>,
) -> Headers {
    let pairs = names.into_iter().filter_map(|name| {
        let value = http::HeaderValue::from_bytes(lines.next()?).ok()?;
        Some((name.parse::<http::HeaderName>().ok()?, value))
    });
    pairs.collect()
}

/// A POST.
pub fn post(target: String, headers: Headers, body: &[u8]) -> Request {
    Request {
        method: http::Method::POST,
        target,
        headers,
        body: Bytes::copy_from_slice(body),
        received_at: NOW,
    }
}

/// Verifies a request that nobody signed: it is no event, whatever it says.
pub fn refuse(scheme: &Scheme, request: &Request) {
    let verdict = verify(scheme, &KeyRing::EMPTY, request, NOW);
    assert!(
        !scheme.verifies() || !matches!(verdict, Ok(Verdict::Events(_))),
        "accepted: {} {request:?}",
        scheme.describe()
    );
}
