//! Places in a request, and the values found there.

use std::borrow::Cow;

use http::HeaderName;

use crate::json_pointers::{PathSet, Slot, scalar};
use crate::language::context::{Cx, Params, Wrong};
use crate::language::http_signature::{HttpSignature, Part};
use crate::request::view::{Needs, field};

/// Most values that are looked at.
const MAX_VALUES: usize = 64;

/// A place in a request that holds one value or several.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Place {
    Header(HeaderName),
    Query(Box<str>),
    Form(Box<str>),
    Json(Slot),
    /// An entry of the signature's list.
    Sig(Box<str>),
    /// A part of an HTTP Message Signature.
    HttpSignature(HttpSignature, Part),
}

impl Place {
    pub(crate) fn parse(
        text: &str,
        params: &Params,
        paths: &mut PathSet,
        needs: &mut Needs,
    ) -> Result<Self, Wrong> {
        match text.split_once(':') {
            Some(("header", name)) => {
                Ok(Self::Header(name.parse().map_err(|_| {
                    format!("\"{name}\" is no name of a header")
                })?))
            }
            Some(("query", name)) => {
                needs.query = true;
                Ok(Self::Query(name.into()))
            }
            Some(("form", name)) => {
                needs.form = true;
                Ok(Self::Form(name.into()))
            }
            Some(("json", pointer)) => Ok(Self::Json(paths.add(pointer)?)),
            Some(("signature", label)) => Ok(Self::Sig(label.into())),
            _ if let Some((rule, part)) = HttpSignature::place(text, params) => {
                Ok(Self::HttpSignature(rule, part))
            }
            _ => Err(format!(
                "\"{text}\" is no place: header:NAME, query:NAME, form:NAME or json:/pointer"
            )
            .into()),
        }
    }

    /// The values there; only a header can have several.
    pub(crate) fn values<'v>(&'v self, cx: Cx<'v>) -> Vec<Cow<'v, [u8]>> {
        match self {
            Self::Header(name) => cx
                .view
                .request
                .headers
                .all(name)
                .map(|value| Cow::Borrowed(value.as_bytes()))
                .take(MAX_VALUES)
                .collect(),
            Self::Query(name) => field(&cx.view.query, name)
                .map(Cow::Borrowed)
                .into_iter()
                .collect(),
            Self::Form(name) => field(&cx.view.form, name)
                .map(Cow::Borrowed)
                .into_iter()
                .collect(),
            Self::Json(slot) => cx.slots.raw(*slot).and_then(scalar).into_iter().collect(),
            Self::Sig(_) => Vec::new(),
            Self::HttpSignature(rule, part) => rule.part(*part, cx).into_iter().collect(),
        }
    }

    /// The one value there; of a repeated header, none.
    pub(crate) fn value<'v>(&'v self, cx: Cx<'v>) -> Option<Cow<'v, [u8]>> {
        let mut values = self.values(cx);
        if values.len() == 1 {
            values.pop()
        } else {
            None
        }
    }

    /// As an operator reads it.
    pub(crate) fn describe(text: &str) -> String {
        match text.split_once(':') {
            Some(("header", name)) => name.to_owned(),
            Some(("query", name)) => format!("query parameter {name}"),
            Some(("form", name)) => format!("form field {name}"),
            Some(("json", pointer)) => format!("{pointer} of the body"),
            _ => text.to_owned(),
        }
    }
}
