//! Places in a request, and the values found there.

use std::borrow::Cow;

use http::HeaderName;

use crate::json_pointers::{PathSet, Slot, scalar};
use crate::language::context::{Cx, Params, Wrong};
use crate::language::http_signature::{HttpSignature, Part};
use crate::language::syntax::{Field, FieldRef};
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
    /// Fills the parameters of a source into a place. The request is then decoded as far as the
    /// place needs it.
    pub(crate) fn compile(
        field: &FieldRef,
        params: &Params,
        paths: &mut PathSet,
        needs: &mut Needs,
    ) -> Result<Self, Wrong> {
        Ok(match &field.0 {
            Field::Header(name) => {
                let name = name.fill(params)?;
                let header = name.parse();
                Self::Header(header.map_err(|_| format!("\"{name}\" is not the name of a header"))?)
            }
            Field::Query(name) => {
                needs.query = true;
                Self::Query(name.fill(params)?.into())
            }
            Field::Form(name) => {
                needs.form = true;
                Self::Form(name.fill(params)?.into())
            }
            Field::Json(pointer) => Self::Json(paths.add(&pointer.fill(params)?)?),
            Field::Entry(label) => Self::Sig(label.fill(params)?.into()),
            Field::HttpSignature(form, part) => {
                Self::HttpSignature(HttpSignature::compile(*form, params)?, *part)
            }
        })
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
}
