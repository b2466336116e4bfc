//! Templates: what is signed, what an id is made of, what a handshake answers.
//!
//! `{token}` stands for a part of the request, `{token|filter}` for something made of it; in a message, a segment in `[…]` vanishes when
//! a token in it is missing or empty. `{param:NAME}` is filled in when the source is loaded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::HeaderName;

use crate::crypto::mac::{Encoding, HashName, MacKey};
use crate::language::canonical::Canonical;
use crate::language::json_pointers::{PathSet, Slot, Slots, flat_members, scalar};
use crate::request::view::{PublicUrl, View, field, query};
use crate::{Reason, Refusal};

/// The parameters of a source, over the defaults of its preset.
pub(crate) type Params = BTreeMap<String, String>;

/// A compiled template.
#[derive(Debug, Clone, Default)]
pub(crate) struct Template(Vec<Segment>);

#[derive(Debug, Clone)]
enum Segment {
    Literal(Box<[u8]>),
    Token(Token, Vec<Filter>),
    Optional(Vec<Segment>),
    /// Several tokens in one.
    Joined(Vec<Segment>, Vec<Filter>),
}

/// A part of the request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Body,
    Ts,
    Secret,
    Method,
    Url,
    /// The URL without its query.
    BaseUrl,
    Path,
    Header(HeaderName),
    Query(Box<str>),
    Form(Box<str>),
    FormSorted,
    FormSortedKv {
        except: Box<[Box<str>]>,
    },
    Json(Slot, Box<str>),
    JsonSortedKv(Slot),
    Canonical(Canonical),
}

#[derive(Debug, Clone)]
enum Filter {
    Lower,
    Hash(HashName, Encoding),
    Crc32,
    Hmac(Encoding),
    Unescape(Box<[u8]>),
}

/// A piece of a message: borrowed from the request where it can be.
#[derive(Debug)]
pub(crate) enum Piece<'v> {
    Bytes(Cow<'v, [u8]>),
    Secret,
}

/// The values of a template's tokens, and the whole as text.
pub(crate) type Parts<'v> = (Vec<Cow<'v, [u8]>>, String);

/// What a template is filled from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cx<'v> {
    pub(crate) view: &'v View<'v>,
    pub(crate) slots: &'v Slots<'v>,
    pub(crate) ts: &'v [u8],
    pub(crate) url: Option<&'v PublicUrl>,
    /// Which spelling of the URL.
    pub(crate) spelling: usize,
    /// The key of the `hmac` filter.
    pub(crate) key: Option<&'v MacKey>,
}

/// What may stand in a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// A message: `[…]` is optional.
    Message,
    /// Anything else: `[` is `[`.
    Plain,
}

impl Template {
    pub(crate) fn parse(
        text: &str,
        grammar: Grammar,
        params: &Params,
        paths: &mut PathSet,
    ) -> Result<Self, Wrong> {
        let mut parser = Parser {
            rest: text,
            grammar,
            params,
            paths,
        };
        let segments = parser.segments(false)?;
        Ok(Self(segments))
    }

