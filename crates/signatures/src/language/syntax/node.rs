//! Nodes of templates.

use http::HeaderName;

use crate::crypto::mac::{Encoding, HashName};
use crate::json_pointers::JsonPointer;

/// Node of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Literal(Box<str>),
    /// A parameter of the source.
    Param(Box<str>),
    Token(Token, Vec<Filter>),
    /// Left out if a token in it is missing or empty.
    Optional(Vec<Node>),
    /// Several tokens in one.
    Joined(Vec<Node>, Vec<Filter>),
}

/// A part of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    Body,
    Timestamp,
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
    Json(JsonPointer),
    /// Pointer to an object.
    JsonSortedKv(JsonPointer),
    Canonical(CanonicalName),
}

/// Name of a canonical request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CanonicalName {
    Contentful,
    PlivoV3,
    Qsh,
    TrueLayer,
    Rfc9421,
    Cavage,
}

/// Change of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    Lower,
    Hash(HashName, Encoding),
    Crc32,
    Hmac(Encoding),
    Unescape(Box<[u8]>),
}

impl CanonicalName {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "contentful" => Self::Contentful,
            "plivo-v3" => Self::PlivoV3,
            "qsh" => Self::Qsh,
            "truelayer" => Self::TrueLayer,
            "rfc9421" => Self::Rfc9421,
            "cavage" => Self::Cavage,
            _ => return None,
        })
    }
}

/// Calls `visit` for each node, those inside others too.
pub(super) fn walk<'n>(nodes: &'n [Node], visit: &mut impl FnMut(&'n Node)) {
    for node in nodes {
        visit(node);
        if let Node::Optional(inner) | Node::Joined(inner, _) = node {
            walk(inner, visit);
        }
    }
}
