//! Place of the JSON document.

use serde::Deserialize;

/// Place of the JSON document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum DocumentRef {
    /// The body itself.
    #[default]
    Body,
    /// Form field of this name.
    Form(Box<str>),
    /// Part of a multipart body, by its name.
    Multipart(Box<str>),
    /// Encrypted value at this JSON pointer.
    Encrypted(Box<str>),
    /// Claims of the token.
    Claims,
}

impl TryFrom<String> for DocumentRef {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "body" => Ok(Self::Body),
            None if text == "jwt" => Ok(Self::Claims),
            Some(("form", name)) => Ok(Self::Form(name.into())),
            Some(("multipart", name)) => Ok(Self::Multipart(name.into())),
            Some(("encrypted", pointer)) => Ok(Self::Encrypted(pointer.into())),
            _ => Err(WORDS.into()),
        }
    }
}

/// Words for the place of the document.
pub(crate) const WORDS: &str = "one of \"body\", \"form:NAME\", \"multipart:NAME\", \"encrypted:/pointer\", and \"jwt\" where kind is \"jwt\"";
