//! JSON pointers in which parameters of the source can stand.

use std::fmt;

use super::param_text::ParamText;
use crate::json_pointers::JsonPointer;
use crate::language::context::{Params, Wrong};

/// JSON pointer in which `{param:NAME}` can stand for a parameter of the source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PointerText {
    Pointer(JsonPointer),
    /// Parsed when the parameters are known.
    WithParams(ParamText),
}

impl PointerText {
    /// Returns the pointer with the parameters in it.
    pub(crate) fn fill(&self, params: &Params) -> Result<JsonPointer, Wrong> {
        match self {
            Self::Pointer(pointer) => Ok(pointer.clone()),
            Self::WithParams(text) => Ok(JsonPointer::try_from(text.fill(params)?)?),
        }
    }

    /// Returns the pointer with the parameters in it; as written if one is missing.
    pub(crate) fn shown(&self, params: &Params) -> String {
        match self {
            Self::Pointer(pointer) => pointer.to_string(),
            Self::WithParams(text) => text.shown(params),
        }
    }

    /// Returns the text, if it has parameters.
    pub(crate) fn with_params(&self) -> Option<&ParamText> {
        match self {
            Self::Pointer(_) => None,
            Self::WithParams(text) => Some(text),
        }
    }
}

impl TryFrom<String> for PointerText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let text = ParamText::try_from(text)?;
        match text.as_literal() {
            Some(literal) => JsonPointer::try_from(literal.to_owned()).map(Self::Pointer),
            None => Ok(Self::WithParams(text)),
        }
    }
}

impl fmt::Display for PointerText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer(pointer) => pointer.fmt(f),
            Self::WithParams(text) => text.fmt(f),
        }
    }
}
