//! Five providers: how each names and signs its events. Written from their documentation and apart from the product's own signer, so that
//! a mistake there does not cancel out here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use fastrand::Rng;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A provider, and the source of the same name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Provider {
    /// Stripe: signed time, signed id in the body.
    Stripe,
    /// GitHub: signed body, unsigned id in a header.
    Github,
    /// Shopify: signed body, unsigned id and topic in headers.
    Shopify,
    /// Slack: signed time, signed id in the body.
    Slack,
    /// Standard Webhooks: signed time and id in headers.
    StandardWebhooks,
}

/// A fact that a provider reports, as often as it takes.
#[derive(Clone, Debug)]
pub struct Event {
    /// Provider that sends it.
    pub provider: Provider,
    /// Id that the provider gives it.
    pub id: String,
    /// Type of the event.
    pub kind: &'static str,
    /// Body of each delivery.
    pub body: Bytes,
}

/// Headers of a delivery.
pub type Headers = Vec<(&'static str, String)>;

impl Provider {
    /// All five.
    pub const ALL: [Self; 5] = [
        Self::Stripe,
        Self::Github,
        Self::Shopify,
        Self::Slack,
        Self::StandardWebhooks,
    ];

    /// Name of its preset, of its source, and of the source's path.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Github => "github",
            Self::Shopify => "shopify",
            Self::Slack => "slack",
            Self::StandardWebhooks => "standardwebhooks",
        }
    }

    /// Returns true if a changed id breaks the signature. If ids are not signed, another body under
    /// the same id is a separate event.
    pub fn signs_ids(self) -> bool {
        !matches!(self, Self::Github | Self::Shopify)
    }

    /// Secret that the provider and its source share.
    pub fn secret(self) -> &'static str {
        match self {
            Self::Stripe => "whsec_test_stripe_0123456789abcdef",
            Self::Github => "github secret, with spaces & signs!",
            Self::Shopify => "shpss_0123456789abcdef0123456789abcdef",
            Self::Slack => "8f742231b10e8888abcd99yyyzzz85a5",
            Self::StandardWebhooks => "whsec_c3RhbmRhcmQgd2ViaG9va3MgdGVzdCBrZXk=",
        }
    }

    /// Its `[[source]]` in a configuration.
    pub fn config(self) -> String {
        let (name, secret) = (self.name(), self.secret());
        format!(
            "[[source]]\nname = \"{name}\"\nprovider = \"{name}\"\nsecrets = [\"plain:{secret}\"]\n"
        )
    }

    /// An event that was never there before. Its body has what breaks those who parse and print it again: white space, escapes, repeated
    /// keys, numbers beyond a double, and for providers whose ids are in headers, bytes that are no text at all.
    pub fn event(self, rng: &mut Rng) -> Event {
        let size = small(rng);
        self.event_of(rng, size)
    }

    /// The same with a body of about this many bytes.
    pub fn event_of(self, rng: &mut Rng, size: usize) -> Event {
        let unique = format!("{:016x}{:016x}", rng.u64(..), rng.u64(..));
        let kind = ["order.created", "invoice.paid", "push", "ping"][rng.usize(..4)];
        let id = match self {
            Self::Stripe => format!("evt_{unique}"),
            Self::Github => format!("{}-{}-{}", &unique[..8], &unique[8..12], &unique[12..]),
            Self::Shopify => format!("shop-{unique}:{kind}"),
            Self::Slack => format!("Ev{unique}"),
            Self::StandardWebhooks => format!("msg_{unique}"),
        };
        let body = self.body(rng, &id, kind, size);
        Event {
            provider: self,
            id,
            kind,
            body,
        }
    }

    fn body(self, rng: &mut Rng, id: &str, kind: &str, size: usize) -> Bytes {
        if matches!(self, Self::Github | Self::Shopify) && rng.u8(..4) == 0 {
            return (0..size + 16).map(|_| rng.u8(..)).collect();
        }
        let head = match self {
            Self::Slack => {
                format!("\"event_id\":\"{id}\", \"event\":{{\"text\":\"a\",\"type\":\"{kind}\"}}")
            }
            Self::Stripe => format!("\"id\" : \"{id}\",\r\n\"type\": \"{kind}\""),
            _ => format!("\"delivery\":\"{id}\",\"type\":\"{kind}\""),
        };
        let odd = [
            r#"{"a":1,"a":2}"#,
            r#""\u0000\ud83d\ude00\/""#,
            "\"\u{1f600}\u{2028}\u{feff} \u{7f}\"",
            "12345678901234567890123.450e-7",
            "[ ]  ",
            r#"[[[[{"id":"evt_no"}]]]]"#,
        ][rng.usize(..6)];
        let filler: String = (0..size)
            .map(|_| char::from(rng.u8(0x20..0x7f)))
            .filter(|c| *c != '"' && *c != '\\')
            .collect();
        format!(
            "{{{head},\n\t\"odd\":{odd},\"filler\":\"{filler}\"}}{}",
            ["", "\n", " \r\n"][rng.usize(..3)]
        )
        .into()
    }
}

