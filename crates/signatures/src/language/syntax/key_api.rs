//! URL and body of an API that gives a key by its id.

use serde::Deserialize;

use super::param_text::ParamText;

/// URL of an API, in which `{kid}` stands for the key's id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyApiUrl {
    /// Text before the id.
    pub(crate) before: ParamText,
    /// Text after the id; None if the URL has none.
    pub(crate) after: Option<ParamText>,
}

/// Value in the JSON that is posted to an API.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum KeyApiValue {
    /// Id of the key, `{kid}`.
    Kid,
    /// Secret of the source, `{secret}`.
    Secret,
    /// Text with parameters of the source.
    Text(ParamText),
}

impl TryFrom<String> for KeyApiUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |text: &str| ParamText::try_from(text.to_owned());
        Ok(match text.split_once("{kid}") {
            Some((before, after)) => Self {
                before: part(before)?,
                after: Some(part(after)?),
            },
            None => Self {
                before: part(&text)?,
                after: None,
            },
        })
    }
}

impl TryFrom<String> for KeyApiValue {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Ok(match text.as_str() {
            "{kid}" => Self::Kid,
            "{secret}" => Self::Secret,
            _ => Self::Text(ParamText::try_from(text)?),
        })
    }
}
