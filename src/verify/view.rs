//! A request as templates see it: headers, query, form fields, the JSON document, the URL as the provider has it.

use std::borrow::Cow;
use std::io::Read;

use http::HeaderName;
use percent_encoding::percent_decode;
use url::Url;

use crate::outcome::{RejectReason, Rejection};
use crate::request::Request;

/// Most fields of a form or query.
const MAX_FIELDS: usize = 1000;

/// Decoded names and values, in order.
pub(super) type Fields<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// What of a request is decoded before its proof, because the scheme asks for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Needs {
    pub(super) form: bool,
    pub(super) query: bool,
}

/// One request, and its decoded parts.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) request: &'a Request,
    /// The body, decompressed where the scheme says so.
    pub(super) body: &'a [u8],
    pub(super) form: Fields<'a>,
    pub(super) query: Fields<'a>,
}

impl<'a> View<'a> {
    pub(super) fn new(request: &'a Request, body: &'a [u8], needs: Needs) -> Result<Self, Rejection> {
        let form = if needs.form && is_form(request) { fields(body)? } else { Fields::new() };
        let query = if needs.query { fields(query(&request.target).unwrap_or_default().as_bytes())? } else { Fields::new() };
        Ok(Self { request, body, form, query })
    }

    /// The one value of a header. Signed or not: where it occurs twice, we and the consumer may take different ones.
    pub(super) fn header(&self, name: &'a HeaderName) -> Result<Option<&'a [u8]>, Rejection> {
        let mut values = self.request.headers.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Rejection::new(RejectReason::PreconditionFailed, format!("header {name} occurs more than once")));
        }
        Ok(first.map(http::HeaderValue::as_bytes))
    }
}

/// The value of the first field of that name.
pub(super) fn field<'f>(fields: &'f Fields<'_>, name: &str) -> Option<&'f [u8]> {
    fields.iter().find(|(known, _)| **known == *name.as_bytes()).map(|(_, value)| &**value)
}

/// What follows `?` in a request's target.
pub(super) fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

/// Whether the body is a form by its content type; without one it may be.
pub(super) fn is_form(request: &Request) -> bool {
    content_type(request).is_none_or(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

fn content_type(request: &Request) -> Option<&str> {
    let value = request.headers.get(&http::header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim())
}

fn fields(text: &[u8]) -> Result<Fields<'_>, Rejection> {
    let mut fields = Fields::new();
    for pair in text.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        if fields.len() == MAX_FIELDS {
            return Err(Rejection::new(RejectReason::BodyMalformed, format!("more than {MAX_FIELDS} fields in a form or query")));
        }
        let at = pair.iter().position(|b| *b == b'=').unwrap_or(pair.len());
        fields.push((decode(&pair[..at]), decode(pair.get(at + 1..).unwrap_or_default())));
    }
    Ok(fields)
}

fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if text.contains(&b'+') {
        let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
        Cow::Owned(percent_decode(&spaced).collect())
    } else {
        percent_decode(text).into()
    }
}

/// The field `name` of a `multipart/form-data` body, as it stands between its boundaries.
pub(super) fn multipart_field<'a>(request: &Request, body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let kind = request.headers.get(&http::header::CONTENT_TYPE)?.to_str().ok()?;
    let (_, boundary) = kind.split_once("boundary=")?;
    let boundary = boundary.split(';').next()?.trim().trim_matches('"');
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body.strip_prefix(format!("--{boundary}").as_bytes())?;
    let wanted = format!("name=\"{name}\"");
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head_end = find(part, b"\r\n\r\n")?;
        let end = head_end + 4 + find(&part[head_end + 4..], delimiter.as_bytes())?;
        let mut heads = part[..head_end].split(|b| *b == b'\n');
        if heads.any(|line| line.to_ascii_lowercase().starts_with(b"content-disposition:") && find(line, wanted.as_bytes()).is_some()) {
            return Some(&part[head_end + 4..end]);
        }
        rest = &part[end + delimiter.len()..];
    }
    None
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// The body, decompressed if it is gzip; at most `limit` bytes.
pub(super) fn gunzip(body: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, Rejection> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(body));
    }
    let mut plain = Vec::new();
    let read = flate2::read::GzDecoder::new(body).take(limit as u64 + 1).read_to_end(&mut plain);
    match read {
        Ok(size) if size > limit => {
            Err(Rejection::new(RejectReason::BodyTooLarge, format!("the body is larger than {limit} bytes when decompressed")))
        }
        Ok(_) => Ok(Cow::Owned(plain)),
        Err(_) => Err(Rejection::new(RejectReason::BodyMalformed, "the body starts like gzip and is not")),
    }
}

