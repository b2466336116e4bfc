//! Compiled signature schemes.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::check::by::By;
use crate::check::event::EventRule;
use crate::check::handshake::Handshake;
use crate::check::jwt::JwtRule;
use crate::check::message::Proof;
use crate::crypto::mac::Tag;
use crate::keys::learning::Learning;
use crate::keys::ring::Fetch;
use crate::language::place::Place;
use crate::language::template::Token;
use crate::refusal::Answer;
use crate::request::encrypted::Sealed;
use crate::request::public_url::PublicUrl;
use crate::request::view::{self, Needs, View};
use crate::request::{gunzip, multipart};
use crate::secret::Secret;

mod source_key;
mod warning;

pub use self::source_key::SourceKey;
pub use self::warning::SchemeWarning;

/// Compiled signature scheme of one source, with its keys. It is immutable and can be shared
/// between threads.
#[derive(Debug)]
pub struct Scheme {
    pub(crate) check: Check,
    /// Source that learns its secret from a handshake.
    pub(crate) learning: Option<Box<Learning>>,
    pub(crate) url: Option<PublicUrl>,
    pub(crate) document: Document,
    pub(crate) needs: Needs,
    /// Maximum size of a decompressed body, if the signature covers the decompressed bytes.
    pub(crate) gunzip: Option<usize>,
    /// Maximum size of a body that is decompressed only to read the event's id and type.
    pub(crate) unpack_limit: usize,
    pub(crate) methods: Vec<Method>,
    /// Handshakes that are answered without proof.
    pub(crate) unsigned: Vec<Handshake>,
    /// Handshakes that are answered only with proof.
    pub(crate) signed: Vec<Handshake>,
    pub(crate) fetches: bool,
    pub(crate) event: EventRule,
    pub(crate) answers: Answers,
    pub(crate) facts: Facts,
    pub(crate) description: String,
    pub(crate) warnings: Vec<SchemeWarning>,
}

/// Proof that a sender gives.
#[derive(Debug)]
pub(crate) enum Check {
    /// `kind = "none"`, which an operator writes: anybody can send.
    Unverified,
    /// Digests of `user:password`.
    Basic(Vec<Tag>),
    Proof(Box<Proof>),
    Jwt(Box<JwtRule>),
}

/// Place of the JSON document.
#[derive(Debug)]
pub(crate) enum Document {
    Body,
    Form(Box<str>),
    Multipart(Box<str>),
    /// Encrypted, somewhere in the body.
    Sealed(Sealed),
    /// The claims of the token.
    Claims,
}

/// Responses that a provider requires.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Response to an accepted delivery or a duplicate.
    pub accepted: Option<Answer>,
    /// HTTP status of a refused delivery.
    pub rejected: Option<u16>,
    /// HTTP status of a delivery that cannot be accepted at the moment.
    pub overloaded: Option<u16>,
}

/// Facts about a source's provider and scheme.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Time span in which a redelivery should be recognized: 1.2 times the provider's retries, at
    /// least 7 days.
    pub window: Duration,
    /// Time span of the provider's retries.
    pub retry: Option<Duration>,
    /// Response deadline: four fifths of the provider's timeout.
    pub deadline: Option<Duration>,
    /// Number of failures in a row after which the provider disables the webhook.
    pub disabled_after_failures: Option<u32>,
    /// Time of nothing but failures after which the provider disables the webhook.
    pub disabled_after: Option<Duration>,
    /// Size of the largest body that the provider sends.
    pub max_body_bytes: Option<usize>,
    /// The signature covers the body.
    pub body_covered: bool,
    /// The signature covers the event's id.
    pub id_covered: bool,
    /// Maximum age of a delivery. None: any age is accepted.
    pub max_age: Option<Duration>,
    /// A redelivery can be distinguished from another event.
    pub redelivery_known: bool,
    /// Time span in which an event without a unique id is recognized: 1.2 times the provider's
    /// retries.
    pub retry_span: Duration,
    /// Definition of a duplicate, in a sentence for operators.
    pub duplicates: String,
    /// The scheme was confirmed in documentation or code.
    pub confirmed: bool,
}

