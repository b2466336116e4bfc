//! Values of a template's tokens, from the request.

use std::borrow::Cow;

use super::tokens::{Segment, Token};
use crate::json_pointers::{JsonKind, Slot, flat_members, scalar};
use crate::language::context::Cx;
use crate::language::syntax::Filter;
use crate::refusal::{Reason, Refusal};
use crate::request::view::{View, field, query};

/// Several tokens in one, filtered together; None where one is missing or empty.
pub(super) fn joined_tokens<'v>(
    inner: &'v [Segment],
    filters: &[Filter],
    cx: Cx<'v>,
) -> Result<Option<Cow<'v, [u8]>>, Refusal> {
    let Some(values) = optional(inner, cx)? else {
        return Ok(None);
    };
    filtered(Cow::Owned(values.concat()), filters, cx).map(Some)
}

pub(super) fn optional<'v>(
    segments: &'v [Segment],
    cx: Cx<'v>,
) -> Result<Option<Vec<Cow<'v, [u8]>>>, Refusal> {
    let mut pieces = Vec::new();
    for segment in segments {
        match segment {
            Segment::Literal(text) => pieces.push(Cow::Borrowed(&**text)),
            Segment::Token(token, filters) => {
                match value(token, cx)?.filter(|value| !value.is_empty()) {
                    Some(value) => pieces.push(filtered(value, filters, cx)?),
                    None => return Ok(None),
                }
            }
            Segment::Joined(inner, filters) => match joined_tokens(inner, filters, cx)? {
                Some(value) => pieces.push(value),
                None => return Ok(None),
            },
            Segment::Optional(_) => {}
        }
    }
    Ok(Some(pieces))
}

pub(super) fn signed<'v>(token: &'v Token, cx: Cx<'v>) -> Result<Cow<'v, [u8]>, Refusal> {
    match (value(token, cx)?, token) {
        (Some(value), _) => Ok(value),
        (None, Token::Json(..)) => Ok(Cow::Borrowed(&[])),
        (None, Token::Header(name)) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("header {name} is signed, but missing"),
        )),
        (None, Token::Query(name)) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("query parameter {name} is signed, but missing"),
        )),
        (None, Token::Form(name)) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("form field {name} is signed, but missing"),
        )),
        (None, _) => Err(Refusal::new(
            Reason::SignatureMissing,
            "a signed part of the request is missing",
        )),
    }
}

pub(super) fn value<'v>(token: &'v Token, cx: Cx<'v>) -> Result<Option<Cow<'v, [u8]>>, Refusal> {
    let view = cx.view;
    Ok(match token {
        Token::Body => Some(Cow::Borrowed(view.body)),
        Token::Ts => Some(Cow::Borrowed(cx.ts)),
        Token::Secret => None,
        Token::Method => Some(Cow::Borrowed(view.request.method.as_str().as_bytes())),
        Token::Url => cx
            .url
            .and_then(|url| url.spellings.get(cx.spelling))
            .map(|url| match query(&view.request.target) {
                Some(query) => Cow::Owned(format!("{}?{query}", url.text).into_bytes()),
                None => Cow::Borrowed(url.text.as_bytes()),
            }),
        Token::BaseUrl => cx
            .url
            .and_then(|url| url.spellings.get(cx.spelling))
            .map(|url| Cow::Borrowed(url.text.as_bytes())),
        Token::Canonical(canonical) => Some(Cow::Owned(canonical.of(cx)?)),
        Token::Path => cx.url.map(|url| Cow::Borrowed(url.path.as_bytes())),
        Token::Header(name) => view.header(name)?.map(Cow::Borrowed),
        Token::Query(name) => field(&view.query, name).map(Cow::Borrowed),
        Token::Form(name) => field(&view.form, name).map(Cow::Borrowed),
        Token::FormSorted => Some(Cow::Owned(sorted_form(view))),
        Token::FormSortedKv { except } => Some(Cow::Owned(sorted_pairs(view, except))),
        Token::Json(slot, _) => json(*slot, cx)?,
        Token::JsonSortedKv(slot) => Some(Cow::Owned(sorted_members(*slot, cx)?)),
    })
}

