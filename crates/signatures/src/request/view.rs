//! A request as templates see it: headers, query, form fields, the JSON document, the URL as the provider has it.

use std::borrow::Cow;
use std::io::Read;

use http::HeaderName;
use percent_encoding::percent_decode;
use url::Url;

use crate::request::Request;
use crate::{Reason, Refusal};

/// Most fields of a form or query.
const MAX_FIELDS: usize = 1000;

/// Decoded names and values, in order.
pub(crate) type Fields<'a> = Vec<(Cow<'a, [u8]>, Cow<'a, [u8]>)>;

/// What of a request is decoded before its proof, because the scheme asks for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    pub(crate) form: bool,
    pub(crate) query: bool,
}

/// One request, and its decoded parts.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) request: &'a Request,
    /// The body, decompressed where the scheme says so.
    pub(crate) body: &'a [u8],
    pub(crate) form: Fields<'a>,
    pub(crate) query: Fields<'a>,
}

impl<'a> View<'a> {
    pub(crate) fn new(request: &'a Request, body: &'a [u8], needs: Needs) -> Result<Self, Refusal> {
        let form = match needs.form {
            true if is_form(request) => fields(body)?,
            true => multipart_fields(request, body)?,
            false => Fields::new(),
        };
        let query = if needs.query {
            fields(query(&request.target).unwrap_or_default().as_bytes())?
        } else {
            Fields::new()
        };
        Ok(Self {
            request,
            body,
            form,
            query,
        })
    }

    /// The view of a GET without a body for the event's id and type, once the request is proven: its query is the form.
    pub(crate) fn by_query(&self) -> Result<Option<Self>, Refusal> {
        let Self { request, body, .. } = *self;
        let Some(query) = request.content_in_query() else {
            return Ok(None);
        };
        Ok(Some(Self {
            request,
            body,
            form: fields(query.as_bytes())?,
            query: self.query.clone(),
        }))
    }

    /// The one value of a header. Signed or not: where it occurs twice, we and the consumer may take different ones.
    pub(crate) fn header(&self, name: &'a HeaderName) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.request.headers.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Refusal::new(
                Reason::PreconditionFailed,
                format!("header {name} occurs more than once"),
            ));
        }
        Ok(first.map(http::HeaderValue::as_bytes))
    }
}

/// A value of the query in which "+" stands for itself, where that is another one than with "+" for a blank: whoever pastes a secret into a
/// URL does not think of forms.
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

/// What follows `?` in a request's target.
pub(crate) fn query(target: &str) -> Option<&str> {
    target.split_once('?').map(|(_, query)| query)
}