impl Event {
    /// The same event with another body: what no provider should send and some do.
    pub fn with_another_body(&self, rng: &mut Rng) -> Self {
        Self {
            body: self
                .provider
                .body(rng, &self.id, self.kind, self.body.len()),
            ..self.clone()
        }
    }

    /// The headers of a delivery sent at `now` (seconds since 1970), signed with `secret`.
    pub fn signed(&self, secret: &str, now: u64) -> Headers {
        let (id, kind, body) = (self.id.as_str(), self.kind, &self.body[..]);
        let json = ("content-type", "application/json".to_owned());
        let mut headers = match self.provider {
            Provider::Stripe => {
                let mac = hex::encode(mac(
                    secret.as_bytes(),
                    &[format!("{now}.").as_bytes(), body],
                ));
                vec![(
                    "Stripe-Signature",
                    format!(
                        "t={now},v1={mac},v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
                    ),
                )]
            }
            Provider::Github => vec![
                ("X-GitHub-Delivery", id.to_owned()),
                ("X-GitHub-Event", kind.to_owned()),
                (
                    "X-Hub-Signature-256",
                    format!("sha256={}", hex::encode(mac(secret.as_bytes(), &[body]))),
                ),
            ],
            Provider::Shopify => vec![
                ("X-Shopify-Webhook-Id", id.to_owned()),
                // The topic is a part of the id, and comes in a header of its own.
                (
                    "X-Shopify-Event-Id",
                    id.split(':').next().unwrap_or_default().to_owned(),
                ),
                ("X-Shopify-Topic", kind.to_owned()),
                (
                    "X-Shopify-Hmac-Sha256",
                    BASE64.encode(mac(secret.as_bytes(), &[body])),
                ),
            ],
            Provider::Slack => {
                let mac = hex::encode(mac(
                    secret.as_bytes(),
                    &[format!("v0:{now}:").as_bytes(), body],
                ));
                vec![
                    ("X-Slack-Request-Timestamp", now.to_string()),
                    ("X-Slack-Signature", format!("v0={mac}")),
                ]
            }
            Provider::StandardWebhooks => {
                let key = BASE64
                    .decode(secret.trim_start_matches("whsec_"))
                    .expect("the test's secret is base64");
                let mac = BASE64.encode(mac(&key, &[format!("{id}.{now}.").as_bytes(), body]));
                vec![
                    ("webhook-id", id.to_owned()),
                    ("webhook-timestamp", now.to_string()),
                    ("webhook-signature", format!("v1,{mac}")),
                ]
            }
        };
        headers.push(json);
        headers
    }

    /// A delivery that its provider never sent: signed with another secret, changed after signing, unsigned, or signed long ago.
    pub fn forged(&self, rng: &mut Rng, now: u64) -> (Headers, Bytes) {
        let secret = self.provider.secret();
        match rng.u8(..4) {
            0 => (
                self.signed("whsec_YW5vdGhlciBzZWNyZXQgYWx0b2dldGhlcg==", now),
                self.body.clone(),
            ),
            1 => {
                let mut body = self.body.to_vec();
                // Inside the filler or the noise at the end, so that the body still parses.
                let at = body.len() - 6;
                body[at] ^= 1;
                (self.signed(secret, now), body.into())
            }
            2 => {
                let signature = |name: &str| {
                    name.to_ascii_lowercase().contains("signature") || name.contains("Hmac")
                };
                (
                    self.signed(secret, now)
                        .into_iter()
                        .filter(|(name, _)| !signature(name))
                        .collect(),
                    self.body.clone(),
                )
            }
            _ if matches!(self.provider, Provider::Github | Provider::Shopify) => (
                self.signed("another secret altogether", now),
                self.body.clone(),
            ),
            _ => (self.signed(secret, now - 3600), self.body.clone()),
        }
    }
}

/// Mostly small, now and then large: what most tests send.
pub fn small(rng: &mut Rng) -> usize {
    match rng.u8(..100) {
        0 => 60_000,
        1..=9 => 8_000,
        _ => rng.usize(..900),
    }
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("hmac takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Seconds since 1970.
pub fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock after 1970")
        .as_secs()
}