fn json<'v>(slot: Slot, cx: Cx<'v>) -> Result<Option<Cow<'v, [u8]>>, Refusal> {
    match cx.slots.raw(slot) {
        Some(raw) if JsonKind::of(raw) == JsonKind::Nested => Err(Refusal::new(
            Reason::BodyMalformed,
            "a JSON value that is signed is an object or array",
        )),
        raw => Ok(raw.and_then(scalar)),
    }
}

/// Members of a flat JSON object as `name=value`, sorted, with `&` between.
fn sorted_members(slot: Slot, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    let mut members = cx.slots.raw(slot).and_then(flat_members).ok_or_else(|| {
        Refusal::new(
            Reason::BodyMalformed,
            "the JSON object that is signed is missing or not flat",
        )
    })?;
    members.sort();
    let pairs = members.iter().map(|(name, value)| (&**name, &**value));
    Ok(joined(pairs))
}

/// Form fields but for some as `name=value`, sorted, with `&` between.
fn sorted_pairs(view: &View<'_>, except: &[Box<str>]) -> Vec<u8> {
    let is_excepted = |name: &[u8]| except.iter().any(|except| except.as_bytes() == name);
    let mut fields: Vec<_> = view
        .form
        .iter()
        .filter(|(name, _)| !is_excepted(name))
        .collect();
    fields.sort();
    joined(fields.iter().map(|(name, value)| (&**name, &**value)))
}

/// Names and values one after another, sorted by name; a repeated field has its distinct values,
/// sorted.
fn sorted_form(view: &View<'_>) -> Vec<u8> {
    let mut fields: Vec<_> = view.form.iter().collect();
    fields.sort();
    fields.dedup();
    let mut text = Vec::new();
    for (name, value) in fields {
        text.extend_from_slice(name);
        text.extend_from_slice(value);
    }
    text
}

fn joined<'f>(fields: impl Iterator<Item = (&'f [u8], &'f [u8])>) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push(b'&');
        }
        text.extend_from_slice(name);
        text.push(b'=');
        text.extend_from_slice(value);
    }
    text
}

pub(super) fn filtered<'v>(
    value: Cow<'v, [u8]>,
    filters: &[Filter],
    cx: Cx<'_>,
) -> Result<Cow<'v, [u8]>, Refusal> {
    filters.iter().try_fold(value, |value, filter| {
        Ok(Cow::Owned(match filter {
            Filter::Lower => value.to_ascii_lowercase(),
            Filter::Hash(hash, encoding) => encoding.encode(hash.of([&*value]).as_bytes()).into_bytes(),
            Filter::Crc32 => crc32fast::hash(&value).to_string().into_bytes(),
            Filter::Hmac(_) if !is_challenge(&value) => {
                let why = "handshake: only a challenge is signed: 1 to 128 letters, digits or any of +/=_.-";
                return Err(Refusal::new(Reason::PreconditionFailed, why));
            }
            Filter::Hmac(encoding) => match cx.key {
                Some(key) => encoding.encode(key.of([&*value]).as_bytes()).into_bytes(),
                None => Vec::new(),
            },
            Filter::Unescape(only) => unescape(&value, only),
        }))
    })
}

/// Returns `true` for a word, which an unverified handshake may have signed. A message that is such
/// a word is never accepted as an event (see [`crate::check::message::Proof`]).
pub(crate) fn is_challenge(text: &[u8]) -> bool {
    (1..=128).contains(&text.len())
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+/=_.-".contains(byte))
}

/// Decodes the percent-escapes of some characters, and leaves the others.
fn unescape(text: &[u8], only: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let escaped = (text[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| hex::decode(digits).ok());
        match escaped {
            Some(byte) if only.contains(&byte[0]) => {
                plain.push(byte[0]);
                at += 3;
            }
            _ => {
                plain.push(text[at]);
                at += 1;
            }
        }
    }
    plain
}