    /// Every token, those in optional segments too.
    pub(crate) fn tokens(&self) -> Vec<&Token> {
        fn collect<'t>(segments: &'t [Segment], tokens: &mut Vec<&'t Token>) {
            for segment in segments {
                match segment {
                    Segment::Literal(_) => {}
                    Segment::Token(token, _) => tokens.push(token),
                    Segment::Optional(inner) | Segment::Joined(inner, _) => collect(inner, tokens),
                }
            }
        }
        let mut tokens = Vec::new();
        collect(&self.0, &mut tokens);
        tokens
    }

    /// Whether the body is there by its checksum only, which whoever has a body can keep while he changes it.
    pub(crate) fn has_only_a_checksum(&self) -> bool {
        let body = |segment: &&Segment| matches!(segment, Segment::Token(Token::Body, _));
        let checksum = |segment: &Segment| matches!(segment, Segment::Token(_, filters) if matches!(filters.first(), Some(Filter::Crc32)));
        let mut bodies = self.0.iter().filter(body).peekable();
        bodies.peek().is_some() && bodies.all(checksum)
    }

    /// The ends of the body, front and back, at which a time or a header stands with nothing in between: digits can be moved across such
    /// a border without breaking the signature.
    pub(crate) fn time_beside_body(&self) -> (bool, bool) {
        let is = |segment: Option<&Segment>, wanted: fn(&Token) -> bool| matches!(segment, Some(Segment::Token(token, filters)) if filters.is_empty() && wanted(token));
        let time = |token: &Token| matches!(token, Token::Ts | Token::Header(_));
        let body = |token: &Token| *token == Token::Body;
        let beside = |first, second| {
            self.0
                .windows(2)
                .any(|pair| is(pair.first(), first) && is(pair.get(1), second))
        };
        (beside(time, body), beside(body, time))
    }

    /// Whether it cannot be filled without the source's public URL.
    pub(crate) fn needs_url(&self) -> bool {
        self.tokens().iter().any(|token| {
            matches!(
                token,
                Token::Url | Token::BaseUrl | Token::Path | Token::Canonical(_)
            )
        })
    }

    /// Whether something in it is signed with the source's key.
    pub(crate) fn signs(&self) -> bool {
        let hmac = |segment: &Segment| matches!(segment, Segment::Token(_, filters) | Segment::Joined(_, filters) if filters.iter().any(|f| matches!(f, Filter::Hmac(_))));
        self.0.iter().any(hmac)
    }

    /// The message, in pieces. A signed header, query parameter or form field that is absent refuses; an absent JSON value is empty.
    pub(crate) fn pieces<'v>(&'v self, cx: Cx<'v>) -> Result<Vec<Piece<'v>>, Refusal> {
        let mut pieces = Vec::with_capacity(self.0.len());
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => pieces.push(Piece::Bytes(Cow::Borrowed(text))),
                Segment::Token(Token::Secret, _) => pieces.push(Piece::Secret),
                Segment::Token(token, filters) => {
                    pieces.push(Piece::Bytes(filtered(signed(token, cx)?, filters, cx)?))
                }
                Segment::Optional(inner) => pieces.extend(
                    optional(inner, cx)?
                        .unwrap_or_default()
                        .into_iter()
                        .map(Piece::Bytes),
                ),
                Segment::Joined(inner, filters) => {
                    let missing = || {
                        Refusal::new(
                            Reason::SignatureMissing,
                            "a signed part of the request is missing or empty",
                        )
                    };
                    pieces.push(Piece::Bytes(
                        joined_tokens(inner, filters, cx)?.ok_or_else(missing)?,
                    ));
                }
            }
        }
        Ok(pieces)
    }

    /// The values of the tokens, in order, and the whole as text. None where one is missing or empty.
    pub(crate) fn parts<'v>(&'v self, cx: Cx<'v>) -> Result<Option<Parts<'v>>, Refusal> {
        let mut parts = Vec::new();
        let mut shown = Vec::new();
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => shown.extend_from_slice(text),
                Segment::Token(Token::Json(slot, pointer), _) if cx.slots.is_ambiguous(*slot) => {
                    let why = format!("a key on the way to {pointer} occurs twice");
                    return Err(Refusal::new(Reason::BodyMalformed, why));
                }
                Segment::Token(Token::Json(slot, _), filters) => {
                    let before = parts.len();
                    for raw in cx.slots.all(*slot) {
                        let Some(value) = scalar(raw).filter(|value| !value.is_empty()) else {
                            return Ok(None);
                        };
                        if parts.len() > before {
                            shown.push(b',');
                        }
                        let value = filtered(value, filters, cx)?;
                        shown.extend_from_slice(&value);
                        parts.push(value);
                    }
                    if parts.len() == before {
                        return Ok(None);
                    }
                }
                Segment::Token(token, filters) => {
                    let Some(value) = value(token, cx)?.filter(|value| !value.is_empty()) else {
                        return Ok(None);
                    };
                    let value = filtered(value, filters, cx)?;
                    shown.extend_from_slice(&value);
                    parts.push(value);
                }
                Segment::Joined(inner, filters) => {
                    let Some(value) = joined_tokens(inner, filters, cx)? else {
                        return Ok(None);
                    };
                    shown.extend_from_slice(&value);
                    parts.push(value);
                }
                Segment::Optional(_) => {}
            }
        }
        Ok((!parts.is_empty()).then(|| (parts, String::from_utf8_lossy(&shown).into_owned())))
    }

    /// The text, with nothing for what is missing.
    pub(crate) fn fill(&self, cx: Cx<'_>) -> Result<Vec<u8>, Refusal> {
        let mut text = Vec::new();
        for segment in &self.0 {
            match segment {
                Segment::Literal(literal) => text.extend_from_slice(literal),
                Segment::Token(token, filters) => {
                    text.extend_from_slice(&filtered(
                        value(token, cx)?.unwrap_or_default(),
                        filters,
                        cx,
                    )?);
                }
                Segment::Joined(inner, filters) => {
                    text.extend_from_slice(&joined_tokens(inner, filters, cx)?.unwrap_or_default())
                }
                Segment::Optional(_) => {}
            }
        }
        Ok(text)
    }

    /// The text of a template without tokens.
    pub(crate) fn literal(&self) -> Option<String> {
        self.0
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => std::str::from_utf8(text).ok(),
                _ => None,
            })
            .collect()
    }
}

