//! draft-cavage-http-signatures-12: one header, `Signature` or `Authorization`, names the
//! components and has the signature.

use std::borrow::Cow;

use super::{
    Chosen, HttpSignature, MAX_COMPONENTS, authority, bound, field, malformed, missing, target,
};
use crate::Refusal;
use crate::crypto::mac::Encoding;
use crate::language::context::Cx;

/// Most parameters of the header.
const MAX_PARAMETERS: usize = 16;

pub(crate) fn chosen<'v>(rule: &HttpSignature, cx: Cx<'v>) -> Result<Chosen<'v>, Refusal> {
    let header = header_value(rule, cx)?;
    let parameters =
        parameters(&header).ok_or_else(|| malformed("signature is no list of name=\"value\""))?;
    let value = |name: &str| {
        parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    // Without a list, only the time is signed.
    let covered: Vec<String> = value("headers")
        .unwrap_or("(created)")
        .split_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    if covered.len() > MAX_COMPONENTS {
        return Err(malformed("signature names too many headers"));
    }
    let mut lines: Vec<Vec<u8>> = Vec::with_capacity(covered.len());
    for (at, name) in covered.iter().enumerate() {
        if covered[..at].contains(name) {
            return Err(malformed("signature names a header twice"));
        }
        let text = match name.as_str() {
            "(created)" | "(expires)" => value(name.trim_matches(['(', ')']))
                .unwrap_or_default()
                .as_bytes()
                .to_vec(),
            name => component(name, cx)?,
        };
        lines.push([name.as_bytes(), b": ", &text].concat());
    }
    let covered: Vec<&str> = covered.iter().map(String::as_str).collect();
    rule.demand(&covered)?;
    if covered.contains(&"digest") {
        digest(cx)?;
    }
    let created = match value("created") {
        Some(created) if covered.contains(&"(created)") => created.parse().ok(),
        _ if covered.contains(&"date") => field(cx, "date").ok().and_then(|date| seconds(&date)),
        _ => None,
    };
    let signature = value("signature").unwrap_or_default().as_bytes().to_vec();
    Ok(Chosen {
        signature: Cow::Owned(signature),
        created,
        base: lines.join(&b"\n"[..]),
    })
}

/// Returns the scheme's header, or the parameters of `Authorization: Signature`.
fn header_value(rule: &HttpSignature, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    if let Ok(text) = field(cx, rule.header.as_str()) {
        return Ok(text);
    }
    let text = field(cx, "authorization").map_err(|_| missing("signature"))?;
    let rest = text
        .get(..10)
        .filter(|scheme| scheme.eq_ignore_ascii_case(b"signature "))
        .map(|_| &text[10..]);
    rest.map(<[u8]>::to_vec).ok_or_else(|| missing("signature"))
}

/// Returns the value of a component that is a part of the request.
fn component(name: &str, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    Ok(match name {
        "(request-target)" => {
            let method = cx.view.request.method.as_str().to_ascii_lowercase();
            format!("{method} {}", target(cx)).into_bytes()
        }
        "host" => authority(cx).into_bytes(),
        name => field(cx, name)?,
    })
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
    let header = field(cx, "digest")?;
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
