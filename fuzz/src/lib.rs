//! The parts of Hookweir that are fuzzed, compiled from their own files, and what the targets share.

#![allow(
    dead_code,
    unused_imports,
    reason = "only a part of each module is used here"
)]

#[path = "../../src/config/mod.rs"]
pub mod config;
#[path = "../../src/domain/mod.rs"]
pub mod domain;
#[path = "../../src/runtime"]
mod runtime {
    pub mod disk;
    pub mod folder;
}
#[path = "../../src/publish/sinks/file"]
pub mod file {
    pub mod access;
    pub mod file_name;
    pub mod recovery;
    pub mod writer;
}
#[path = "../../src/publish/routing_key.rs"]
mod routing_key;
#[path = "../../src/verify/mod.rs"]
pub mod verify;

/// What is needed of stages that are not here: the grammar of routing keys, with nothing to fill in, and three numbers for the memory bound,
/// which nobody reads here.
mod publish {
    pub(crate) use crate::routing_key;
}
mod http {
    pub fn connection_bytes(_: &crate::config::model::Limits) -> usize {
        0
    }
}
mod spool {
    pub const EVENT_OVERHEAD: u64 = 2048;
}
mod telemetry {
    pub mod log_queue {
        pub const BYTES: usize = 4 << 20;
    }
}

use std::collections::BTreeMap;

use bytes::Bytes;
use config::model::Source;
use config::secret::Secret;
use domain::delivery::{SourceName, UnixMillis};
use domain::request::Request;
use verify::spec::Kind;
use verify::{Scheme, Verdict};

pub const NOW: UnixMillis = UnixMillis(1_750_000_000_000);

/// A source without keys.
pub fn source(provider: Option<&str>, scheme: Option<toml::Table>) -> Source {
    Source {
        name: SourceName::parse("test").expect("a name"),
        path: "test".into(),
        provider: provider.map(Into::into),
        secrets: Vec::new(),
        public_keys: Vec::new(),
        learn_secret: false,
        jwks: None,
        public_url: Some("https://hooks.example.com/ingest/test".into()),
        params: BTreeMap::new(),
        forward_headers: Vec::new(),
        routing_key: None,
        split: None,
        drop_same_bytes: None,
        max_body_bytes: None,
        deadline: None,
        window: None,
        allow_unverified_public: false,
        scheme,
    }
}

/// `source` with keys of the kind that its scheme wants; none of them is in any input.
pub fn with_keys(mut source: Source) -> Option<(Source, Scheme)> {
    use ring::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair,
    };
    let spec = verify::spec_of(&source).ok()?;
    for (name, default) in verify::params_of(&spec) {
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
) -> domain::request::Headers {
    let pairs = names.into_iter().filter_map(|name| {
        let value = ::http::HeaderValue::from_bytes(lines.next()?).ok()?;
        Some((name.parse::<::http::HeaderName>().ok()?, value))
    });
    pairs.collect()
}

/// A POST.
pub fn post(target: String, headers: domain::request::Headers, body: &[u8]) -> Request {
    Request {
        method: ::http::Method::POST,
        target,
        headers,
        body: Bytes::copy_from_slice(body),
        received_at: NOW,
    }
}

/// Verifies a request that nobody signed: it is no event, whatever it says.
pub fn refuse(source: &Source, scheme: &Scheme, request: &Request) {
    let verdict = verify::verify(&source.name, scheme, request, NOW);
    assert!(
        !scheme.verifies() || !matches!(verdict, Ok(Verdict::Events(_))),
        "accepted: {} {request:?}",
        scheme.describe()
    );
}