/// Text in which only `{param:NAME}` stands, filled in.
pub(crate) fn with_params(text: &str, params: &Params) -> Result<String, Wrong> {
    let template = Template::parse(text, Grammar::Plain, params, &mut PathSet::default())?;
    template
        .literal()
        .ok_or_else(|| format!("\"{text}\": only {{param:NAME}} can stand here").into())
}

/// Several tokens in one, filtered together; None where one is missing or empty.
fn joined_tokens<'v>(
    inner: &'v [Segment],
    filters: &[Filter],
    cx: Cx<'v>,
) -> Result<Option<Cow<'v, [u8]>>, Refusal> {
    let Some(values) = optional(inner, cx)? else {
        return Ok(None);
    };
    filtered(Cow::Owned(values.concat()), filters, cx).map(Some)
}

fn optional<'v>(
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

fn signed<'v>(token: &'v Token, cx: Cx<'v>) -> Result<Cow<'v, [u8]>, Refusal> {
    match (value(token, cx)?, token) {
        (Some(value), _) => Ok(value),
        (None, Token::Json(..)) => Ok(Cow::Borrowed(&[])),
        (None, Token::Header(name)) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("header {name} is signed, and missing"),
        )),
        (None, Token::Query(name)) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("query parameter {name} is signed, and missing"),
        )),
        (None, Token::Form(name)) => Err(Refusal::new(
            Reason::SignatureMissing,
            format!("form field {name} is signed, and missing"),
        )),
        (None, _) => Err(Refusal::new(
            Reason::SignatureMissing,
            "a signed part of the request is missing",
        )),
    }
}

fn value<'v>(token: &'v Token, cx: Cx<'v>) -> Result<Option<Cow<'v, [u8]>>, Refusal> {
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
                Some(query) => Cow::Owned(format!("{url}?{query}").into_bytes()),
                None => Cow::Borrowed(url.as_bytes()),
            }),
        Token::BaseUrl => cx
            .url
            .and_then(|url| url.spellings.get(cx.spelling))
            .map(|url| Cow::Borrowed(url.as_bytes())),
        Token::Canonical(canonical) => Some(Cow::Owned(canonical.of(cx)?)),
        Token::Path => cx.url.map(|url| Cow::Borrowed(url.path.as_bytes())),
        Token::Header(name) => view.header(name)?.map(Cow::Borrowed),
        Token::Query(name) => field(&view.query, name).map(Cow::Borrowed),
        Token::Form(name) => field(&view.form, name).map(Cow::Borrowed),
        Token::FormSorted => Some(Cow::Owned(sorted_form(view))),
        Token::FormSortedKv { except } => {
            let mut fields: Vec<_> = view
                .form
                .iter()
                .filter(|(name, _)| !except.iter().any(|e| e.as_bytes() == &**name))
                .collect();
            fields.sort();
            Some(Cow::Owned(joined(
                fields.iter().map(|(name, value)| (&**name, &**value)),
            )))
        }
        Token::Json(slot, _) => cx
            .slots
            .raw(*slot)
            .map(|raw| match raw.as_bytes().first() {
                Some(b'{' | b'[') => Err(Refusal::new(
                    Reason::BodyMalformed,
                    "a JSON value that is signed is an object or array",
                )),
                _ => Ok(scalar(raw)),
            })
            .transpose()?
            .flatten(),
        Token::JsonSortedKv(slot) => {
            let members = cx.slots.raw(*slot).and_then(flat_members);
            let Some(mut members) = members else {
                return Err(Refusal::new(
                    Reason::BodyMalformed,
                    "the JSON object that is signed is missing or not flat",
                ));
            };
            members.sort();
            Some(Cow::Owned(joined(
                members.iter().map(|(name, value)| (&**name, &**value)),
            )))
        }
    })
}

/// Names and values one after another, sorted by name; a repeated field has its distinct values, sorted.
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

fn filtered<'v>(
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

/// What is signed for whoever asks for it: a word. The message of an event is none (see [`crate::check::message::Proof`]), or anybody could have
/// an event signed that he made up.
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

struct Parser<'p> {
    rest: &'p str,
    grammar: Grammar,
    params: &'p Params,
    paths: &'p mut PathSet,
}

