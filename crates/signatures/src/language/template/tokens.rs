//! Segments and tokens of templates.

use http::HeaderName;

use crate::json_pointers::{JsonPointer, Slot};
use crate::language::canonical::Canonical;
use crate::language::syntax::Filter;

#[derive(Debug, Clone)]
pub(super) enum Segment {
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
    Json(Slot, JsonPointer),
    JsonSortedKv(Slot),
    Canonical(Canonical),
}
