//! Verification: who sent this, when, and which event is it. Pure: no actix, tokio, database or clock; time comes in as an argument.
//!
//! A scheme is data. [`spec`] has the words in which it is written (a preset of [`presets`], or an operator's own table),
//! [`Scheme::compile`] turns them and the keys of a source into a [`Scheme`], and [`verify`] is the only place that makes a [`Verified`].
//!
//! What holds for every scheme: the bytes that came off the wire are verified before they are read for anything else; header text is
//! taken as sent; digests are compared decoded and in constant time; what is signed and absent refuses; an empty or undecodable candidate
//! is dropped, and none left refuses; any candidate may match, but one message is computed.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

mod check;
mod compile;
mod crypto;
mod docs;
mod identity;
mod keys;
mod language;
mod nearest;
mod refusal;
mod request;
mod secret;
pub mod sign;
mod source;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;

#[cfg(test)]
mod tests;

pub use compile::{SchemeError, params_of, spec_of};
pub use crypto::jwk::JwkSet;
pub use docs::reference;
pub use identity::{BodyDigest, IdClass, Identity, SignedMessage, Verified, VerifiedEvent};
pub use keys::fetch::Fetch;
pub use keys::learned::another_secret;
pub use keys::wishes::Wish;
pub use language::{presets, spec};
pub use nearest::nearest;
pub use refusal::{Answer, Reason, Refusal};
pub use request::{Headers, Request};
pub use secret::Secret;
pub use source::SourceSpec;
pub use time::UnixMillis;

use check::event::EventRule;
use check::handshake::{Handshake, Shake};
use check::jwt::JwtRule;
use check::message::{self, Proof, Proven, token_digest};
use check::signature_list::Place;
use crypto::mac::{self, Tag};
use keys::fetch::Shelf;
use keys::learned::Learned;
use language::json_pointers;
use language::template::{Cx, Token};
use request::encrypted::Sealed;
use request::view::{self, Needs, PublicUrl, View};

/// A compiled signature scheme with the keys of one source.
#[derive(Debug)]
pub struct Scheme {
    check: Check,
    /// Where the provider hands its secret over: what checks in place of `check`, once it has.
    learned: Option<Learned>,
    url: Option<PublicUrl>,
    document: Document,
    needs: Needs,
    /// Largest size after decompression, where the scheme decompresses.
    gunzip: Option<usize>,
    /// Largest size after decompression of a body that is only read.
    unpack_limit: usize,
    methods: Vec<Method>,
    /// Handshakes that are answered to anybody.
    unsigned: Vec<Handshake>,
    /// Handshakes that are verified first.
    signed: Vec<Handshake>,
    shelf: Arc<Shelf>,
    fetches: bool,
    event: EventRule,
    answers: Answers,
    facts: Facts,
    description: String,
    warnings: Vec<String>,
}

/// How a sender proves itself.
#[derive(Debug)]
enum Check {
    /// `kind = "none"`, which an operator writes: anybody can send.
    Unverified,
    /// Digests of `user:password`.
    Basic(Vec<Tag>),
    Proof(Box<Proof>),
    Jwt(Box<JwtRule>),
}

/// Where the JSON document is.
#[derive(Debug)]
enum Document {
    Body,
    Form(Box<str>),
    Multipart(Box<str>),
    /// Encrypted, somewhere in the body.
    Sealed(Sealed),
    /// The claims of the token.
    Claims,
}

/// What a provider wants to be answered, where it isn't all the same to it.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// To an accepted delivery, and to a duplicate.
    pub accepted: Option<Answer>,
    /// Status of a refusal for a bad signature.
    pub rejected: Option<u16>,
    /// Status of "not now".
    pub overloaded: Option<u16>,
}

/// What is known of a source's provider and scheme.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How long a redelivery should be recognised: the provider's retries and a fifth, at least seven days.
    pub window: Duration,
    /// How long the provider retries.
    pub retry: Option<Duration>,
    /// When the provider should have its answer, with room to spare.
    pub deadline: Option<Duration>,
    /// Largest body that the provider sends.
    pub max_body_bytes: Option<usize>,
    /// Whether a change of the body breaks the signature.
    pub body_covered: bool,
    /// Whether a change of the event's id breaks the signature.
    pub id_covered: bool,
    /// How old a delivery may be, where an older one is refused for its age.
    pub max_age: Option<Duration>,
    /// Whether a redelivery can be told from another event.
    pub redelivery_known: bool,
    /// How long an event is known whose id (or lack of one) does not make it the only one: the provider's retries and a fifth.
    pub retry_span: Duration,
    /// In a sentence, what counts as a duplicate.
    pub duplicates: String,
    /// Whether the scheme was read somewhere, and not recalled.
    pub confirmed: bool,
}

