//! Cost of verification: the bare hash, a whole verification, a refusal, loading many sources,
//! looking one up. Run it with `cargo bench --bench verify`.
//!
//! Expected figures for bodies of 1 KB: a proof takes less than twice the time of the `bare` hash.
//! A proof is everything up to the comparison: `refused`, another signature. A refusal takes less
//! than any `verify`, which reads id and type besides.
//!
//! Expected figures for sources: 1,000 load in less than a second, and `look_up` takes the same
//! time for any number. Ratios between the lines of one run mean something. The figures themselves
//! belong to the machine.

use std::hint::black_box;

use bytes::Bytes;
use divan::Bencher;
use hmac::{Hmac, KeyInit, Mac};
use hookweir::config::Config;
use hookweir::config::model::Source;
use hookweir::domain::delivery::UnixMillis;
use hookweir::domain::request::Request;
use hookweir::source::Sources;
use hookweir::telemetry::Metrics;
use hookweir_signatures::sign::{SignInputs, sign};
use hookweir_signatures::{KeyRing, Scheme, verify};
use http::{HeaderName, HeaderValue};

const AT: UnixMillis = UnixMillis(1_750_000_000_000);
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    divan::main();
}

/// A body as providers send them, of about this size.
fn body(size: usize) -> Bytes {
    let mut lines = String::new();
    while lines.len() + 200 < size {
        let number = lines.len();
        lines.push_str(&format!(
            r#"{{"sku":"item-{number}","amount":{number},"currency":"eur","note":null}},"#
        ));
    }
    let lines = lines.trim_end_matches(',');
    format!(
        r#"{{"id":"evt_1","event_id":"evt_1","type":"order.paid","event":{{"type":"message"}},"data":{{"object":{{"lines":[{lines}]}}}}}}"#
    )
    .into()
}

fn source(provider: &str) -> Source {
    let toml = format!(
        "[[source]]\nname = \"s\"\nprovider = \"{provider}\"\nsecrets = [\"plain:{SECRET}\"]"
    );
    Config::from_toml(&toml)
        .expect("a configuration")
        .sources
        .remove(0)
}

/// A source, and what its provider sends.
fn signed(provider: &str, size: usize) -> (Source, Scheme, Request) {
    let source = source(provider);
    let scheme = Scheme::compile(&source.spec(), 1000).expect("a scheme");
    let inputs = SignInputs {
        body: body(size),
        id: "evt_1".into(),
        event_type: "order.paid".into(),
        at: AT,
        secret: 0,
        private_key: None,
    };
    let signed = sign(&source.spec(), &inputs).expect("it signs");
    let request = Request {
        method: signed.method,
        target: "/ingest/s".into(),
        headers: signed.headers.into_iter().collect(),
        body: signed.body,
        received_at: AT,
    };
    (source, scheme, request)
}

mod one_kilobyte {
    use super::*;

    #[divan::bench(sample_size = 100)]
    fn bare(bencher: Bencher<'_, '_>) {
        bare_hmac(bencher, 1024);
    }

    #[divan::bench(args = ["stripe", "github", "shopify", "slack", "standardwebhooks", "hmac"], sample_size = 100)]
    fn verify(bencher: Bencher<'_, '_>, provider: &str) {
        accepted(bencher, provider, 1024);
    }
}

mod sixty_four_kilobytes {
    use super::*;

    #[divan::bench]
    fn bare(bencher: Bencher<'_, '_>) {
        bare_hmac(bencher, 64 * 1024);
    }

    #[divan::bench(args = ["stripe", "github", "hmac"])]
    fn verify(bencher: Bencher<'_, '_>, provider: &str) {
        accepted(bencher, provider, 64 * 1024);
    }
}

fn bare_hmac(bencher: Bencher<'_, '_>, size: usize) {
    let key = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(SECRET.as_bytes()).expect("a key");
    let body = body(size);
    bencher.bench(|| {
        let mut mac = black_box(&key).clone();
        mac.update(black_box(&body));
        mac.finalize().into_bytes()
    });
}

fn accepted(bencher: Bencher<'_, '_>, provider: &str, size: usize) {
    let (_, scheme, request) = signed(provider, size);
    let check = || verify(black_box(&scheme), &KeyRing::EMPTY, black_box(&request), AT);
    assert!(check().is_ok(), "{provider}");
    bencher.bench(check);
}

/// Faults of refused deliveries.
const FAULTS: [&str; 5] = [
    "unsigned",
    "not a signature",
    "another signature",
    "another body",
    "stale",
];

#[divan::bench(args = FAULTS, sample_size = 100)]
fn refused(bencher: Bencher<'_, '_>, fault: &str) {
    let (_, scheme, good) = signed("stripe", 1024);
    let name = HeaderName::from_static("stripe-signature");
    let value = good
        .headers
        .get(&name)
        .and_then(|value| value.to_str().ok())
        .expect("a signature")
        .to_owned();
    let with = |text: &str| Request {
        headers: [(name.clone(), HeaderValue::from_str(text).expect("a value"))]
            .into_iter()
            .collect(),
        ..good.clone()
    };
    let mut now = AT;
    let request = match fault {
        "unsigned" => Request {
            headers: [].into_iter().collect(),
            ..good.clone()
        },
        "not a signature" => with("t=1750000000,v1=no"),
        "another signature" => with(&format!("{}{}", &value[..value.len() - 64], "0".repeat(64))),
        "another body" => Request {
            body: [&good.body[..], b" "].concat().into(),
            ..good.clone()
        },
        _ => {
            now = UnixMillis(AT.0 + 3_600_000);
            good.clone()
        }
    };
    let check = || {
        verify(
            black_box(&scheme),
            &KeyRing::EMPTY,
            black_box(&request),
            now,
        )
    };
    assert!(check().is_err(), "{fault}");
    bencher.bench(check);
}

/// The configuration of many sources: every provider with a plain secret in turn.
fn many(count: usize) -> String {
    let providers = [
        "stripe",
        "github",
        "shopify",
        "slack",
        "standardwebhooks",
        "paddle",
        "zoom",
        "typeform",
        "linear",
        "sentry",
    ];
    let one = |index: usize| {
        let provider = providers[index % providers.len()];
        format!(
            "[[source]]\nname = \"s{index}\"\npath = \"team/{index}\"\nprovider = \"{provider}\"\nsecrets = [\"plain:{SECRET}{index:016}\"]\n"
        )
    };
    (0..count).map(one).collect()
}

fn sources(text: &str) -> Sources {
    let config = Config::from_toml(text).expect("a configuration");
    Sources::compile(&config, &Metrics::new().expect("metrics")).expect("sources")
}

#[divan::bench(args = [10, 100, 1000], sample_count = 10)]
fn load_sources(bencher: Bencher<'_, '_>, count: usize) {
    let text = many(count);
    bencher.bench(|| sources(black_box(&text)));
}

#[divan::bench(args = [10, 1000, 10_000])]
fn look_up(bencher: Bencher<'_, '_>, count: usize) {
    let sources = sources(&many(count));
    // A few of them, so that it is the table that is measured and not the memory behind it.
    let paths: Vec<String> = (0..10)
        .map(|tenth| format!("team/{}", tenth * count / 10))
        .collect();
    let mut next = paths.iter().cycle();
    bencher.bench_local(|| {
        sources
            .at(black_box(next.next().expect("a cycle")))
            .map(|source| source.max_body_bytes)
    });
}
