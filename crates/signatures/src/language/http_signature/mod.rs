//! HTTP Message Signatures (RFC 9421), and the draft before them (draft-cavage-http-signatures-12),
//! which is still in use.
//!
//! A request names the components that are signed. Components of the URL come from the source's
//! public URL, never from `Host`, which a proxy may have changed. A digest of the body that is
//! signed is compared with the body.

mod cavage;
mod component;
mod rfc9421;

use std::borrow::Cow;

use http::HeaderName;
use http::header::HOST;

use self::component::{Derived, SignedComponent};
use crate::crypto::mac::{Encoding, HashName};
use crate::language::context::{Cx, Params, Wrong};
use crate::request::public_url::Spelling;
use crate::request::view::query;
use crate::{Reason, Refusal};

/// Most components that a request may name.
const MAX_COMPONENTS: usize = 64;

/// The rule of a scheme, out of its parameters `covers`, `label` and `tag`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HttpSignature {
    form: Form,
    /// Components that must be signed.
    covers: Box<[SignedComponent]>,
    /// Label of the signature that counts; the first that covers enough if left out.
    label: Option<Box<str>>,
    /// Application that the signature must be made for.
    tag: Option<Box<str>>,
    /// Header of the draft's signature.
    header: HeaderName,
}

/// Standard that a signature follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Form {
    Rfc9421,
    Cavage,
}

/// A value that the request says of its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The signature, in base64.
    Signature,
    /// The time of signing, in seconds since 1970.
    Created,
}

/// The signature of a request that counts.
struct Chosen<'v> {
    signature: Cow<'v, [u8]>,
    created: Option<i64>,
    /// The text that was signed.
    base: Vec<u8>,
}

impl HttpSignature {
    /// Reads the parameters `covers`, `label`, `tag` and `header`.
    pub(crate) fn compile(form: Form, params: &Params) -> Result<Self, Wrong> {
        let text = |name: &str| {
            params
                .get(name)
                .filter(|text| !text.is_empty())
                .map(|text| text.as_str().into())
        };
        let covers = params.get("covers").map_or("", String::as_str);
        let component = |name: &str| {
            SignedComponent::parse(form, &name.to_ascii_lowercase())
                .ok_or_else(|| format!("params.covers: \"{name}\" is not a component of a request"))
        };
        let covers = covers.split_whitespace().map(component);
        let covers = covers.collect::<Result<_, _>>()?;
        let header = params
            .get("header")
            .filter(|_| form == Form::Cavage)
            .map_or("signature", String::as_str)
            .parse()
            .map_err(|_| "params.header is not the name of a header")?;
        Ok(Self {
            form,
            covers,
            label: text("label"),
            tag: text("tag"),
            header,
        })
    }

    /// Returns `true` if the body's digest must be signed.
    pub(crate) fn covers_body(&self) -> bool {
        self.covers.contains(&self.form.digest())
    }

    /// Returns `true` if this header must be signed.
    pub(crate) fn covers_header(&self, header: &HeaderName) -> bool {
        self.covers
            .contains(&SignedComponent::Header(header.clone()))
    }

    /// Returns `true` if the signature is in this header.
    pub(crate) fn is_in(&self, has_header: impl Fn(&HeaderName) -> bool) -> bool {
        has_header(&self.header)
    }

    /// The text that is signed.
    pub(crate) fn base(&self, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
        self.chosen(cx).map(|chosen| chosen.base)
    }

    /// A part of the signature; none where the request has no signature that counts.
    pub(crate) fn part<'v>(&self, part: Part, cx: Cx<'v>) -> Option<Cow<'v, [u8]>> {
        let chosen = self.chosen(cx).ok()?;
        match part {
            Part::Signature => Some(chosen.signature),
            Part::Created => Some(Cow::Owned(chosen.created?.to_string().into_bytes())),
        }
    }

    fn chosen<'v>(&self, cx: Cx<'v>) -> Result<Chosen<'v>, Refusal> {
        match self.form {
            Form::Rfc9421 => rfc9421::chosen(self, cx),
            Form::Cavage => cavage::chosen(self, cx),
        }
    }

    /// Headers that a sender adds, for one that signs `at` this time in seconds: those to be
    /// signed, then the one that names them.
    pub(crate) fn headers(&self, body: &[u8], at: i64) -> Vec<(&str, String)> {
        let digest = Encoding::Base64.encode(HashName::Sha256.of([body]).as_bytes());
        let covers = || self.covers.iter().map(SignedComponent::name);
        match self.form {
            Form::Rfc9421 => vec![
                ("content-digest", format!("sha-256=:{digest}:")),
                (
                    "signature-input",
                    format!(
                        "{}={}",
                        self.label(),
                        rfc9421::input(covers(), self.tag.as_deref(), at)
                    ),
                ),
                ("signature", format!("{}=::", self.label())),
            ],
            Form::Cavage => vec![
                ("digest", format!("SHA-256={digest}")),
                (self.header.as_str(), cavage::header(covers(), at, "")),
            ],
        }
    }

    /// The header with the signature, and its value.
    pub(crate) fn header(&self, signature: &str, at: i64) -> (&str, String) {
        let value = match self.form {
            Form::Rfc9421 => format!("{}=:{signature}:", self.label()),
            Form::Cavage => {
                cavage::header(self.covers.iter().map(SignedComponent::name), at, signature)
            }
        };
        (self.header.as_str(), value)
    }

    fn label(&self) -> &str {
        self.label.as_deref().unwrap_or("sig1")
    }

    /// Refuses a signature that covers too little.
    fn demand(&self, covered: &[SignedComponent]) -> Result<(), Refusal> {
        match self.covers.iter().find(|must| !covered.contains(must)) {
            None => Ok(()),
            Some(missing) => Err(unfit(format!(
                "the component {missing} must be signed, but is not"
            ))),
        }
    }
}

