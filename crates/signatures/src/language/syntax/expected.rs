//! Values that a place or claim must equal.

use std::fmt;

use serde::Deserialize;

use super::template::TemplateText;

/// Value that a place or claim must equal.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Expected {
    /// Parameter of the source, `{param:NAME?}`. If the source does not give it, any value is
    /// accepted.
    IfParam(Box<str>),
    /// Template that is filled from the source and the request.
    Value(TemplateText),
}

impl TryFrom<String> for Expected {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let optional = text
            .strip_prefix("{param:")
            .and_then(|rest| rest.strip_suffix("?}"));
        match optional {
            Some(name) => Ok(Self::IfParam(name.into())),
            None => TemplateText::try_from(text).map(Self::Value),
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IfParam(name) => write!(f, "{{param:{name}?}}"),
            Self::Value(text) => text.fmt(f),
        }
    }
}

/// Name of a claim. A name that starts with `/` is a JSON pointer. `|` separates alternative
/// pointers; one of them must match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub struct ClaimName {
    written: Box<str>,
    pointers: Box<[Box<str>]>,
}

impl ClaimName {
    /// Returns the alternative JSON pointers.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = &str> {
        self.pointers.iter().map(|pointer| &**pointer)
    }
}

impl From<String> for ClaimName {
    fn from(text: String) -> Self {
        let pointer = |name: &str| match name.strip_prefix('/') {
            Some(_) => name.into(),
            None => claim_pointer(name).into(),
        };
        Self {
            pointers: text.split('|').map(pointer).collect(),
            written: text.into(),
        }
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Returns the JSON pointer of a claim's plain name.
pub(crate) fn claim_pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}
