//! Place of the JSON document.

use serde::Deserialize;

use crate::json_pointers::JsonPointer;

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
    Encrypted(JsonPointer),
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
            Some(("encrypted", pointer)) => {
                JsonPointer::try_from(pointer.to_owned()).map(Self::Encrypted)
            }
            _ => Err(WORDS.into()),
        }
    }
}

/// Words for the place of the document.
pub(crate) const WORDS: &str = "not the place of a document; write \"body\", \"form:NAME\", \"multipart:NAME\", \"encrypted:/pointer\", or, if kind is \"jwt\", \"jwt\"";
