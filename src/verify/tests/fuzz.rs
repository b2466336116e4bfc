//! Requests that nobody signed: none is accepted, none panics, and what they cost is bounded.

use super::catalogue::made_up;
use super::*;
use crate::verify::spec::Kind;

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

/// `HOOKWEIR_FUZZ_INPUTS=10000000 cargo test --release verify::tests::fuzz` for more than the usual.
#[test]
fn nothing_unsigned_is_accepted_and_nothing_panics() {
    let inputs: usize = std::env::var("HOOKWEIR_FUZZ_INPUTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let seed = std::env::var("HOOKWEIR_FUZZ_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0x5eed_5eed_5eed_5eed);
    let cases: Vec<_> = presets::names().map(made_up).filter(|(_, spec, _)| spec.kind != Kind::None).collect();
    let schemes: Vec<_> = cases.iter().map(|(source, spec, _)| (source.provider.clone(), spec, compiled(source))).collect();
    let mut random = Random(seed);
    for input in 0..inputs {
        let (provider, spec, scheme) = &schemes[input % schemes.len()];
        let mut places: Vec<&str> = spec.sig.iter().map(|sig| sig.from.as_str()).collect();
        places.extend(spec.ts.iter().map(|ts| ts.from.as_str()));
        places.extend(spec.jwt.iter().map(|jwt| jwt.from.as_str()));
        places.extend(spec.require.keys().map(String::as_str));
        places.extend(["header:content-type", "header:authorization"]);
        let mut headers = Vec::new();
        for place in places {
            let Some(Ok(name)) = place.strip_prefix("header:").map(str::parse::<HeaderName>) else { continue };
            for _ in 0..=random.next(2) {
                let value = random.bytes(8).into_iter().filter(|b| *b >= 32 && *b != 127).collect::<Vec<_>>();
                headers.extend(HeaderValue::from_bytes(&value).map(|value| (name.clone(), value)));
            }
        }
        let request = Request {
            method: if random.next(8) == 0 { Method::GET } else { Method::POST },
            target: format!("/?{}", String::from_utf8_lossy(&random.bytes(6))),
            headers: headers.into_iter().collect(),
            body: random.bytes(20).into(),
            received_at: UnixMillis(NOW),
        };
        let verdict = verify(&name("test"), scheme, &request, UnixMillis(NOW));
        assert!(!matches!(verdict, Ok(Verdict::Events(_))), "seed {seed}, input {input}, {provider:?}: {request:?}");
    }
}