/// The source's URL as entered at the provider. Its query comes with the request, everything else from here, never from `Host`.
#[derive(Debug, Clone)]
pub(super) struct PublicUrl {
    /// What `{url}` may be, without the query.
    pub(super) spellings: Vec<Box<str>>,
    /// What `{path}` is.
    pub(super) path: Box<str>,
}

impl PublicUrl {
    pub(super) fn parse(text: &str, both_ports: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("\"{text}\" is not a URL: {error}"))?;
        let Some(host) = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https")) else {
            return Err(format!("\"{text}\" is not a URL that a provider can call: https://host/path"));
        };
        // As written, since providers sign it as written: no slash added, no case changed.
        let written = text.split(['?', '#']).next().unwrap_or_default();
        let path_at = text.find("://").and_then(|at| written[at + 3..].find('/').map(|slash| at + 3 + slash));
        let path = path_at.map_or("", |at| &written[at..]);
        let mut spellings = vec![Box::from(written)];
        if both_ports {
            let port = url.port_or_known_default().unwrap_or(443);
            spellings = vec![format!("{}://{host}{path}", url.scheme()).into(), format!("{}://{host}:{port}{path}", url.scheme()).into()];
        }
        Ok(Self { spellings, path: path.into() })
    }
}

impl PublicUrl {
    /// The URL of a request as its sender has it.
    pub(super) fn full(&self, request: &Request) -> String {
        let base = self.spellings.first().map_or("", |url| url);
        query(&request.target).map_or_else(|| base.to_owned(), |query| format!("{base}?{query}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_decode_as_browsers_write_them() {
        let decoded = fields(b"a=1&b=x+y%2B&c&&=d").expect("few fields");
        let expected: [(&[u8], &[u8]); 4] = [(b"a", b"1"), (b"b", b"x y+"), (b"c", b""), (b"", b"d")];
        assert!(decoded.iter().map(|(n, v)| (&**n, &**v)).eq(expected));
        assert!(fields("a&".repeat(1001).as_bytes()).is_err());
    }

    #[test]
    fn a_bomb_is_refused_and_plain_bytes_pass() {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 1_000_000]).expect("memory");
        let bomb = gzip.finish().expect("memory");
        assert_eq!(gunzip(&bomb, 1000).expect_err("too large").reason, RejectReason::BodyTooLarge);
        assert_eq!(gunzip(&bomb, 1_000_000).expect("fits").len(), 1_000_000);
        assert_eq!(gunzip(&bomb[..20], 1000).expect_err("cut").reason, RejectReason::BodyMalformed);
        assert_eq!(&*gunzip(b"{}", 1).expect("plain"), b"{}");
    }

    #[test]
    fn the_url_keeps_its_spelling() {
        let url = PublicUrl::parse("https://Example.com/a%2fB/?x=1", false).expect("a URL");
        assert_eq!((&*url.spellings[0], &*url.path), ("https://Example.com/a%2fB/", "/a%2fB/"));
        let both = PublicUrl::parse("https://example.com/a", true).expect("a URL");
        assert_eq!(both.spellings.iter().map(|s| &**s).collect::<Vec<_>>(), ["https://example.com/a", "https://example.com:443/a"]);
        for bad in ["example.com/a", "ftp://example.com/", "mailto:a@b"] {
            assert!(PublicUrl::parse(bad, false).is_err(), "{bad} was accepted");
        }
    }
}