impl Scheme {
    /// Returns `true` for the methods of events and handshakes.
    pub fn answers_method(&self, method: &Method) -> bool {
        self.methods.contains(method) || self.has_handshake(method)
    }

    /// Returns `true` if a handshake of this scheme has `method`.
    pub fn has_handshake(&self, method: &Method) -> bool {
        self.unsigned
            .iter()
            .chain(&self.signed)
            .any(|handshake| handshake.method.as_ref() == Some(method))
    }

    /// Returns `true` if a request with these headers and this target holds a signature, token or login of this scheme outside of its
    /// body, right or wrong: such a request is a delivery and no visit.
    pub fn carries_proof(&self, has_header: impl Fn(&HeaderName) -> bool, target: &str) -> bool {
        let carries = |place: &Place| match place {
            Place::Header(name) => has_header(name),
            Place::Query(name) => {
                let query = view::query(target).unwrap_or_default().as_bytes();
                view::fields(query).is_ok_and(|fields| view::field(&fields, name).is_some())
            }
            Place::HttpSignature(rule, _) => rule.is_in(&has_header),
            Place::Form(_) | Place::Json(_) | Place::Sig(_) => false,
        };
        match &self.check {
            Check::Unverified => false,
            Check::Basic(_) => has_header(&http::header::AUTHORIZATION),
            Check::Proof(proof) => proof.sigs.iter().any(|sig| carries(&sig.place)),
            Check::Jwt(rule) => rule.place.as_ref().is_some_and(carries),
        }
    }

    /// What the provider wants to be answered.
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// What is known of the provider.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether anything is verified at all.
    pub fn verifies(&self) -> bool {
        !matches!(self.check, Check::Unverified)
    }

    /// The scheme in one sentence.
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// Where the provider's key set has to be fetched from, before the first delivery and from time to time; see [`Scheme::set_jwks`].
    pub fn jwks_url(&self) -> Option<&str> {
        match &self.check {
            Check::Jwt(rule) => rule.jwks_url(),
            _ => None,
        }
    }

    /// Whether a delivery came that the key set at hand could not decide; reading it takes the wish back.
    pub fn jwks_wanted(&self) -> bool {
        match &self.check {
            Check::Jwt(rule) => rule.jwks_wanted(),
            _ => false,
        }
    }

    /// Takes what deliveries named and is not here, and could be fetched: see [`Scheme::keep`].
    pub fn take_wanted(&self) -> Vec<Wish> {
        self.shelf.take_wanted()
    }

    /// Returns what a delivery that names this has fetched; None where no delivery can.
    pub fn recall(&self, name: &str) -> Option<Fetch> {
        self.shelf.recall(name)
    }

    /// Keeps what was fetched, if it is what was asked for.
    pub fn keep(&self, fetch: &Fetch, answer: &[u8]) -> Result<(), String> {
        self.shelf.keep(fetch, answer)
    }

    /// Takes away what is no longer at its place.
    pub fn forget(&self, fetch: &Fetch) {
        self.shelf.forget(fetch.name());
    }

    /// Returns `true` if bodies may be decompressed: to verify them, or to read the event's id and type.
    pub fn unpacks(&self) -> bool {
        self.gunzip.is_some() || self.reads_gzip()
    }

    /// The document is the body, so that gzip would hide its id and type.
    fn reads_gzip(&self) -> bool {
        matches!(self.document, Document::Body) && !self.event.paths.is_empty()
    }

    /// Returns how many bytes verifying takes for a decompressed copy of this body; None where it is taken as it is.
    pub fn unpacked_len(&self, body: &[u8]) -> Option<usize> {
        let len = view::unpacked_len(body).filter(|_| self.unpacks())?;
        // A body that only hides its id is taken whatever its size.
        (self.gunzip.is_some() || len <= self.unpack_limit).then_some(len)
    }

