//! Canonical requests, `{canonical:NAME}`: messages of a few providers whose rules no template can
//! express.
//!
//! If a request names the signed headers, each must be present exactly once, and those that the
//! scheme requires must be named.

use std::borrow::Cow;

use http::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::crypto::mac::Encoding;
use crate::json_pointers::{JsonPointer, PathSet, scalar};
use crate::language::context::{Cx, Params, Wrong};
use crate::language::http_signature::{Form, HttpSignature};
use crate::language::syntax::CanonicalName;
use crate::request::view::{is_form, query};
use crate::{Reason, Refusal};

/// Most headers that a request may name.
const MAX_NAMED: usize = 64;

/// Characters that percent-encoding leaves alone: RFC 3986, a query of Node.js, a URI of
/// JavaScript.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const COMPONENT: &AsciiSet = &UNRESERVED
    .remove(b'!')
    .remove(b'*')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')');
const URI: &AsciiSet = &COMPONENT
    .remove(b';')
    .remove(b',')
    .remove(b'/')
    .remove(b'?')
    .remove(b':')
    .remove(b'@')
    .remove(b'&')
    .remove(b'=')
    .remove(b'+')
    .remove(b'$')
    .remove(b'#');

/// A request as its provider writes it down to sign it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Canonical {
    /// Method, path with an escaped query, the headers that `x-contentful-signed-headers` names,
    /// body.
    Contentful,
    /// URL with its query sorted, then the form's fields, sorted.
    PlivoV3,
    /// Atlassian's query string hash, before it is hashed: method, path below the app's base URL,
    /// query sorted.
    Qsh { base: Box<str> },
    /// Method, path, the headers that the token's header names, body.
    TrueLayer,
    /// The components that the request names (RFC 9421, or the draft before it).
    HttpSignature(HttpSignature),
}

impl Canonical {
    /// Reads the parameters that a canonical request takes.
    pub(crate) fn compile(name: CanonicalName, params: &Params) -> Result<Self, Wrong> {
        Ok(match name {
            CanonicalName::Contentful => Self::Contentful,
            CanonicalName::PlivoV3 => Self::PlivoV3,
            CanonicalName::Qsh => Self::Qsh {
                base: params
                    .get("base_path")
                    .map_or("", |path| path.trim_end_matches('/'))
                    .into(),
            },
            CanonicalName::TrueLayer => Self::TrueLayer,
            CanonicalName::Rfc9421 => {
                Self::HttpSignature(HttpSignature::compile(Form::Rfc9421, params)?)
            }
            CanonicalName::Cavage => {
                Self::HttpSignature(HttpSignature::compile(Form::Cavage, params)?)
            }
        })
    }

    /// Returns `true` if a change of the body changes the canonical request.
    pub(crate) fn covers_body(&self) -> bool {
        match self {
            Self::Qsh { .. } => false,
            Self::HttpSignature(rule) => rule.covers_body(),
            Self::Contentful | Self::PlivoV3 | Self::TrueLayer => true,
        }
    }

    /// Returns `true` if the time of signing is a part of the canonical request.
    pub(crate) fn has_time(&self) -> bool {
        matches!(self, Self::Contentful)
    }

    /// Returns `true` if a change of this header changes the canonical request of every delivery.
    pub(crate) fn covers_header(&self, name: &HeaderName) -> bool {
        matches!(self, Self::HttpSignature(rule) if rule.covers_header(name))
    }

    pub(crate) fn of(&self, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
        match self {
            Self::Contentful => contentful(cx),
            Self::PlivoV3 => plivo_v3(cx),
            Self::Qsh { base } => Ok(qsh(base, cx)),
            Self::TrueLayer => truelayer(cx),
            Self::HttpSignature(rule) => rule.base(cx),
        }
    }
}

fn contentful(cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    let list = header(cx, &HeaderName::from_static("x-contentful-signed-headers"))?;
    let mut named = named(&list)?;
    for must in ["x-contentful-signed-headers", "x-contentful-timestamp"] {
        demand(&named, must)?;
    }
    named.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    let headers: Vec<Vec<u8>> = named
        .iter()
        .map(|(name, _)| {
            Ok([
                name.as_str().as_bytes(),
                b":",
                header(cx, name)?.trim_ascii(),
            ]
            .concat())
        })
        .collect::<Result<_, Refusal>>()?;
    let mut uri = path(cx).into_owned();
    if let Some(query) = query(&cx.view.request.target).filter(|query| !query.is_empty()) {
        let query = query.split('?').next().unwrap_or_default();
        uri = format!("{uri}?{}", percent_encode(query.as_bytes(), COMPONENT));
    }
    let uri = percent_encode(uri.as_bytes(), URI).to_string();
    Ok([
        cx.view.request.method.as_str().as_bytes(),
        uri.as_bytes(),
        &headers.join(&b';'),
        cx.view.body,
    ]
    .join(&b'\n'))
}

