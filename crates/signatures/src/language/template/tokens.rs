//! Segments and tokens of templates.

use http::HeaderName;

use crate::crypto::mac::{Encoding, HashName};
use crate::json_pointers::Slot;
use crate::language::canonical::Canonical;

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
    Json(Slot, Box<str>),
    JsonSortedKv(Slot),
    Canonical(Canonical),
}

#[derive(Debug, Clone)]
pub(super) enum Filter {
    Lower,
    Hash(HashName, Encoding),
    Crc32,
    Hmac(Encoding),
    Unescape(Box<[u8]>),
}

/// Syntax that a template may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grammar {
    /// A message: `[…]` is optional.
    Message,
    /// Anything else: `[` is `[`.
    Plain,
}
