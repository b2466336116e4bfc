//! Deliveries to send, and the answers that each must get. Pure but for random ids.

use bytes::Bytes;
use uuid::Uuid;

use super::sign::{Delivery, Signer};
use crate::config::secret::Secret;
use crate::domain::delivery::UnixMillis;
use hookweir_signatures::Scheme;

/// Age of a stale event, beyond the greatest age that its provider's scheme accepts.
const STALE_MS: i64 = 24 * 60 * 60 * 1000;
/// By how much an event that comes too late was made before the other: less than any provider's tolerance.
const EARLIER_MS: i64 = 1000;

/// Change of each event before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Duplicate,
    Tampered,
    Stale,
    WrongSecret,
    Truncated,
    Reordered,
}

/// Which answer is to be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// 2xx: accepted, or duplicate where the id was given and may be known.
    Taken,
    Duplicate,
    /// A refusal that says nothing about when to come back: 400, 401, 403, or what the provider wants instead.
    Refused(Option<u16>),
}

impl Expect {
    /// Returns true if an answer of `code`, and the `status` in its body, is the expected one.
    pub(super) fn is_met_by(self, code: u16, said: Option<&str>) -> bool {
        match self {
            Self::Taken => (200..300).contains(&code),
            Self::Duplicate => (200..300).contains(&code) && said == Some("duplicate"),
            Self::Refused(own) => matches!(code, 400 | 401 | 403) || own == Some(code),
        }
    }
}

/// Makes the deliveries of one run.
pub(super) struct Plan {
    signer: Signer,
    kind: Kind,
    id: Option<String>,
    /// Answer that the second of two equal deliveries must get.
    again: Expect,
    refused: Expect,
    /// Greatest age that the scheme accepts.
    max_age_ms: i64,
}

impl Plan {
    /// A plan, unless the source's provider leaves nothing of this kind to be refused.
    pub(super) fn new(mut signer: Signer, kind: Kind, id: Option<String>) -> Result<Self, String> {
        let scheme = Scheme::compile(&signer.source.spec(), usize::MAX);
        let scheme = scheme.map_err(|errors| {
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        })?;
        let facts = scheme.facts();
        match kind {
            Kind::WrongSecret if !scheme.verifies() => {
                return Err("--wrong-secret: nothing is verified here".to_owned());
            }
            Kind::WrongSecret if signer.source.secrets.is_empty() => {
                signer.private_key = Some(signer.other_key()?)
            }
            Kind::WrongSecret => {
                for secret in &mut signer.source.secrets {
                    *secret = other_secret(secret)?;
                }
            }
            Kind::Stale if facts.max_age.is_none() => {
                return Err(
                    "--stale: this provider signs no time that is checked, so an old delivery cannot be told from a new one".to_owned()
                );
            }
            Kind::Tampered | Kind::Truncated if !facts.body_covered => {
                return Err("this provider's proof does not cover the body, so a change of it cannot be told".to_owned());
            }
            _ => {}
        }
        let again = match (facts.redelivery_known, scheme.answers().accepted.is_some()) {
            (true, false) => Expect::Duplicate,
            // It is answered what the provider wants to read, which says nothing; or every delivery is a new event.
            _ => Expect::Taken,
        };
        let max_age_ms = facts
            .max_age
            .map_or(0, |age| i64::try_from(age.as_millis()).unwrap_or(0));
        Ok(Self {
            signer,
            kind,
            id,
            again,
            refused: Expect::Refused(scheme.answers().rejected),
            max_age_ms,
        })
    }

    /// The deliveries of the next event, in the order in which they are to be sent.
    pub(super) fn next(&self, now: UnixMillis) -> Result<Vec<(Delivery, Expect)>, String> {
        let id = self
            .id
            .clone()
            .unwrap_or_else(|| format!("evt_{}", Uuid::now_v7().simple()));
        let signed = |at| self.signer.sign(&id, at);
        Ok(match self.kind {
            Kind::Plain => vec![(signed(now)?, Expect::Taken)],
            Kind::Duplicate => {
                let delivery = signed(now)?;
                vec![(delivery.clone(), Expect::Taken), (delivery, self.again)]
            }
            Kind::Reordered => {
                let later = self.signer.sign(&format!("{id}_later"), now)?;
                vec![
                    (later, Expect::Taken),
                    (signed(UnixMillis(now.0 - EARLIER_MS))?, Expect::Taken),
                ]
            }
            Kind::Truncated => {
                let mut delivery = signed(now)?;
                delivery.body.truncate(delivery.body.len() / 2);
                vec![(delivery, self.refused)]
            }
            Kind::Tampered => {
                let mut delivery = signed(now)?;
                delivery.body = tampered(&delivery.body);
                vec![(delivery, self.refused)]
            }
            Kind::Stale => vec![(
                signed(UnixMillis(now.0 - self.max_age_ms - STALE_MS))?,
                self.refused,
            )],
            Kind::WrongSecret => vec![(signed(now)?, self.refused)],
        })
    }
}

