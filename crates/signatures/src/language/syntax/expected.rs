//! Values that a place or claim must equal.

use std::fmt;

use serde::Deserialize;

use super::template::TemplateText;
use crate::json_pointers::JsonPointer;

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
#[serde(try_from = "String")]
pub struct ClaimName {
    written: Box<str>,
    pointers: Box<[JsonPointer]>,
}

impl ClaimName {
    /// Returns the alternative JSON pointers.
    pub(crate) fn pointers(&self) -> &[JsonPointer] {
        &self.pointers
    }
}

impl TryFrom<String> for ClaimName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pointer = |name: &str| match name.strip_prefix('/') {
            Some(_) => JsonPointer::try_from(name.to_owned()),
            None => Ok(JsonPointer::member(name)),
        };
        Ok(Self {
            pointers: text.split('|').map(pointer).collect::<Result<_, _>>()?,
            written: text.into(),
        })
    }
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Name of a claim that a token must have. Some registered claims (RFC 7519) bound its age, or tell
/// it from every other token.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum RequiredClaim {
    /// Time of expiry, `exp`.
    Expiry,
    /// Time of issue, `iat`.
    IssuedAt,
    /// Id of the token, `jti`.
    TokenId,
    /// Any other claim.
    Other(Box<str>),
}

impl RequiredClaim {
    /// Returns the name in the token.
    pub fn name(&self) -> &str {
        match self {
            Self::Expiry => "exp",
            Self::IssuedAt => "iat",
            Self::TokenId => "jti",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for RequiredClaim {
    fn from(text: String) -> Self {
        match text.as_str() {
            "exp" => Self::Expiry,
            "iat" => Self::IssuedAt,
            "jti" => Self::TokenId,
            _ => Self::Other(text.into()),
        }
    }
}