fn truelayer(cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    let token = header(cx, &HeaderName::from_static("tl-signature"))?;
    let protected = token
        .split(|b| *b == b'.')
        .next()
        .and_then(|part| Encoding::Base64Url.decode(part))
        .unwrap_or_default();
    let malformed = || {
        Refusal::new(
            Reason::SignatureMalformed,
            "the token's header does not say which headers are signed",
        )
    };
    let mut paths = PathSet::default();
    let (version, list) = paths
        .add(&JsonPointer::member("tl_version"))
        .and_then(|version| Ok((version, paths.add(&JsonPointer::member("tl_headers"))?)))
        .map_err(|_| malformed())?;
    let slots = paths.walk(&protected).map_err(|_| malformed())?;
    if slots.raw(version).and_then(scalar).as_deref() != Some(b"2") {
        return Err(Refusal::new(
            Reason::SignatureMalformed,
            "the signature's version is not 2",
        ));
    }
    let list = slots.raw(list).and_then(scalar).ok_or_else(malformed)?;
    let named = named(&list)?;
    demand(&named, "x-tl-webhook-timestamp")?;
    let target = match query(&cx.view.request.target) {
        Some(query) => format!("{}?{query}", path(cx)),
        None => path(cx).into_owned(),
    };
    let mut text = format!("{} {target}\n", cx.view.request.method).into_bytes();
    for (name, written) in &named {
        for piece in [*written, b": ", &header(cx, name)?, b"\n"] {
            text.extend_from_slice(piece);
        }
    }
    text.extend_from_slice(cx.view.body);
    Ok(text)
}

fn plivo_v3(cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    let view = cx.view;
    if !(view.body.is_empty() || is_form(view.request)) {
        return Err(Refusal::new(
            Reason::PreconditionFailed,
            "the body is not a form, and only forms are signed",
        ));
    }
    let sorted = |fields: &crate::request::view::Fields<'_>, equals: &[u8], and: &[u8]| {
        let mut fields: Vec<_> = fields.iter().collect();
        fields.sort();
        fields
            .iter()
            .map(|(name, value)| [name, equals, value].concat())
            .collect::<Vec<_>>()
            .join(and)
    };
    let (query, form) = (
        sorted(&view.query, b"=", b"&"),
        sorted(&view.form, b"", b""),
    );
    let mut text = cx
        .url
        .and_then(|url| url.spellings.get(cx.spelling))
        .map_or("", |url| &url.text)
        .as_bytes()
        .to_vec();
    if !(query.is_empty() && view.form.is_empty()) {
        text.push(b'?');
        text.extend_from_slice(&query);
    }
    if !(query.is_empty() || view.form.is_empty()) {
        text.push(b'.');
    }
    text.extend_from_slice(&form);
    Ok(text)
}

fn qsh(base: &str, cx: Cx<'_>) -> Vec<u8> {
    let path = path(cx);
    let below = path.strip_prefix(base).unwrap_or(&path).replace('&', "%26");
    let below = below.trim_start_matches('/');
    let below = below.strip_suffix('/').unwrap_or(below);
    let mut fields: Vec<_> = cx
        .view
        .query
        .iter()
        .filter(|(name, _)| **name != *b"jwt")
        .collect();
    fields.sort();
    let mut text = format!("{}&/{below}&", cx.view.request.method);
    let mut last = None;
    for (name, value) in fields {
        match last {
            Some(known) if known == name => text.push(','),
            known => {
                text.push_str(if known.is_some() { "&" } else { "" });
                text.extend(percent_encode(name, UNRESERVED));
                text.push('=');
            }
        }
        text.extend(percent_encode(value, UNRESERVED));
        last = Some(name);
    }
    text.into_bytes()
}

/// The path of the source's public URL.
fn path(cx: Cx<'_>) -> Cow<'_, str> {
    match cx.url.map_or("", |url| &url.path) {
        "" => Cow::Borrowed("/"),
        path => Cow::Borrowed(path),
    }
}

/// Names of headers, and how they were written.
type Named<'l> = Vec<(HeaderName, &'l [u8])>;

/// The headers on a comma list, none twice.
fn named(list: &[u8]) -> Result<Named<'_>, Refusal> {
    let malformed = |text: &'static str| Refusal::new(Reason::SignatureMalformed, text);
    let mut named = Named::new();
    for written in list.split(|b| *b == b',').filter(|name| !name.is_empty()) {
        let name = HeaderName::from_bytes(written)
            .map_err(|_| malformed("the list of signed headers names an invalid header"))?;
        if named.len() == MAX_NAMED || named.iter().any(|(known, _)| *known == name) {
            return Err(malformed(
                "the list of signed headers names one twice, or too many",
            ));
        }
        named.push((name, written));
    }
    Ok(named)
}

fn demand(named: &Named<'_>, must: &str) -> Result<(), Refusal> {
    if named.iter().any(|(name, _)| name.as_str() == must) {
        Ok(())
    } else {
        Err(Refusal::new(
            Reason::PreconditionFailed,
            format!("header {must} must be signed, but is not"),
        ))
    }
}

/// The one value of a header that is signed.
fn header<'v>(cx: Cx<'v>, name: &HeaderName) -> Result<Cow<'v, [u8]>, Refusal> {
    let mut values = cx
        .view
        .request
        .headers
        .iter()
        .filter(|(known, _)| known == name)
        .map(|(_, value)| value.as_bytes());
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(Cow::Borrowed(value)),
        (None, _) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("header {name} is signed, but missing"),
        )),
        _ => Err(Refusal::new(
            Reason::PreconditionFailed,
            format!("header {name} occurs more than once"),
        )),
    }
}
