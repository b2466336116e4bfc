//! Every preset, with keys made for it: it compiles, its example verifies, and the reference says of it what the engine does.

use p521::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};

use super::*;
use crate::verify::spec::{JwtAlg, Kind, Missing, SchemeSpec};

fn secret(text: impl AsRef<str>) -> Secret {
    Secret::new(text.as_ref().as_bytes())
}

/// A source of a provider with keys made up for it, and the private key where it signs with one.
pub(super) fn made_up(provider: &str) -> (Source, SchemeSpec, Option<Vec<u8>>) {
    let mut source = source(provider, &[]);
    let spec = spec_of(&source).unwrap_or_else(|error| panic!("{provider}: {error}"));
    let random = ring::rand::SystemRandom::new();
    let mut private_key = None;
    let mut public = |key: &[u8]| source.public_keys.push(secret(hex::encode(key)));
    match spec.kind {
        Kind::None => {}
        Kind::Basic => source.secrets.push(secret("user:long-password")),
        Kind::Ed25519 => {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).expect("randomness");
            public(
                Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())
                    .expect("a key")
                    .public_key()
                    .as_ref(),
            );
            private_key = Some(pkcs8.as_ref().to_vec());
        }
        Kind::EcdsaP256 => {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
                .expect("randomness");
            let key =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random)
                    .expect("a key");
            public(key.public_key().as_ref());
            private_key = Some(pkcs8.as_ref().to_vec());
        }
        Kind::Rsa => {
            let pkcs8 = include_bytes!("../../../tests/data/rsa-for-tests.pk8");
            public(
                RsaKeyPair::from_pkcs8(pkcs8)
                    .expect("a key")
                    .public_key()
                    .as_ref(),
            );
            private_key = Some(pkcs8.to_vec());
        }
        Kind::Jwt
            if spec
                .jwt
                .as_ref()
                .is_some_and(|jwt| jwt.algs[0] == JwtAlg::ES256) =>
        {
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
                .expect("randomness");
            let key =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
                    .expect("a key");
            let prefix =
                hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").expect("hex");
            public(&[&prefix, key.public_key().as_ref()].concat());
            private_key = Some(pkcs8.as_ref().to_vec());
        }
        Kind::Jwt
            if spec
                .jwt
                .as_ref()
                .is_some_and(|jwt| jwt.algs[0] == JwtAlg::ES512) =>
        {
            let mut bytes = [0; 66];
            ring::rand::SecureRandom::fill(&random, &mut bytes[1..]).expect("randomness");
            let key =
                p521::SecretKey::from_slice(&bytes).expect("less than the order of the curve");
            public(
                key.public_key()
                    .to_public_key_der()
                    .expect("DER")
                    .as_bytes(),
            );
            private_key = Some(key.to_pkcs8_der().expect("DER").as_bytes().to_vec());
        }
        Kind::Jwt
            if spec
                .jwt
                .as_ref()
                .is_some_and(|jwt| jwt.algs[0] == JwtAlg::RS256) =>
        {
            let pkcs8 = include_bytes!("../../../tests/data/rsa-for-tests.pk8");
            public(&rsa_spki(
                RsaKeyPair::from_pkcs8(pkcs8)
                    .expect("a key")
                    .public_key()
                    .as_ref(),
            ));
            private_key = Some(pkcs8.to_vec());
        }
        _ => source.secrets = vec![secret(SECRET), secret(SECRET.replace('0', "f"))],
    }
    source.public_url = Some("https://hooks.example.com/ingest/test".into());
    for (name, default) in params_of(&spec) {
        source.params.insert(name.clone(), default.unwrap_or(name));
    }
    (source, spec, private_key)
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

pub(super) fn signed(
    source: &Source,
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

fn example(provider: &str) -> Result<(), String> {
    let (source, spec, private_key) = made_up(provider);
    let scheme = Scheme::compile(&source, 1000).map_err(|errors| format!("{errors:?}"))?;
    let event = |id: &str| {
        let request = signed(&source, &spec, private_key.clone(), id)?;
        let mut events = match verify(&name("test"), &scheme, &request, UnixMillis(NOW)) {
            Ok(Verdict::Events(verified)) => verified.into_events(),
            other => return Err(format!("{other:?} for {:?}", request.body)),
        };
        if events.len() == 1 {
            Ok(events.remove(0))
        } else {
            Err(format!("{} events", events.len()))
        }
    };
    let (first, second, again) = (event("evt_1")?, event("evt_2")?, event("evt_1")?);
    if first.key == second.key {
        return Err("two events are one".into());
    }
    if first.key != again.key && spec.event.missing != Missing::Unique {
        return Err("a redelivery is another event".into());
    }
    if !spec.event.id.is_empty() && !first.id.as_str().contains("evt_1") {
        return Err(format!("the id is {}", first.id.as_str()));
    }
    Ok(())
}

fn no_failures(check: impl Fn(&str) -> Result<(), String>) {
    let failures: Vec<_> = presets::names()
        .filter_map(|provider| {
            check(provider)
                .err()
                .map(|error| format!("{provider}: {error}"))
        })
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_preset_verifies_its_example() {
    no_failures(example);
}

#[test]
fn no_preset_verifies_under_another_key() {
    no_failures(|provider| {
        let (source, spec, private_key) = made_up(provider);
        let mut other = made_up(provider).0;
        for (index, known) in other.secrets.iter_mut().enumerate() {
            *known = match spec.kind {
                Kind::Basic => secret(format!("user:another-password-{index}")),
                _ => secret(SECRET.replace('1', if index == 0 { "e" } else { "d" })),
            };
        }
        if spec.kind == Kind::None
            || private_key.is_some() && source.public_keys[0].expose().len() > 200
        {
            return Ok(());
        }
        let request = signed(&source, &spec, private_key, "evt_1")?;
        match verify(&name("test"), &compiled(&other), &request, UnixMillis(NOW)) {
            Err(_) => Ok(()),
            Ok(verdict) => Err(format!("{verdict:?}")),
        }
    });
}

#[test]
fn nothing_from_the_future_verifies_where_the_preset_says_so() {
    no_failures(|provider| {
        let (source, spec, private_key) = made_up(provider);
        let Some(ts) = spec.ts.as_ref().filter(|ts| ts.tolerance > 0 && ts.future) else {
            return Ok(());
        };
        let request = signed(&source, &spec, private_key, "evt_1")?;
        let before = NOW - i64::try_from(ts.tolerance).expect("small") * 1000 - 2000;
        match verify(
            &name("test"),
            &compiled(&source),
            &request,
            UnixMillis(before),
        ) {
            Err(_) => Ok(()),
            Ok(verdict) => Err(format!("{verdict:?}")),
        }
    });
}

#[test]
fn the_reference_says_what_the_engine_does() {
    for provider in presets::names() {
        let (source, ..) = made_up(provider);
        let facts = compiled(&source).facts().clone();
        let page = reference::page(provider).expect("a page");
        assert_eq!(
            page.contains("| body | covered by the proof |"),
            facts.body_covered,
            "{provider}: body"
        );
        if page.contains(": signed, ") || page.contains(": not signed, ") {
            assert_eq!(
                page.contains(": signed, "),
                facts.id_covered,
                "{provider}: id"
            );
        }
        assert!(
            page.contains(&format!("| counts as a duplicate | {} |", facts.duplicates)),
            "{provider}: {}",
            facts.duplicates
        );
        assert_eq!(
            page.contains("**Unconfirmed.**"),
            !facts.confirmed,
            "{provider}: confirmed"
        );
    }
}