/// The body with its last letter or digit changed, so that it stays well-formed: what refuses it is the signature.
fn tampered(body: &Bytes) -> Bytes {
    let mut body = body.to_vec();
    match body
        .iter_mut()
        .rev()
        .find(|byte| byte.is_ascii_alphanumeric())
    {
        Some(byte) => *byte = other_character(*byte),
        None => body.push(b'x'),
    }
    body.into()
}

/// A secret of the same form with one character in its middle changed.
fn other_secret(secret: &Secret) -> Result<Secret, String> {
    let mut bytes = secret.expose().to_vec();
    let middle = bytes.len() / 2;
    let Some(byte) = bytes[middle..]
        .iter_mut()
        .find(|byte| byte.is_ascii_alphanumeric())
    else {
        return Err("--wrong-secret: this secret has no letter or digit to change".to_owned());
    };
    *byte = other_character(*byte);
    Ok(Secret::new(bytes))
}

/// Another character of the same kind, so that base64 and hex stay what they are.
fn other_character(byte: u8) -> u8 {
    match byte {
        b'0'..=b'8' | b'a'..=b'e' | b'A'..=b'E' => byte + 1,
        b'9' => b'0',
        b'f'..=b'z' => b'a',
        _ => b'A',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::domain::delivery::wall_clock;

    fn plan(provider: &str, kind: Kind, id: Option<&str>) -> Result<Plan, String> {
        let toml = format!(
            "[[source]]\nname = \"s\"\nprovider = \"{provider}\"\nsecrets = [\"plain:0123456789abcdef\"]"
        );
        let config = Config::from_toml(&toml).expect("valid");
        Plan::new(
            Signer {
                source: config.sources[0].clone(),
                private_key: None,
                body: None,
            },
            kind,
            id.map(str::to_owned),
        )
    }

    #[test]
    fn each_kind_has_its_deliveries_and_expectations() {
        let now = wall_clock();
        let next = |kind| {
            plan("github", kind, Some("e"))
                .expect("a plan")
                .next(now)
                .expect("deliveries")
        };
        let plain = next(Kind::Plain);
        assert_eq!((plain.len(), plain[0].1), (1, Expect::Taken));
        let twice = next(Kind::Duplicate);
        assert!(
            twice[0].0 == twice[1].0
                && (twice[0].1, twice[1].1) == (Expect::Taken, Expect::Duplicate)
        );
        let tampered = next(Kind::Tampered);
        assert!(
            tampered[0].0.headers == plain[0].0.headers && tampered[0].0.body != plain[0].0.body
        );
        let wrong = next(Kind::WrongSecret);
        assert!(wrong[0].0.headers != plain[0].0.headers && wrong[0].0.body == plain[0].0.body);
        let cut = next(Kind::Truncated);
        assert!(cut[0].0.body.len() < plain[0].0.body.len() && cut[0].1 == Expect::Refused(None));
        let turned = next(Kind::Reordered);
        assert!(
            turned.len() == 2
                && turned.iter().all(|(_, expect)| *expect == Expect::Taken)
                && turned[0].0 != turned[1].0
        );
        assert!(
            plan("github", Kind::Stale, None)
                .err()
                .expect("github signs no time")
                .contains("signs no time")
        );
        assert!(plan("stripe", Kind::Stale, None).is_ok());
    }

    #[test]
    fn events_differ_unless_an_id_is_given() {
        let plan = plan("github", Kind::Plain, None).expect("a plan");
        let next = || plan.next(UnixMillis(0)).expect("deliveries")[0].0.clone();
        assert!(next() != next());
    }

    #[test]
    fn answers_are_told_apart() {
        assert!(
            Expect::Taken.is_met_by(200, Some("duplicate")) && !Expect::Taken.is_met_by(503, None)
        );
        assert!(
            Expect::Duplicate.is_met_by(200, Some("duplicate"))
                && !Expect::Duplicate.is_met_by(200, Some("accepted"))
        );
        let refused = Expect::Refused(None);
        assert!(
            refused.is_met_by(401, None)
                && !refused.is_met_by(503, None)
                && !refused.is_met_by(404, None)
        );
        assert!(Expect::Refused(Some(498)).is_met_by(498, None) && !refused.is_met_by(498, None));
    }

    #[test]
    fn changes_keep_the_form() {
        assert_eq!(tampered(&Bytes::from_static(b"{\"a\":1}")), "{\"a\":2}");
        assert_eq!(tampered(&Bytes::from_static(b"")), "x");
        for byte in b'0'..=b'z' {
            let other = other_character(byte);
            if byte.is_ascii_alphanumeric() {
                assert!(
                    other != byte && other.is_ascii_hexdigit(),
                    "{}",
                    byte as char
                );
            }
        }
    }
}