impl Parser<'_> {
    fn segments(&mut self, inside: bool) -> Result<Vec<Segment>, Wrong> {
        let mut segments = Vec::new();
        let brackets = self.grammar == Grammar::Message;
        loop {
            let stop = self
                .rest
                .find(|c| c == '{' || (brackets && (c == '[' || c == ']')))
                .unwrap_or(self.rest.len());
            let (literal, rest) = self.rest.split_at(stop);
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.as_bytes().into()));
            }
            self.rest = rest.get(1..).unwrap_or_default();
            match (rest.bytes().next(), inside) {
                (None, false) | (Some(b']'), true) => return Ok(segments),
                (None, true) => return Err("\"[\" without \"]\"".into()),
                (Some(b'{'), _) => {
                    let end = self.rest.find('}').ok_or("\"{\" without \"}\"")?;
                    let token = &self.rest[..end];
                    self.rest = &self.rest[end + 1..];
                    segments.push(self.token(token)?);
                }
                (Some(b'['), false) => {
                    let inner = self.segments(true)?;
                    segments.push(Segment::Optional(inner));
                }
                (Some(other), _) => {
                    return Err(format!("\"{}\" where it has no meaning", char::from(other)).into());
                }
            }
        }
    }

    fn token(&mut self, text: &str) -> Result<Segment, Wrong> {
        let mut words = text.split('|');
        let name = words.next().unwrap_or_default();
        let mut words: Vec<&str> = words.collect();
        let sorted_kv = words.first() == Some(&"sorted_kv");
        if sorted_kv {
            words.remove(0);
        }
        let token = match name.split_once(':') {
            None => match name {
                "body" => Token::Body,
                "ts" => Token::Ts,
                "secret" => Token::Secret,
                "method" => Token::Method,
                "url" => Token::Url,
                "base_url" => Token::BaseUrl,
                "path" => Token::Path,
                _ => return Err(format!("no token {{{text}}}").into()),
            },
            Some(("param", param)) => {
                let value = self
                    .params
                    .get(param)
                    .ok_or_else(|| Wrong::MissingParam(param.into()))?;
                return Ok(Segment::Literal(value.as_bytes().into()));
            }
            Some(("header", header)) => Token::Header(
                header
                    .parse()
                    .map_err(|_| format!("{{{text}}} names no header"))?,
            ),
            Some(("query", name)) => Token::Query(name.into()),
            Some(("form", "sorted")) => Token::FormSorted,
            Some(("form", "sorted_kv")) => {
                let except = match words.first().and_then(|word| word.strip_prefix("except:")) {
                    Some(names) => {
                        words.remove(0);
                        names.split(',').map(Into::into).collect()
                    }
                    None => Box::default(),
                };
                Token::FormSortedKv { except }
            }
            Some(("form", name)) => Token::Form(name.into()),
            Some(("canonical", name)) => Token::Canonical(
                Canonical::parse(name, self.params)
                    .ok_or_else(|| format!("no canonical request \"{name}\""))?,
            ),
            Some(("join", names)) => {
                let inner = names
                    .split('+')
                    .map(|name| self.token(name))
                    .collect::<Result<_, _>>()?;
                return Ok(Segment::Joined(
                    inner,
                    words.into_iter().map(filter).collect::<Result<_, _>>()?,
                ));
            }
            Some(("json", pointer)) if sorted_kv => Token::JsonSortedKv(self.paths.add(pointer)?),
            Some(("json", pointer)) => Token::Json(self.paths.add(pointer)?, pointer.into()),
            Some(_) => return Err(format!("no token {{{text}}}").into()),
        };
        let filters = words.into_iter().map(filter).collect::<Result<_, _>>()?;
        Ok(Segment::Token(token, filters))
    }
}

/// A mistake in a text of the language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// The source does not give this parameter.
    #[error("needs the source's params.{0}")]
    MissingParam(Box<str>),
    /// Anything else.
    #[error("{0}")]
    Text(String),
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Wrong {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

fn filter(word: &str) -> Result<Filter, String> {
    let encoding = |name: &str| {
        Encoding::parse(name)
            .ok_or_else(|| format!("no encoding \"{name}\": hex, HEX, base64 or base64url"))
    };
    Ok(match word.split_once(':') {
        None if word == "lower" => Filter::Lower,
        None if word == "crc32" => Filter::Crc32,
        Some(("sha256", name)) => Filter::Hash(HashName::Sha256, encoding(name)?),
        Some(("md5", name)) => Filter::Hash(HashName::Md5, encoding(name)?),
        Some(("hmac", name)) => Filter::Hmac(encoding(name)?),
        Some(("unescape", only)) => Filter::Unescape(only.as_bytes().into()),
        _ => {
            return Err(format!(
                "no filter \"{word}\": lower, crc32, sha256:ENC, md5:ENC, hmac:ENC, unescape:CHARACTERS"
            ));
        }
    })
}
