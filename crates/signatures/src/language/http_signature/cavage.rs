//! draft-cavage-http-signatures-12: one header, `Signature` or `Authorization`, names the
//! components and has the signature.

use std::borrow::Cow;

use http::HeaderName;
use http::header::{AUTHORIZATION, DATE};

use super::component::{Derived, SignedComponent};
use super::{
    Chosen, Form, HttpSignature, MAX_COMPONENTS, bound, derived, field, malformed, missing,
};
use crate::Refusal;
use crate::crypto::mac::Encoding;
use crate::language::context::Cx;

/// Most parameters of the header.
const MAX_PARAMETERS: usize = 16;

pub(crate) fn chosen<'v>(rule: &HttpSignature, cx: Cx<'v>) -> Result<Chosen<'v>, Refusal> {
    let header = header_value(rule, cx)?;
    let parameters = parameters(&header)
        .ok_or_else(|| malformed("signature is not a list of name=\"value\""))?;
    let value = |name: &str| {
        parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    // Without a list, only the time is signed.
    let covered = covered(value("headers").unwrap_or("(created)"))?;
    let mut lines: Vec<Vec<u8>> = Vec::with_capacity(covered.len());
    for (at, component) in covered.iter().enumerate() {
        if covered[..at].contains(component) {
            return Err(malformed("signature names a header twice"));
        }
        let own = |name: &str| value(name).unwrap_or_default().as_bytes().to_vec();
        let text = match component {
            SignedComponent::Derived(Derived::Created) => own("created"),
            SignedComponent::Derived(Derived::Expires) => own("expires"),
            SignedComponent::Derived(part) => derived(*part, cx).unwrap_or_default(),
            SignedComponent::Header(name) => field(cx, name)?,
        };
        lines.push([component.name().as_bytes(), b": ", &text].concat());
    }
    rule.demand(&covered)?;
    if covered.contains(&Form::Cavage.digest()) {
        digest(cx)?;
    }
    let created = match value("created") {
        Some(created) if covered.contains(&SignedComponent::Derived(Derived::Created)) => {
            created.parse().ok()
        }
        _ if covered.contains(&SignedComponent::Header(DATE)) => {
            field(cx, &DATE).ok().and_then(|date| seconds(&date))
        }
        _ => None,
    };
    let signature = value("signature").unwrap_or_default().as_bytes().to_vec();
    Ok(Chosen {
        signature: Cow::Owned(signature),
        created,
        base: lines.join(&b"\n"[..]),
    })
}

/// Parses the list of signed components.
fn covered(list: &str) -> Result<Vec<SignedComponent>, Refusal> {
    let names: Vec<&str> = list.split_whitespace().collect();
    if names.len() > MAX_COMPONENTS {
        return Err(malformed("signature names too many headers"));
    }
    let component = |name: &&str| {
        SignedComponent::parse(Form::Cavage, &name.to_ascii_lowercase())
            .ok_or_else(|| malformed(format!("\"{name}\" is signed, but is not a header")))
    };
    names.iter().map(component).collect()
}

/// Returns the scheme's header, or the parameters of `Authorization: Signature`.
fn header_value(rule: &HttpSignature, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    if let Ok(text) = field(cx, &rule.header) {
        return Ok(text);
    }
    let text = field(cx, &AUTHORIZATION).map_err(|_| missing("signature"))?;
    let rest = text
        .get(..10)
        .filter(|scheme| scheme.eq_ignore_ascii_case(b"signature "))
        .map(|_| &text[10..]);
    rest.map(<[u8]>::to_vec).ok_or_else(|| missing("signature"))
}

/// `name="value"` or `name=value`, separated by commas; none twice.
fn parameters(header: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = std::str::from_utf8(header).ok()?.trim();
    let mut parameters: Vec<(String, String)> = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        let name = name.trim().to_owned();
        if parameters.len() == MAX_PARAMETERS || parameters.iter().any(|(known, _)| *known == name)
        {
            return None;
        }
        parameters.push((name, value.trim().to_owned()));
        let after = after.trim_start();
        rest = if after.is_empty() {
            after
        } else {
            after.strip_prefix(',')?.trim_start()
        };
    }
    Some(parameters)
}

/// `Digest` (RFC 3230): `SHA-256=base64`, several separated by commas.
fn digest(cx: Cx<'_>) -> Result<(), Refusal> {
    let header = field(cx, &HeaderName::from_static("digest"))?;
    let text = std::str::from_utf8(&header).map_err(|_| malformed("digest is not text"))?;
    let digests = text.split(',').filter_map(|entry| {
        let (name, digest) = entry.trim().split_once('=')?;
        Some((
            name,
            Cow::Owned(
                Encoding::Base64
                    .decode(digest.as_bytes())
                    .unwrap_or_default(),
            ),
        ))
    });
    bound(cx, "digest", digests)
}

/// An HTTP date in seconds since 1970.
fn seconds(date: &[u8]) -> Option<i64> {
    let date = std::str::from_utf8(date).ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(date)
        .ok()
        .map(jiff::Timestamp::as_second)
}

/// The header's value for these components.
pub(crate) fn header<'c>(
    covers: impl Iterator<Item = &'c str>,
    at: i64,
    signature: &str,
) -> String {
    let covers: Vec<&str> = ["(created)"]
        .into_iter()
        .chain(covers.filter(|name| *name != "(created)"))
        .collect();
    format!(
        "keyId=\"hookweir\",algorithm=\"hs2019\",created={at},headers=\"{}\",signature=\"{signature}\"",
        covers.join(" ")
    )
}