/// Whether the body is a form by its content type; without one it may be.
pub(crate) fn is_form(request: &Request) -> bool {
    content_type(request)
        .is_none_or(|kind| kind.eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}

fn content_type(request: &Request) -> Option<&str> {
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
fn multipart_fields<'a>(request: &Request, body: &'a [u8]) -> Result<Fields<'a>, Refusal> {
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
        // What stands before the first boundary is no part; the line break before it may be missing.
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

    /// A parameter of the disposition: a token, or quoted. A quote inside is percent-encoded, as browsers do.
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

/// Returns the length that a gzip body says it has when it is decompressed; None where it is no gzip. Nothing vouches for that number, so
/// [`gunzip`] makes no more than it.
pub(crate) fn unpacked_len(body: &[u8]) -> Option<usize> {
    // RFC 1952: a head of at least 10 bytes, and at the end the checksum and the length.
    let (_, trailer) = body
        .split_last_chunk::<4>()
        .filter(|_| body.starts_with(&[0x1f, 0x8b]) && body.len() >= 18)?;
    usize::try_from(u32::from_le_bytes(*trailer)).ok()
}

/// The body, decompressed if it is gzip; at most `limit` bytes, and as many as it says itself. What follows the first member of a gzip file
/// would reach a consumer unverified, so that nothing may follow.
pub(crate) fn gunzip(body: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, Refusal> {
    if !body.starts_with(&[0x1f, 0x8b]) {
        return Ok(Cow::Borrowed(body));
    }
    let malformed = || {
        Refusal::new(
            Reason::BodyMalformed,
            "the body starts like gzip and is not one gzip member",
        )
    };
    let size = unpacked_len(body).ok_or_else(malformed)?;
    if size > limit {
        return Err(Refusal::new(
            Reason::BodyTooLarge,
            format!("the body is larger than {limit} bytes when decompressed"),
        ));
    }
    let mut plain = Vec::with_capacity(size);
    let mut rest = body;
    let mut decoder = flate2::bufread::GzDecoder::new(&mut rest);
    // The decoder checks the trailer when it is asked for more than there is.
    let read = (&mut decoder)
        .take(size as u64)
        .read_to_end(&mut plain)
        .and_then(|_| decoder.read(&mut [0]));
    match read {
        Ok(0) if plain.len() == size && rest.is_empty() => Ok(Cow::Owned(plain)),
        _ => Err(malformed()),
    }
}

/// The source's URL as entered at the provider. Its query comes with the request, everything else from here, never from `Host`.
#[derive(Debug, Clone)]
pub(crate) struct PublicUrl {
    /// What `{url}` may be, without the query.
    pub(crate) spellings: Vec<Box<str>>,
    /// What `{path}` is.
    pub(crate) path: Box<str>,
}

impl PublicUrl {
    pub(crate) fn parse(text: &str, both_ports: bool) -> Result<Self, String> {
        let url = Url::parse(text).map_err(|error| format!("\"{text}\" is not a URL: {error}"))?;
        let Some(host) = url
            .host_str()
            .filter(|_| matches!(url.scheme(), "http" | "https"))
        else {
            return Err(format!(
                "\"{text}\" is not a URL that a provider can call: https://host/path"
            ));
        };
        // As written, since providers sign it as written: no slash added, no case changed.
        let written = text.split(['?', '#']).next().unwrap_or_default();
        let path_at = text
            .find("://")
            .and_then(|at| written[at + 3..].find('/').map(|slash| at + 3 + slash));
        let path = path_at.map_or("", |at| &written[at..]);
        let mut spellings = vec![Box::from(written)];
        if both_ports {
            let port = url.port_or_known_default().unwrap_or(443);
            // A user in the URL is a part of what is signed.
            let authority = written[..path_at.unwrap_or(written.len())]
                .split_once("://")
                .map_or("", |(_, authority)| authority);
            let user = authority.rfind('@').map_or("", |at| &authority[..=at]);
            let base = format!("{}://{user}{host}", url.scheme());
            spellings = vec![
                format!("{base}{path}").into(),
                format!("{base}:{port}{path}").into(),
            ];
        }
        Ok(Self {
            spellings,
            path: path.into(),
        })
    }
}

impl PublicUrl {
    /// The URL of a request as its sender has it.
    pub(crate) fn full(&self, request: &Request) -> String {
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
        let expected: [(&[u8], &[u8]); 4] =
            [(b"a", b"1"), (b"b", b"x y+"), (b"c", b""), (b"", b"d")];
        assert!(decoded.iter().map(|(n, v)| (&**n, &**v)).eq(expected));
        assert!(fields("a&".repeat(1001).as_bytes()).is_err());
    }

    #[test]
    fn the_fields_of_a_multipart_form_are_fields() {
        let request = |kind: &str| Request {
            method: http::Method::POST,
            target: "/".into(),
            headers: [(
                http::header::CONTENT_TYPE,
                http::HeaderValue::from_str(kind).expect("a value"),
            )]
            .into_iter()
            .collect(),
            body: bytes::Bytes::new(),
            received_at: crate::UnixMillis(0),
        };
        let body = b"preamble\r\n--b-1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--b-1\r\n\
            content-disposition:form-data;filename=x.txt; name=file\r\nContent-Type: text/plain\r\n\r\nname=\"b\"\r\n--b-1\r\n\
            Content-Type: text/plain\r\nContent-Disposition: form-data; name = b; x=\"; name=c\"\r\n\r\n\r\n--b-1\r\n\r\nno name\r\n--b-1--\r\n";
        let kind = request("Multipart/Form-Data; charset=utf-8; Boundary=\"b-1\"");
        let fields = multipart_fields(&kind, body).expect("few fields");
        let expected: [(&[u8], &[u8]); 2] = [(b"a", b"1\r\n2"), (b"b", b"")];
        assert!(
            fields.iter().map(|(n, v)| (&**n, &**v)).eq(expected),
            "{fields:?}"
        );
        assert_eq!(
            multipart_field(&kind, body, "file"),
            Some(&b"name=\"b\""[..])
        );
        assert_eq!(
            multipart_field(&kind, body, "c"),
            None,
            "not what stands in quotes"
        );
        assert!(
            multipart_fields(&request("multipart/form-data"), body)
                .expect("none")
                .is_empty()
        );
        assert!(
            multipart_fields(&request("multipart/form-data; boundary=b-1"), &body[..40])
                .expect("cut")
                .is_empty()
        );
    }

    #[test]
    fn a_bomb_is_refused_and_plain_bytes_pass() {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(&vec![0; 1_000_000]).expect("memory");
        let bomb = gzip.finish().expect("memory");
        assert_eq!(
            gunzip(&bomb, 1000).expect_err("too large").reason,
            Reason::BodyTooLarge
        );
        assert_eq!(gunzip(&bomb, 1_000_000).expect("fits").len(), 1_000_000);
        let cut = [&bomb[..20], &[9, 0, 0, 0][..]].concat();
        assert_eq!(
            gunzip(&cut, 1000).expect_err("cut").reason,
            Reason::BodyMalformed
        );
        assert_eq!(&*gunzip(b"{}", 1).expect("plain"), b"{}");
        assert_eq!(
            (
                unpacked_len(&bomb),
                unpacked_len(b"{}"),
                unpacked_len(&bomb[..12])
            ),
            (Some(1_000_000), None, None)
        );

        let mut liar = bomb.clone();
        let at = liar.len() - 4;
        liar[at..].copy_from_slice(&100_u32.to_le_bytes());
        assert_eq!(
            gunzip(&liar, 1_000_000)
                .expect_err("more than it says")
                .reason,
            Reason::BodyMalformed
        );
        liar[at..].copy_from_slice(&1_000_001_u32.to_le_bytes());
        assert_eq!(
            gunzip(&liar, 2_000_000)
                .expect_err("less than it says")
                .reason,
            Reason::BodyMalformed
        );
        let twice = [&bomb[..], &bomb[..]].concat();
        assert_eq!(
            gunzip(&twice, 2_000_000)
                .expect_err("a second member")
                .reason,
            Reason::BodyMalformed
        );
    }

    #[test]
    fn the_url_keeps_its_spelling() {
        let url = PublicUrl::parse("https://Example.com/a%2fB/?x=1", false).expect("a URL");
        assert_eq!(
            (&*url.spellings[0], &*url.path),
            ("https://Example.com/a%2fB/", "/a%2fB/")
        );
        let both = PublicUrl::parse("https://example.com/a", true).expect("a URL");
        assert_eq!(
            both.spellings.iter().map(|s| &**s).collect::<Vec<_>>(),
            ["https://example.com/a", "https://example.com:443/a"]
        );
        let user =
            PublicUrl::parse("https://ada:pass-w%40rd@example.com:8443/a", true).expect("a URL");
        let expected = [
            "https://ada:pass-w%40rd@example.com/a",
            "https://ada:pass-w%40rd@example.com:8443/a",
        ];
        assert_eq!(
            user.spellings.iter().map(|s| &**s).collect::<Vec<_>>(),
            expected
        );
        for bad in ["example.com/a", "ftp://example.com/", "mailto:a@b"] {
            assert!(PublicUrl::parse(bad, false).is_err(), "{bad} was accepted");
        }
    }
}
