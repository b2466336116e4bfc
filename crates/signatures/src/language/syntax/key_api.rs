//! URL and body of an API that gives a key by its id.

use serde::Deserialize;

use super::param_text::ParamText;

/// URL of an API, in which `{kid}` stands for the key's id.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum KeyApiUrl {
    /// URL without an id.
    Fixed(ParamText),
    /// URL with an id.
    ById {
        /// Text before the id.
        before: ParamText,
        /// Text after the id.
        after: ParamText,
    },
}

impl KeyApiUrl {
    /// Returns the text up to the id.
    pub(crate) fn start(&self) -> &ParamText {
        match self {
            Self::Fixed(url) => url,
            Self::ById { before, .. } => before,
        }
    }

    /// Returns the texts of the URL.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &ParamText> {
        let after = match self {
            Self::Fixed(_) => None,
            Self::ById { after, .. } => Some(after),
        };
        [self.start()].into_iter().chain(after)
    }
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
            Some((before, after)) => Self::ById {
                before: part(before)?,
                after: part(after)?,
            },
            None => Self::Fixed(part(&text)?),
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
