//! Queries and forms, decoded as browsers write them.

use std::borrow::Cow;

use percent_encoding::percent_decode;

use crate::refusal::{Reason, Refusal};
use crate::request::Request;

/// Most fields of a form or query.
pub(super) const MAX_FIELDS: usize = 1000;

/// Decoded names and values, in order.
pub(crate) type Fields<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// Returns a value of the query with "+" read as itself, if "+" as a blank makes another one. A
/// secret that is pasted into a URL is rarely escaped as forms are.
pub(crate) fn with_plus(target: &str, name: &str) -> Option<Vec<u8>> {
    let pair = query(target)?.split('&').find_map(|pair| {
        let (known, value) = pair.split_once('=')?;
        (*decode(known.as_bytes()) == *name.as_bytes()).then_some(value)
    });
    pair.filter(|value| value.contains('+'))
        .map(|value| percent_decode(value.as_bytes()).collect())
}

/// The value of the first field of that name.
pub(crate) fn field<'f>(fields: &'f Fields<'_>, name: &str) -> Option<&'f [u8]> {
    fields
        .iter()
        .find(|(known, _)| **known == *name.as_bytes())
        .map(|(_, value)| &**value)
}

/// Returns the text after `?` in a request's target.
pub(crate) fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

/// Returns `true` if the body is a form by its content type, or has no content type.
pub(crate) fn is_form(request: &Request) -> bool {
    content_type(request)
        .is_none_or(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

pub(super) fn content_type(request: &Request) -> Option<&str> {
    let value = request
        .headers
        .get(&http::header::CONTENT_TYPE)?
        .to_str()
        .ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

/// The fields of a form or a query.
pub(crate) fn fields(text: &[u8]) -> Result<Fields<'_>, Refusal> {
    let mut fields = Fields::new();
    for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        if fields.len() == MAX_FIELDS {
            return Err(Refusal::new(
                Reason::BodyMalformed,
                format!("more than {MAX_FIELDS} fields in a form or query"),
            ));
        }
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        fields.push((
            decode(&pair[..at]),
            decode(pair.get(at + 1..).unwrap_or_default()),
        ));
    }
    Ok(fields)
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'+') {
        let spaced: Vec<u8> = text
            .iter()
            .map(|b| if *b == b'+' { b' ' } else { *b })
            .collect();
        Cow::Owned(percent_decode(&spaced).collect())
    } else {
        percent_decode(text).into()
    }
}
