//! Inputs of the texts of the language: parameters of a source, and the request that a template is
//! filled from.

use std::collections::BTreeMap;

use crate::crypto::mac::MacKey;
use crate::json_pointers::Slots;
use crate::request::public_url::PublicUrl;
use crate::request::view::View;

/// The parameters of a source, over the defaults of its preset.
pub(crate) type Params = BTreeMap<String, String>;

/// Request that a template is filled from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cx<'v> {
    pub(crate) view: &'v View<'v>,
    pub(crate) slots: &'v Slots<'v>,
    pub(crate) ts: &'v [u8],
    pub(crate) url: Option<&'v PublicUrl>,
    /// Position of the spelling of the URL.
    pub(crate) spelling: usize,
    /// The key of the `hmac` filter.
    pub(crate) key: Option<&'v MacKey>,
}

/// A mistake in a text of the language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Wrong {
    /// The source does not give this parameter.
    #[error("needs params.{0}; give it in the source's params")]
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