impl Part {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Created => "created",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Signature, Self::Created]
            .into_iter()
            .find(|part| part.name() == name)
    }
}

impl Form {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rfc9421 => "rfc9421",
            Self::Cavage => "cavage",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        [Self::Rfc9421, Self::Cavage]
            .into_iter()
            .find(|form| form.name() == name)
    }

    /// The header with the body's digest.
    fn digest(self) -> SignedComponent {
        match self {
            Self::Rfc9421 => SignedComponent::header("content-digest"),
            Self::Cavage => SignedComponent::header("digest"),
        }
    }
}

/// Spelling of the source's public URL that is tried. None if the source has no URL.
fn spelling<'v>(cx: Cx<'v>) -> Option<&'v Spelling> {
    cx.url.and_then(|url| url.spellings.get(cx.spelling))
}

/// Host and port of the source's public URL, as `Host` has them at the sender.
fn authority(cx: Cx<'_>) -> &str {
    spelling(cx).map_or("", |url| &url.authority)
}

/// Returns the value of a part of the request. None for a part that only the signature can give.
fn derived(derived: Derived, cx: Cx<'_>) -> Option<Vec<u8>> {
    let method = &cx.view.request.method;
    let scheme = || spelling(cx).map_or("", |url| &url.scheme);
    Some(match derived {
        Derived::Authority => authority(cx).into(),
        Derived::Method => method.as_str().into(),
        Derived::Path => path(cx).into(),
        Derived::Query => {
            let query = query(&cx.view.request.target).unwrap_or_default();
            format!("?{query}").into_bytes()
        }
        Derived::RequestLine => {
            let method = method.as_str().to_ascii_lowercase();
            format!("{method} {}", target(cx)).into_bytes()
        }
        Derived::RequestTarget => target(cx).into_bytes(),
        Derived::Scheme => scheme().into(),
        Derived::TargetUri => {
            format!("{}://{}{}", scheme(), authority(cx), target(cx)).into_bytes()
        }
        Derived::Created | Derived::Expires | Derived::QueryParam => return None,
    })
}

/// The path of the source's public URL.
fn path(cx: Cx<'_>) -> &str {
    cx.url
        .map(|url| &*url.path)
        .filter(|path| !path.is_empty())
        .unwrap_or("/")
}

/// Path and query, as in the request line at the sender.
fn target(cx: Cx<'_>) -> String {
    match query(&cx.view.request.target) {
        Some(query) => format!("{}?{query}", path(cx)),
        None => path(cx).to_owned(),
    }
}

/// All values of a header that is signed, trimmed and joined with `, `. `Host` is that of the public
/// URL.
fn field(cx: Cx<'_>, header: &HeaderName) -> Result<Vec<u8>, Refusal> {
    if *header == HOST {
        return Ok(authority(cx).into());
    }
    let values = cx
        .view
        .request
        .headers
        .iter()
        .filter(|(known, _)| known == header);
    let values: Vec<&[u8]> = values
        .map(|(_, value)| value.as_bytes().trim_ascii())
        .collect();
    if values.is_empty() {
        return Err(Refusal::new(
            Reason::SignatureMissing,
            format!("header {header} is signed, but missing"),
        ));
    }
    Ok(values.join(&b", "[..]))
}

/// Refuses a body whose digest is not the one that is signed. `digests` are names of hashes and
/// digests.
fn bound<'d>(
    cx: Cx<'_>,
    header: &str,
    digests: impl Iterator<Item = (&'d str, Cow<'d, [u8]>)>,
) -> Result<(), Refusal> {
    let mut known = false;
    for (name, digest) in digests {
        let hash = match name.to_ascii_lowercase().as_str() {
            "sha-256" => HashName::Sha256,
            "sha-512" => HashName::Sha512,
            _ => continue,
        };
        known = true;
        if !hash.of([cx.view.body]).matches(&digest) {
            return Err(unfit(format!("{header} is not the digest of the body")));
        }
    }
    if known {
        Ok(())
    } else {
        Err(unfit(format!(
            "{header} holds no digest by sha-256 or sha-512"
        )))
    }
}

fn missing(header: &str) -> Refusal {
    Refusal::new(
        Reason::SignatureMissing,
        format!("{header} is missing or empty"),
    )
}

fn malformed(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::SignatureMalformed, detail)
}

fn unfit(detail: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal::new(Reason::PreconditionFailed, detail)
}