impl Scheme {
    /// Returns `true` if a delivery or a handshake of this scheme can have `method`.
    #[inline]
    pub fn answers_method(&self, method: &Method) -> bool {
        self.methods.contains(method) || self.has_handshake(method)
    }

    /// Returns `true` if a handshake of this scheme has `method`.
    #[inline]
    pub fn has_handshake(&self, method: &Method) -> bool {
        self.unsigned
            .iter()
            .chain(&self.signed)
            .any(|handshake| handshake.method.as_ref() == Some(method))
    }

    /// Returns `true` if the headers or the target hold a proof of this scheme, valid or not. Such
    /// a request is a delivery, not a visit by a browser.
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

    /// Returns the responses that the provider requires.
    #[inline]
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Returns facts about the provider and the scheme.
    #[inline]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns `true` unless the scheme accepts every request.
    #[inline]
    pub fn verifies(&self) -> bool {
        !matches!(self.check, Check::Unverified)
    }

    /// Returns the scheme in one sentence.
    #[inline]
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// Returns the URL of the provider's key set. Fetch the set before the first delivery and at
    /// intervals, and give it to [`KeyRing::set_key_set`](crate::KeyRing::set_key_set).
    pub fn jwks_url(&self) -> Option<&str> {
        match &self.check {
            Check::Jwt(rule) => rule.jwks_url(),
            _ => None,
        }
    }

    /// Returns the fetch of the key or certificate called `name`. None if no delivery can name it.
    pub fn recall(&self, name: &str) -> Option<Fetch> {
        match &self.check {
            Check::Proof(proof) => match &proof.by {
                By::Certificate { at, .. } => at.recall(name),
                _ => None,
            },
            Check::Jwt(rule) => rule.keys.recall(name),
            Check::Unverified | Check::Basic(_) => None,
        }
    }

    /// Returns `true` if the scheme can decompress bodies, to verify them or to read the event's id
    /// and type.
    #[inline]
    pub fn unpacks(&self) -> bool {
        self.gunzip.is_some() || self.reads_gzip()
    }

    /// Returns `true` if the event's id or type is read from the body, which may be gzip.
    pub(crate) fn reads_gzip(&self) -> bool {
        matches!(self.document, Document::Body) && !self.event.paths.is_empty()
    }

    /// Returns the memory for a decompressed copy of `body`, in bytes. None if the body is not
    /// decompressed.
    #[inline]
    pub fn unpacked_len(&self, body: &[u8]) -> Option<usize> {
        let len = gunzip::unpacked_len(body).filter(|_| self.unpacks())?;
        // A body that only hides its id is taken whatever its size.
        (self.gunzip.is_some() || len <= self.unpack_limit).then_some(len)
    }

    /// Returns `true` if deliveries can name keys, certificates or URLs to fetch.
    #[inline]
    pub fn fetches(&self) -> bool {
        self.fetches
    }

    /// Returns `true` if the source learns its secret from a handshake; see
    /// [`Scheme::with_learned`].
    #[inline]
    pub fn learns(&self) -> bool {
        self.learning.is_some()
    }

    /// Returns `true` if the scheme was compiled with this learned secret.
    pub fn has_learned(&self, secret: &Secret) -> bool {
        self.learning
            .as_ref()
            .is_some_and(|learning| learning.is_known(secret))
    }

    /// Returns warnings for the operator.
    #[inline]
    pub fn warnings(&self) -> &[SchemeWarning] {
        &self.warnings
    }
}

impl Check {
    /// Returns `true` if the proof or the id needs the source's public URL.
    pub(crate) fn needs_url(&self, event: &EventRule) -> bool {
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
    /// Returns the document's bytes. A missing document is empty.
    pub(crate) fn of<'v>(&self, view: &'v View<'v>) -> Cow<'v, [u8]> {
        match self {
            Self::Body | Self::Claims => Cow::Borrowed(view.body),
            Self::Form(name) => Cow::Borrowed(view::field(&view.form, name).unwrap_or_default()),
            Self::Sealed(sealed) => sealed.open(view.body),
            Self::Multipart(name) => Cow::Borrowed(
                multipart::multipart_field(view.request, view.body, name).unwrap_or_default(),
            ),
        }
    }
}
