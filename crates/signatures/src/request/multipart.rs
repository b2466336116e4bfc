//! Fields of a multipart body (RFC 7578).

use std::borrow::Cow;

use crate::refusal::{Reason, Refusal};
use crate::request::Request;
use crate::request::form::{Fields, MAX_FIELDS};

/// The field `name` of a `multipart/form-data` body, as it stands between its boundaries.
pub(crate) fn multipart_field<'a>(
    request: &Request,
    body: &'a [u8],
    name: &str,
) -> Option<&'a [u8]> {
    let mut parts = Parts::of(request, body)?;
    parts
        .find(|part| part.name() == Some(name.as_bytes()))
        .map(|part| part.value)
}

/// The text fields of a `multipart/form-data` body; none of any other.
pub(super) fn multipart_fields<'a>(
    request: &Request,
    body: &'a [u8],
) -> Result<Fields<'a>, Refusal> {
    let mut fields = Fields::new();
    for part in Parts::of(request, body)
        .into_iter()
        .flatten()
        .filter(|part| !part.is_file())
    {
        if fields.len() == MAX_FIELDS {
            return Err(Refusal::new(
                Reason::BodyMalformed,
                format!("more than {MAX_FIELDS} fields in a form"),
            ));
        }
        if let Some(name) = part.name() {
            fields.push((Cow::Borrowed(name), Cow::Borrowed(part.value)));
        }
    }
    Ok(fields)
}

/// The parts of a `multipart/form-data` body (RFC 7578), as far as it is well-formed.
struct Parts<'a> {
    delimiter: String,
    rest: &'a [u8],
}

struct Part<'a> {
    /// The value of its `Content-Disposition`.
    disposition: &'a [u8],
    value: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(request: &Request, body: &'a [u8]) -> Option<Self> {
        let kind = request
            .headers
            .get(&http::header::CONTENT_TYPE)?
            .to_str()
            .ok()?;
        let (media, parameters) = kind.split_once(';')?;
        if !media.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let named = |parameter: &'_ str| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("boundary")
                .then(|| value.trim().trim_matches('"').to_owned())
        };
        let delimiter = format!(
            "\r\n--{}",
            parameters
                .split(';')
                .find_map(named)
                .filter(|boundary| !boundary.is_empty())?
        );
        // What stands before the first boundary is no part; the line break before it may be
        // missing.
        let rest = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
            Some(rest) => rest,
            None => &body[find(body, delimiter.as_bytes())? + delimiter.len()..],
        };
        Some(Self { delimiter, rest })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let part = self.rest.strip_prefix(b"\r\n")?;
        // A part without headers has an empty line at once.
        let head_end = if part.starts_with(b"\r\n") {
            0
        } else {
            find(part, b"\r\n\r\n")? + 2
        };
        let start = head_end + 2;
        let end = start + find(&part[start..], self.delimiter.as_bytes())?;
        self.rest = &part[end + self.delimiter.len()..];
        let heads = part[..head_end].split(|b| *b == b'\n');
        let mut disposition = heads.filter_map(|line| {
            let at = line.iter().position(|b| *b == b':')?;
            line[..at]
                .trim_ascii()
                .eq_ignore_ascii_case(b"content-disposition")
                .then_some(line[at + 1..].trim_ascii())
        });
        Some(Part {
            disposition: disposition.next_back().unwrap_or_default(),
            value: &part[start..end],
        })
    }
}

impl<'a> Part<'a> {
    fn name(&self) -> Option<&'a [u8]> {
        self.parameter(b"name")
    }

    fn is_file(&self) -> bool {
        self.parameter(b"filename").is_some() || self.parameter(b"filename*").is_some()
    }

    /// A parameter of the disposition: a token, or quoted. A quote inside is percent-encoded, as
    /// browsers do.
    fn parameter(&self, wanted: &[u8]) -> Option<&'a [u8]> {
        let mut rest = self.disposition;
        loop {
            rest = &rest[rest.iter().position(|b| *b == b';')? + 1..];
            let at = rest.iter().position(|b| *b == b'=')?;
            let (name, text) = (rest[..at].trim_ascii(), rest[at + 1..].trim_ascii_start());
            let (value, after) = match text.strip_prefix(b"\"") {
                Some(quoted) => {
                    let end = quoted.iter().position(|b| *b == b'"')?;
                    (&quoted[..end], &quoted[end + 1..])
                }
                None => {
                    let end = text.iter().position(|b| *b == b';').unwrap_or(text.len());
                    (text[..end].trim_ascii_end(), &text[end..])
                }
            };
            if name.eq_ignore_ascii_case(wanted) {
                return Some(value);
            }
            rest = after;
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, what)
}
