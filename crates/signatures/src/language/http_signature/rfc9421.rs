//! RFC 9421: `Signature-Input` names the components, `Signature` has the bytes, both under a label.

use std::borrow::Cow;

use http::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sfv::{BareItem, Dictionary, FieldType as _, InnerList, Item, ListEntry, Parser};

use super::component::{Derived, SignedComponent};
use super::{
    Chosen, Form, HttpSignature, MAX_COMPONENTS, bound, derived, field, malformed, missing, unfit,
};
use crate::Refusal;
use crate::crypto::mac::Encoding;
use crate::language::context::Cx;
use crate::request::view::{fields, query};

/// Unescaped in the value of a query parameter (RFC 9421, 2.2.8).
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'*')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_');

/// The first signature with the scheme's label and tag that covers enough.
pub(crate) fn chosen<'v>(rule: &HttpSignature, cx: Cx<'v>) -> Result<Chosen<'v>, Refusal> {
    let inputs = dictionary(cx, "signature-input")?;
    let signatures = dictionary(cx, "signature")?;
    let mut refusal = None;
    for (label, input) in &inputs {
        if rule
            .label
            .as_deref()
            .is_some_and(|only| only != label.as_str())
        {
            continue;
        }
        let (ListEntry::InnerList(input), Some(ListEntry::Item(signature))) =
            (input, signatures.get(label))
        else {
            continue;
        };
        let Some(signature) = signature.bare_item.as_byte_sequence() else {
            continue;
        };
        match base(rule, input, cx) {
            Ok(base) => {
                let signature = Cow::Owned(Encoding::Base64.encode(signature).into_bytes());
                return Ok(Chosen {
                    signature,
                    created: integer(input, "created"),
                    base,
                });
            }
            Err(error) => _ = refusal.get_or_insert(error),
        }
    }
    Err(refusal.unwrap_or_else(|| {
        malformed(
            "signature-input and signature have no signature in common that this source asks for",
        )
    }))
}

fn dictionary(cx: Cx<'_>, header: &'static str) -> Result<Dictionary, Refusal> {
    let name = HeaderName::from_static(header);
    let text = field(cx, &name).map_err(|_| missing(header))?;
    Parser::new(&text).parse().map_err(|_| {
        malformed(format!(
            "{header} is not a dictionary of structured fields (RFC 9651)"
        ))
    })
}

fn integer(input: &InnerList, name: &str) -> Option<i64> {
    match input.params.get(name)? {
        BareItem::Integer(number) => Some(i64::from(*number)),
        _ => None,
    }
}

/// The signature base (RFC 9421, 2.5).
fn base(rule: &HttpSignature, input: &InnerList, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    if input.items.len() > MAX_COMPONENTS {
        return Err(malformed("signature-input names too many components"));
    }
    has_tag(rule, input)?;
    let mut base = Vec::new();
    let mut seen = Vec::new();
    let mut covered = Vec::new();
    for item in &input.items {
        let name = item
            .bare_item
            .as_string()
            .ok_or_else(|| malformed("signature-input names something other than components"))?
            .as_str();
        let part = SignedComponent::parse(Form::Rfc9421, name).ok_or_else(|| unknown(name))?;
        let identifier = item.serialize();
        if seen.contains(&identifier) {
            return Err(malformed("signature-input names a component twice"));
        }
        for piece in [
            identifier.as_bytes(),
            b": ",
            &component(&part, item, cx)?,
            b"\n",
        ] {
            base.extend_from_slice(piece);
        }
        seen.push(identifier);
        covered.push(part);
    }
    rule.demand(&covered)?;
    if covered.contains(&Form::Rfc9421.digest()) {
        content_digest(cx)?;
    }
    let params = vec![ListEntry::InnerList(input.clone())]
        .serialize()
        .unwrap_or_default();
    base.extend_from_slice(b"\"@signature-params\": ");
    base.extend_from_slice(params.as_bytes());
    Ok(base)
}

fn has_tag(rule: &HttpSignature, input: &InnerList) -> Result<(), Refusal> {
    let tag = input
        .params
        .get("tag")
        .and_then(BareItem::as_string)
        .map(|tag| tag.as_str());
    if rule.tag.is_some() && rule.tag.as_deref() != tag {
        return Err(unfit(
            "the signature's tag is not the one that this source asks for",
        ));
    }
    Ok(())
}

/// Succeeds if `Content-Digest` (RFC 9530) is that of the body.
fn content_digest(cx: Cx<'_>) -> Result<(), Refusal> {
    let digests = dictionary(cx, "content-digest")?;
    let digests = digests.iter().filter_map(|(name, digest)| match digest {
        ListEntry::Item(digest) => Some((
            name.as_str(),
            Cow::Borrowed(digest.bare_item.as_byte_sequence()?),
        )),
        ListEntry::InnerList(_) => None,
    });
    bound(cx, "content-digest", digests)
}

/// The value of a component.
fn component(component: &SignedComponent, item: &Item, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    let derived = match component {
        SignedComponent::Derived(Derived::QueryParam) => return query_param(item, cx),
        SignedComponent::Derived(part) => derived(*part, cx),
        SignedComponent::Header(_) => None,
    };
    if let Some((parameter, _)) = item.params.first() {
        return Err(malformed(format!(
            "the component {component} has the parameter {parameter}, which is not supported"
        )));
    }
    match (derived, component) {
        (Some(value), _) => Ok(value),
        (None, SignedComponent::Header(name)) => field(cx, name),
        (None, SignedComponent::Derived(_)) => Err(unknown(component.name())),
    }
}

fn unknown(name: &str) -> Refusal {
    malformed(format!("\"{name}\" is not a component of a request"))
}

/// The one query parameter of the name that the component gives, decoded and escaped anew.
fn query_param(item: &Item, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
    let name = item
        .params
        .get("name")
        .and_then(BareItem::as_string)
        .filter(|_| item.params.len() == 1);
    let name = name
        .ok_or_else(|| {
            malformed("the component @query-param needs the parameter name, and no other")
        })?
        .as_str();
    let fields = fields(
        query(&cx.view.request.target)
            .unwrap_or_default()
            .as_bytes(),
    )?;
    let escaped = |text: &[u8]| percent_encode(text, QUERY_VALUE).to_string();
    let mut values = fields
        .iter()
        .filter(|(known, _)| escaped(known) == name)
        .map(|(_, value)| escaped(value).into_bytes());
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        _ => Err(malformed(format!(
            "the query parameter {name} is signed, but does not occur exactly once"
        ))),
    }
}

/// The value of `Signature-Input` for these components.
pub(crate) fn input<'c>(
    covers: impl Iterator<Item = &'c str>,
    tag: Option<&str>,
    at: i64,
) -> String {
    let covers: Vec<String> = covers.map(|name| format!("\"{name}\"")).collect();
    let tag = tag.map(|tag| format!(";tag=\"{tag}\"")).unwrap_or_default();
    format!(
        "({});created={at};keyid=\"hookweir\"{tag}",
        covers.join(" ")
    )
}
