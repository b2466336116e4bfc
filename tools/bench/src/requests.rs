//! Signed deliveries, cheap to make: only the end of a body differs from one to the next, so that the signature is finished from a state
//! in which all of the rest is in already.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The secret of the source `stripe`.
pub(crate) const SECRET: &str = "whsec_0f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// Time for which a signed timestamp is reused; Stripe's tolerance is 300 s.
const SIGNED_FOR: Duration = Duration::from_secs(60);
/// Length of `evt_` and the digits behind it.
const ID: usize = 4 + 8 + 12;
const TAIL: &str = "\"id\":\"evt_00000000000000000000\",\"type\":\"invoice.paid\"}";

/// Makes the deliveries of one run.
pub(crate) struct Requests {
    /// Part of each id, so that the ids of two runs differ.
    run: u32,
    /// All of the body but for its tail.
    shared: Vec<u8>,
    signed: Signed,
}

struct Signed {
    since: Instant,
    seconds: u64,
    /// Has taken the time and the shared part of the body.
    state: Hmac<Sha256>,
}

/// The part of a delivery that is its own; the shared part of the body goes between the two.
#[derive(Default)]
pub(crate) struct Own {
    pub(crate) head: Vec<u8>,
    pub(crate) tail: Vec<u8>,
}

impl Requests {
    /// Deliveries with bodies of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let shared = shared_body(size);
        let signed = Signed::new(&shared);
        Self {
            run: fastrand::u32(..),
            shared,
            signed,
        }
    }

    pub(crate) fn shared(&self) -> &[u8] {
        &self.shared
    }

    /// Size of a body.
    pub(crate) fn size(&self) -> usize {
        self.shared.len() + TAIL.len()
    }

    /// The body of delivery `n`.
    pub(crate) fn body(&self, n: u64) -> Vec<u8> {
        [&self.shared[..], &self.tail(n)].concat()
    }

    fn tail(&self, n: u64) -> Vec<u8> {
        let mut tail = TAIL.as_bytes().to_vec();
        let id = format!("evt_{:08x}{n:012}", self.run);
        tail[6..6 + ID].copy_from_slice(id.as_bytes());
        tail
    }

    /// Writes delivery `n`, with a wrong signature if it is `forged`.
    pub(crate) fn write(&mut self, n: u64, forged: bool, own: &mut Own) {
        if self.signed.since.elapsed() > SIGNED_FOR {
            self.signed = Signed::new(&self.shared);
        }
        own.tail.clear();
        own.tail.extend_from_slice(&self.tail(n));
        let mut digest = self
            .signed
            .state
            .clone()
            .chain_update(&own.tail)
            .finalize()
            .into_bytes();
        digest[0] ^= u8::from(forged);
        own.head.clear();
        own.head.extend_from_slice(
            b"POST /ingest/stripe HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n\
              accept: */*; q=0.5, application/xml\r\ncache-control: no-cache\r\ncontent-type: application/json; charset=utf-8\r\n\
              stripe-signature: t=",
        );
        own.head
            .extend_from_slice(self.signed.seconds.to_string().as_bytes());
        own.head.extend_from_slice(b",v1=");
        let mut hex = [0; 64];
        // 64 characters for 32 bytes: it cannot fail.
        let _ = hex::encode_to_slice(digest, &mut hex);
        own.head.extend_from_slice(&hex);
        own.head.extend_from_slice(b"\r\ncontent-length: ");
        own.head
            .extend_from_slice((self.shared.len() + own.tail.len()).to_string().as_bytes());
        own.head.extend_from_slice(b"\r\n\r\n");
    }
}

impl Signed {
    fn new(shared: &[u8]) -> Self {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let state = mac()
            .chain_update(format!("{seconds}."))
            .chain_update(shared);
        Self {
            since: Instant::now(),
            seconds,
            state,
        }
    }
}

/// HMAC with the source's secret.
pub(crate) fn mac() -> Hmac<Sha256> {
    Hmac::new_from_slice(SECRET.as_bytes()).expect("HMAC takes a key of any length")
}

/// JSON as providers send it, nested and with all kinds of values, up to where the id follows.
fn shared_body(size: usize) -> Vec<u8> {
    let start = r#"{"object":"event","api_version":"2026-05-27","created":1790000000,"data":{"object":{"object":"invoice","customer":"cus_9s6XKzkNRiz8i3","lines":["#;
    let line = r#"{"id":"il_1MtHbELkdIwHu7ixl4OzzPMv","amount":4200,"currency":"eur","description":"T-shirt, \"large\"","livemode":true,"price":null,"period":{"start":1790000000,"end":1792592000},"tax":[0.19,1.5e2]}"#;
    let (stop, end) = (r#"]}},"livemode":true,"note":""#, r#"","#);
    let mut body = start.to_owned();
    let left =
        |body: &String| size.saturating_sub(body.len() + stop.len() + end.len() + TAIL.len());
    while left(&body) > line.len() {
        if body.len() > start.len() {
            body.push(',');
        }
        body += line;
    }
    body += stop;
    let filler = size.saturating_sub(body.len() + end.len() + TAIL.len());
    body.extend(std::iter::repeat_n('n', filler));
    body += end;
    body.into_bytes()
}
