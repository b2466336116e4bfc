//! Requests that nobody signed: none is accepted, none panics, and what they cost is bounded.

use super::*;
use crate::language::spec::{Kind, SchemeSpec};

/// A small generator (xorshift), so that a failure can be repeated by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % below.max(1)
    }

    fn pick<'t>(&mut self, words: &[&'t [u8]]) -> &'t [u8] {
        words[self.next(words.len())]
    }

    /// Bytes out of the words of schemes and out of nothing.
    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        const WORDS: &[&[u8]] = &[
            b"t=",
            b"v1=",
            b"v1,",
            b"sha256=",
            b",",
            b" ",
            b";",
            b"=",
            b"&",
            b".",
            b"Bearer ",
            b"Basic ",
            b"1750000000",
            b"1750000000000",
            b"e30",
            b"eyJhbGciOiJIUzI1NiJ9",
            b"2025-06-15T15:06:40Z",
            b"{",
            b"}",
            b"[",
            b"]",
            b"\"id\":",
            b"\"",
            b"\\u0000",
            b"null",
            b"[]",
            b"{}",
            b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            b"--b\r\n",
            b"\r\n\r\n",
            b"\x1f\x8b\x08",
            b"\xff\xfe",
            b"%2",
            b"+",
        ];
        let mut bytes = Vec::new();
        for _ in 0..self.next(longest) {
            match self.next(4) {
                0 => bytes.push(u8::try_from(self.next(256)).expect("a byte")),
                _ => bytes.extend_from_slice(self.pick(WORDS)),
            }
        }
        bytes
    }
}

/// Most of the inputs: what a provider would send, but signed with another key, and then changed
/// here and there.
impl Random {
    fn nearly(&mut self, forged: &Request) -> Request {
        let mut request = forged.clone();
        for _ in 0..self.next(4) {
            match self.next(8) {
                0 => request.method = Method::GET,
                1 => {
                    request.target = format!(
                        "{}&{}",
                        request.target,
                        String::from_utf8_lossy(&self.bytes(4))
                    )
                }
                2..4 if !request.body.is_empty() => {
                    let mut body = request.body.to_vec();
                    self.change(&mut body);
                    request.body = body.into();
                }
                _ if request.headers.iter().next().is_some() => {
                    let mut headers: Vec<_> = request.headers.iter().cloned().collect();
                    let at = self.next(headers.len());
                    let mut value = headers[at].1.as_bytes().to_vec();
                    self.change(&mut value);
                    value.retain(|b| *b >= 32 && *b != 127);
                    let name = headers[at].0.clone();
                    match (self.next(8), HeaderValue::from_bytes(&value)) {
                        (0, _) => drop(headers.remove(at)),
                        (1, Ok(value)) => headers.push((name, value)),
                        (_, Ok(value)) => headers[at].1 = value,
                        _ => {}
                    }
                    request.headers = headers.into();
                }
                _ => {}
            }
        }
        request
    }

    /// A byte more, a byte less, another byte, a few words, or a part twice.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.next(bytes.len() + 1);
        match self.next(5) {
            0 if at < bytes.len() => drop(bytes.remove(at)),
            1 if at < bytes.len() => bytes[at] ^= 1 << self.next(8),
            2 => bytes.truncate(at),
            3 => {
                let words = self.bytes(3);
                bytes.splice(at..at, words);
            }
            _ => {
                let part = bytes[at..]
                    .iter()
                    .take(self.next(40))
                    .copied()
                    .collect::<Vec<_>>();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// Returns a request of `provider` with a stranger's key, and right otherwise. RSA keys are not
/// made here: with RSA, the signature is broken instead.
fn forged(provider: &str, source: &SourceSpec) -> Request {
    let (mut stranger, spec, private_key) = made_up(provider);
    for known in &mut stranger.secrets {
        let text = String::from_utf8_lossy(known.expose())
            .replace("user:long", "user:other")
            .replace('1', "e");
        *known = Secret::new(text.into_bytes());
    }
    let rsa = private_key.is_some() && source.public_keys[0].expose().len() > 200;
    let mut request = signed(&stranger, &spec, private_key, "evt_1")
        .unwrap_or_else(|error| panic!("{provider}: {error}"));
    if rsa {
        let broken = |text: &[u8]| {
            text.iter()
                .map(|b| {
                    if *b == b'A' {
                        b'B'
                    } else if *b == b'B' {
                        b'A'
                    } else {
                        *b
                    }
                })
                .collect::<Vec<u8>>()
        };
        let headers = request.headers.iter().map(|(n, v)| {
            (
                n.clone(),
                HeaderValue::from_bytes(&broken(v.as_bytes())).expect("text"),
            )
        });
        request.headers = headers.collect();
        request.body = broken(&request.body).into();
    }
    request
}

/// `HOOKWEIR_FUZZ_INPUTS=10000000 cargo test --release verify::tests::fuzz` for more than the
/// usual.
#[test]
fn nothing_unsigned_is_accepted_and_nothing_panics() {
    let inputs: usize = std::env::var("HOOKWEIR_FUZZ_INPUTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let seed = std::env::var("HOOKWEIR_FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0x5eed_5eed_5eed_5eed);
    let cases: Vec<_> = presets::names()
        .map(made_up)
        .filter(|(_, spec, _)| spec.kind != Kind::None)
        .collect();
    let scheme = |(source, spec, _): &(SourceSpec, _, _)| {
        let provider = source.provider.clone().expect("a provider");
        (
            forged(&provider, source),
            provider,
            SchemeSpec::clone(spec),
            compiled(source),
        )
    };
    let schemes: Vec<_> = cases.iter().map(scheme).collect();
    let mut random = Random(seed);
    for input in 0..inputs {
        let (forged, provider, spec, scheme) = &schemes[input % schemes.len()];
        if random.next(8) > 0 {
            let request = random.nearly(forged);
            let verdict = verify(scheme, &request, UnixMillis(NOW));
            assert!(
                !matches!(verdict, Ok(Verdict::Events(_))),
                "seed {seed}, input {input}, {provider}: {request:?}"
            );
            continue;
        }
        let mut names = spec.header_names();
        names.extend(["content-type", "authorization"]);
        let mut headers = Vec::new();
        for name in names {
            let Ok(name) = name.parse::<HeaderName>() else {
                continue;
            };
            for _ in 0..=random.next(2) {
                let value = random
                    .bytes(8)
                    .into_iter()
                    .filter(|b| *b >= 32 && *b != 127)
                    .collect::<Vec<_>>();
                headers.extend(HeaderValue::from_bytes(&value).map(|value| (name.clone(), value)));
            }
        }
        let request = Request {
            method: if random.next(8) == 0 {
                Method::GET
            } else {
                Method::POST
            },
            target: format!("/?{}", String::from_utf8_lossy(&random.bytes(6))),
            headers: headers.into_iter().collect(),
            body: random.bytes(20).into(),
            received_at: UnixMillis(NOW),
        };
        let verdict = verify(scheme, &request, UnixMillis(NOW));
        assert!(
            !matches!(verdict, Ok(Verdict::Events(_))),
            "seed {seed}, input {input}, {provider:?}: {request:?}"
        );
    }
}
