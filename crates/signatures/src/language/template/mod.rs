//! Compiled templates of messages, ids and answers.
//!
//! `{token}` stands for a part of the request, and `{token|filter}` for a value derived from it.
//! `{param:NAME}` is filled in when the source is loaded. In a message, a segment in `[…]` is left
//! out if a token in it is missing or empty.

use std::borrow::Cow;

use crate::json_pointers::{PathSet, scalar};
use crate::language::context::{Cx, Params, Wrong};
use crate::language::syntax::{Filter, TemplateText};
use crate::refusal::{Reason, Refusal};

mod fill;
mod lower;
mod tokens;

pub(crate) use self::fill::is_challenge;
use self::fill::{filtered, joined_tokens, optional, signed, value};
use self::tokens::Segment;
pub(crate) use self::tokens::Token;

/// A compiled template. It has no default, so that none stands in for one that does not compile.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Segment>);

/// A piece of a message: borrowed from the request where it can be.
#[derive(Debug)]
pub(crate) enum Piece<'v> {
    Bytes(Cow<'v, [u8]>),
    Secret,
}

/// The values of a template's tokens, and the whole as text.
pub(crate) type Parts<'v> = (Vec<Cow<'v, [u8]>>, String);

impl Template {
    /// Template of nothing: the message of a token, or an answer without a body.
    pub(crate) const EMPTY: Self = Self(Vec::new());

    /// Fills the parameters of a source into a template.
    pub(crate) fn compile(
        text: &TemplateText,
        params: &Params,
        paths: &mut PathSet,
    ) -> Result<Self, Wrong> {
        lower::segments(text.nodes(), params, paths).map(Self)
    }

    /// Makes a template of a text without tokens.
    pub(crate) fn of_literal(text: &str) -> Self {
        Self(vec![Segment::Literal(text.as_bytes().into())])
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

    /// Returns the ends of the body, front and back, that touch a time or a header. Digits can be
    /// moved across such a border without breaking the signature.
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

    /// Returns `true` if the template needs the source's public URL.
    pub(crate) fn needs_url(&self) -> bool {
        self.tokens().iter().any(|token| {
            matches!(
                token,
                Token::Url | Token::BaseUrl | Token::Path | Token::Canonical(_)
            )
        })
    }

    /// Returns `true` if a part of the template is signed with the source's key.
    pub(crate) fn signs(&self) -> bool {
        let hmac = |segment: &Segment| matches!(segment, Segment::Token(_, filters) | Segment::Joined(_, filters) if filters.iter().any(|f| matches!(f, Filter::Hmac(_))));
        self.0.iter().any(hmac)
    }

    /// Returns the message in pieces. Fails if a signed header, query parameter or form field is
    /// absent. An absent JSON value is empty.
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

    /// Returns the values of the tokens, in order, and the whole text. None if a value is missing
    /// or empty.
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

    /// Returns the filled text. A missing value is empty.
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
}
