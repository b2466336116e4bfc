//! A compiled scheme: immutable, and shared by all checks of a source.

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

/// A compiled signature scheme with the keys of one source.
#[derive(Debug)]
pub struct Scheme {
    pub(crate) check: Check,
    /// Set if the provider hands its secret over.
    pub(crate) learning: Option<Box<Learning>>,
    pub(crate) url: Option<PublicUrl>,
    pub(crate) document: Document,
    pub(crate) needs: Needs,
    /// Largest size after decompression, where the scheme decompresses.
    pub(crate) gunzip: Option<usize>,
    /// Largest size after decompression of a body that is only read.
    pub(crate) unpack_limit: usize,
    pub(crate) methods: Vec<Method>,
    /// Handshakes that are answered to anybody.
    pub(crate) unsigned: Vec<Handshake>,
    /// Handshakes that are verified first.
    pub(crate) signed: Vec<Handshake>,
    pub(crate) fetches: bool,
    pub(crate) event: EventRule,
    pub(crate) answers: Answers,
    pub(crate) facts: Facts,
    pub(crate) description: String,
    pub(crate) warnings: Vec<String>,
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

/// Responses that the provider requires, if it requires any.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Response to an accepted delivery, and to a duplicate.
    pub accepted: Option<Answer>,
    /// Status of a refusal for a bad signature.
    pub rejected: Option<u16>,
    /// Status of "not now".
    pub overloaded: Option<u16>,
}

/// Facts about a source's provider and scheme.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Time for which a redelivery should be recognised: the provider's retries and a fifth, at least seven days.
    pub window: Duration,
    /// Time for which the provider retries.
    pub retry: Option<Duration>,
    /// Time in which the provider should have its answer, with room to spare.
    pub deadline: Option<Duration>,
    /// Largest body that the provider sends.
    pub max_body_bytes: Option<usize>,
    /// A change of the body breaks the signature.
    pub body_covered: bool,
    /// A change of the event's id breaks the signature.
    pub id_covered: bool,
    /// Largest age of a delivery, if an older one is refused for its age.
    pub max_age: Option<Duration>,
    /// A redelivery can be told from another event.
    pub redelivery_known: bool,
    /// Time for which an event is known if its id, or lack of one, does not make it the only one: the provider's retries and a fifth.
    pub retry_span: Duration,
    /// Definition of a duplicate, in a sentence.
    pub duplicates: String,
    /// The scheme was read somewhere, and not recalled.
    pub confirmed: bool,
}

impl Scheme {
    /// Returns `true` for the methods of events and handshakes.
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

    /// Responses that the provider requires.
    #[inline]
    pub fn answers(&self) -> &Answers {
        &self.answers
    }

    /// Facts about the provider.
    #[inline]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Returns `true` if anything is verified at all.
    #[inline]
    pub fn verifies(&self) -> bool {
        !matches!(self.check, Check::Unverified)
    }

    /// The scheme in one sentence.
    #[inline]
    pub fn describe(&self) -> &str {
        &self.description
    }

    /// URL of the provider's key set. Fetch it before the first delivery and from time to time, and give it to
    /// [`KeyRing::set_key_set`](crate::KeyRing::set_key_set).
    pub fn jwks_url(&self) -> Option<&str> {
        match &self.check {
            Check::Jwt(rule) => rule.jwks_url(),
            _ => None,
        }
    }

    /// Returns the fetch of the key or certificate that a delivery names by `name`; None if no delivery can.
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

    /// Returns `true` if bodies may be decompressed: to verify them, or to read the event's id and type.
    #[inline]
    pub fn unpacks(&self) -> bool {
        self.gunzip.is_some() || self.reads_gzip()
    }

    /// The document is the body, so that gzip would hide its id and type.
    pub(crate) fn reads_gzip(&self) -> bool {
        matches!(self.document, Document::Body) && !self.event.paths.is_empty()
    }

    /// Returns how many bytes verifying takes for a decompressed copy of this body; None where it is taken as it is.
    #[inline]
    pub fn unpacked_len(&self, body: &[u8]) -> Option<usize> {
        let len = gunzip::unpacked_len(body).filter(|_| self.unpacks())?;
        // A body that only hides its id is taken whatever its size.
        (self.gunzip.is_some() || len <= self.unpack_limit).then_some(len)
    }

    /// Returns `true` if deliveries name keys that have to be fetched.
    #[inline]
    pub fn fetches(&self) -> bool {
        self.fetches
    }

    /// Returns `true` if the source's secret comes out of a handshake; see [`Scheme::with_learned`].
    #[inline]
    pub fn learns(&self) -> bool {
        self.learning.is_some()
    }

    /// Returns `true` if the scheme is compiled with this secret, which the provider handed over.
    pub fn has_learned(&self, secret: &Secret) -> bool {
        self.learning
            .as_ref()
            .is_some_and(|learning| learning.is_known(secret))
    }

    /// Warnings to the operator, one sentence each.
    #[inline]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

impl Check {
    /// Returns `true` if something that is checked, or the id, needs the source's public URL.
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
    /// The document's bytes. One that is not there is empty, and has nothing in it.
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
