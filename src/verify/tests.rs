//! Documented examples, tampering, and signing back and forth, for every preset.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use super::sign::{SignInputs, SignedRequest, sample_body, sign};
use super::*;
use crate::config::model::Source;
use crate::config::secret::Secret;

mod canonical;
mod catalogue;
mod certificates;
mod engine;
mod facts;
mod fuzz;
mod handshakes;
mod http_signatures;
mod identity;
mod identity_cases;
mod named_keys;
mod rules;
mod stored;
mod tamper;
mod vectors;

fn name(text: &str) -> SourceName {
    SourceName::parse(text).expect("a source name")
}

fn source(provider: &str, secrets: &[&str]) -> Source {
    Source {
        name: name("test"),
        path: "test".into(),
        provider: Some(provider.into()),
        secrets: secrets
            .iter()
            .map(|secret| Secret::new(secret.as_bytes()))
            .collect(),
        learn_secret: false,
        public_keys: Vec::new(),
        jwks: None,
        public_url: None,
        params: BTreeMap::new(),
        forward_headers: Vec::new(),
        routing_key: None,
        split: None,
        drop_same_bytes: None,
        max_body_bytes: None,
        deadline: None,
        window: None,
        allow_unverified_public: false,
        scheme: None,
    }
}

fn with_scheme(mut source: Source, toml: &str) -> Source {
    source.scheme = Some(toml.parse().expect("TOML"));
    source
}

fn compiled(source: &Source) -> Scheme {
    Scheme::compile(source, 1000)
        .unwrap_or_else(|errors| panic!("{:?}: {errors:?}", source.provider))
}

fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
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

fn as_request(signed: &SignedRequest) -> Request {
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

fn inputs(body: impl Into<Bytes>, id: &str, at: i64) -> SignInputs {
    SignInputs {
        body: body.into(),
        id: id.into(),
        event_type: "example.created".into(),
        at: UnixMillis(at),
        secret: 0,
        private_key: None,
    }
}

fn events(scheme: &Scheme, request: &Request, at: i64) -> Result<Vec<VerifiedEvent>, Rejection> {
    match verify(&name("test"), scheme, request, UnixMillis(at))? {
        Verdict::Events(verified) => Ok(verified.into_events()),
        Verdict::KeysMissing | Verdict::Learn { .. } => panic!("no keys: {}", scheme.describe()),
        Verdict::Challenge(answer) => panic!("a challenge: {answer:?}: {}", scheme.describe()),
    }
}

fn one(scheme: &Scheme, request: &Request, at: i64) -> VerifiedEvent {
    let mut events =
        events(scheme, request, at).unwrap_or_else(|rejection| panic!("{rejection:?}"));
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn refused(scheme: &Scheme, request: &Request, at: i64) -> RejectReason {
    match verify(&name("test"), scheme, request, UnixMillis(at)) {
        Err(rejection) => rejection.reason,
        Ok(verdict) => panic!("{verdict:?}"),
    }
}

const NOW: i64 = 1_750_000_000_000;
const SECRET: &str = "0123456789abcdef0123456789abcdef";