    /// Whether deliveries name what has to be fetched.
    pub fn fetches(&self) -> bool {
        self.fetches
    }

    /// Replaces the provider's key set.
    pub fn set_jwks(&self, set: JwkSet) {
        if let Check::Jwt(rule) = &self.check {
            rule.set_jwks(set);
        }
    }

    /// Whether the source's secret comes out of a handshake; see [`Scheme::set_learned`].
    pub fn learns(&self) -> bool {
        self.learned.is_some()
    }

    /// What the store held at `read_at` as the secret that was learned. Fails where that can be no secret of this scheme.
    pub fn set_learned(&self, secret: Option<&Secret>, read_at: UnixMillis) -> Result<(), String> {
        self.learned
            .as_ref()
            .map_or(Ok(()), |learned| learned.set(secret, read_at))
    }

    /// What an operator should know, one sentence each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// None where the keys to decide are not here.
    fn check<'v>(
        &'v self,
        check: &'v Check,
        view: &'v View<'v>,
        document: &[u8],
        now: UnixMillis,
    ) -> Result<Option<Proven<'v>>, Refusal> {
        match check {
            Check::Unverified => Ok(Some(Proven::default())),
            Check::Basic(secrets) => basic(secrets, view).map(|()| Some(Proven::default())),
            Check::Proof(proof) => {
                proof.check(view, document, self.url.as_ref(), now, self.event.replays)
            }
            Check::Jwt(rule) => {
                let Some(token) = rule.check(view, document, self.url.as_ref(), now)? else {
                    return Ok(None);
                };
                let signed = self.event.replays.then(|| Tag::new(&token.digest));
                Ok(Some(Proven {
                    key: None,
                    signed,
                    claims: Some(token.claims),
                }))
            }
        }
    }
}

impl Check {
    /// Whether something that is checked, or the id, needs the source's public URL.
    fn needs_url(&self, event: &EventRule) -> bool {
        let url = |token: &&Token| {
            matches!(
                token,
                Token::Url | Token::BaseUrl | Token::Path | Token::Canonical(_)
            )
        };
        let message = match self {
            Self::Proof(proof) => proof.message.tokens().iter().any(url),
            Self::Jwt(rule) => {
                rule.url.is_some()
                    || rule
                        .templates()
                        .any(|template| template.tokens().iter().any(url))
            }
            Self::Unverified | Self::Basic(_) => false,
        };
        message || event.ids.iter().any(|id| id.tokens().iter().any(url))
    }
}

impl Document {
    /// The document's bytes. One that is not there is empty, and has nothing in it.
    fn of<'v>(&self, view: &'v View<'v>) -> Cow<'v, [u8]> {
        match self {
            Self::Body | Self::Claims => Cow::Borrowed(view.body),
            Self::Form(name) => Cow::Borrowed(view::field(&view.form, name).unwrap_or_default()),
            Self::Sealed(sealed) => sealed.open(view.body),
            Self::Multipart(name) => Cow::Borrowed(
                view::multipart_field(view.request, view.body, name).unwrap_or_default(),
            ),
        }
    }
}

/// What a request to a source turned out to be.
#[derive(Debug)]
pub enum Verdict {
    /// Events to be stored.
    Events(Verified),
    /// A handshake; answer it and store nothing.
    Challenge(Answer),
    /// The key that decides is not here, or not the newest: not now. See [`Scheme::jwks_wanted`], [`Scheme::take_wanted`] and
    /// [`Scheme::set_learned`].
    KeysMissing,
    /// A handshake that hands over the source's secret: to be answered once the secret is in the store, and was the first.
    Learn {
        /// The secret.
        secret: Secret,
        /// The answer.
        answer: Answer,
    },
}

impl From<Shake> for Verdict {
    fn from(shake: Shake) -> Self {
        match shake {
            // Where nothing is learned, it is a handshake like any other.
            Shake::Answer(answer) | Shake::Learn(_, answer) => Self::Challenge(answer),
            Shake::Visit => Self::KeysMissing,
        }
    }
}

/// Verifies one request against its source's scheme. `now` is the time of its arrival.
pub fn verify(scheme: &Scheme, request: &Request, now: UnixMillis) -> Result<Verdict, Refusal> {
    let body = match scheme.gunzip {
        Some(limit) => view::gunzip(&request.body, limit)?,
        None => Cow::Borrowed(&*request.body),
    };
    let known = scheme.learned.as_ref().map(Learned::known);
    let check = known
        .as_ref()
        .and_then(|known| known.check.as_deref())
        .unwrap_or(&scheme.check);
    let view = View::new(request, &body, scheme.needs)?;
    let document = scheme.document.of(&view);
    let url = scheme.url.as_ref();
    for handshake in &scheme.unsigned {
        if let Some(shake) = handshake.answer(&view, &document, url, signing_key(check))? {
            return match (shake, &scheme.learned, &known) {
                (Shake::Learn(secret, answer), Some(learned), Some(known)) => {
                    learned.hear(known, secret, answer, now)
                }
                (shake, ..) => Ok(shake.into()),
            };
        }
    }
    let signed_handshake = scheme
        .signed
        .iter()
        .any(|handshake| handshake.method.as_ref() == Some(&request.method));
    if !scheme.methods.contains(&request.method) && !signed_handshake {
        return Err(Refusal::new(
            Reason::PreconditionFailed,
            "neither an event nor a handshake has this method",
        ));
    }
    let proven = match scheme.check(check, &view, &document, now) {
        Ok(Some(proven)) => proven,
        Ok(None) => return Ok(Verdict::KeysMissing),
        // The secret that signed may be one that another instance has just learned.
        Err(_) if known.as_ref().is_some_and(|known| !known.decides(now)) => {
            return Ok(Verdict::KeysMissing);
        }
        Err(rejection) => return Err(rejection),
    };
    for handshake in &scheme.signed {
        if let Some(shake) =
            handshake.answer(&view, &document, url, proven.key.or(signing_key(check)))?
        {
            return Ok(shake.into());
        }
    }
    // Where the body is a token, the event is in its claims.
    let document = match (&scheme.document, proven.claims) {
        (Document::Claims, Some(claims)) => Cow::Owned(claims),
        _ => document,
    };
    // A proven body is taken also if it is no gzip, or too large a one: then it has no id where the scheme looks for one.
    let unpacked = match scheme.gunzip {
        None if scheme.reads_gzip() => view::gunzip(&request.body, scheme.unpack_limit).ok(),
        _ => None,
    };
    let document = unpacked.unwrap_or(document);
    let nothing = json_pointers::Slots::default();
    let by_query = view.by_query()?;
    let view = by_query.as_ref().unwrap_or(&view);
    let cx = Cx {
        view,
        slots: &nothing,
        ts: &[],
        url,
        spelling: 0,
        key: None,
    };
    match scheme.event.events(cx, &document, proven.signed)? {
        Some(verified) => Ok(Verdict::Events(verified)),
        None => Ok(Verdict::Challenge(
            scheme.answers.accepted.clone().unwrap_or(Answer {
                status: 200,
                content_type: None,
                headers: Vec::new(),
                body: Vec::new(),
            }),
        )),
    }
}

/// The key of answers that are signed: the first secret.
fn signing_key(check: &Check) -> Option<&mac::MacKey> {
    match check {
        Check::Proof(proof) => match &proof.by {
            message::By::Mac { keys, .. } => {
                keys.first().and_then(|key| key.first()).map(|(_, key)| key)
            }
            _ => None,
        },
        _ => None,
    }
}

fn basic(secrets: &[Tag], view: &View<'_>) -> Result<(), Refusal> {
    let header = view
        .header(&http::header::AUTHORIZATION)?
        .filter(|value| !value.is_empty());
    let Some(header) = header else {
        return Err(Refusal::new(
            Reason::SignatureMissing,
            "authorization is missing or empty",
        ));
    };
    let (scheme, credentials) = header.split_at_checked(6).unwrap_or_default();
    let decoded = mac::Encoding::Base64
        .decode(credentials)
        .filter(|_| scheme.eq_ignore_ascii_case(b"basic "));
    let Some(decoded) = decoded else {
        return Err(Refusal::new(
            Reason::SignatureMalformed,
            "authorization is not HTTP basic authentication",
        ));
    };
    let digest = token_digest(&decoded);
    if secrets
        .iter()
        .any(|secret| secret.matches(digest.as_bytes()))
    {
        Ok(())
    } else {
        Err(Refusal::new(
            Reason::SignatureMismatch,
            "user and password are not those of this source",
        ))
    }
}
