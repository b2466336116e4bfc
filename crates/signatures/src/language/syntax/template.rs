//! Templates, as written and as nodes.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use super::node::{Node, Token, walk};
use super::parse::{Grammar, parse};

/// Template filled from a request: an id, an answer, or an expected value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct TemplateText {
    written: Box<str>,
    nodes: Box<[Node]>,
}

/// Template of a signed message. A part in `[…]` is optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct MessageText(TemplateText);

impl TemplateText {
    fn parse(written: String, grammar: Grammar) -> Result<Self, String> {
        let nodes = parse(&written, grammar)?;
        Ok(Self {
            written: written.into(),
            nodes: nodes.into(),
        })
    }

    /// Returns the text as written.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Returns `true` if nothing is written.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns every token, including those in optional and joined parts.
    pub(crate) fn tokens(&self) -> Vec<&Token> {
        let mut tokens = Vec::new();
        walk(&self.nodes, &mut |node| {
            if let Node::Token(token, _) = node {
                tokens.push(token);
            }
        });
        tokens
    }

    /// Returns the names of the parameters in the text.
    pub(crate) fn params(&self) -> Vec<&str> {
        let mut params = Vec::new();
        walk(&self.nodes, &mut |node| {
            if let Node::Param(name) = node {
                params.push(&**name);
            }
        });
        params
    }
}

impl MessageText {
    /// Returns the template.
    pub fn template(&self) -> &TemplateText {
        &self.0
    }
}

impl TryFrom<String> for TemplateText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(text, Grammar::Plain)
    }
}

impl TryFrom<String> for MessageText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        TemplateText::parse(text, Grammar::Message).map(Self)
    }
}

impl fmt::Display for TemplateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl fmt::Display for MessageText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// JSON with templates for its strings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub enum JsonText {
    /// Number, boolean or time.
    Literal(toml::Value),
    /// String with tokens.
    Text(TemplateText),
    /// Array.
    List(Vec<JsonText>),
    /// Object.
    Object(Vec<(String, JsonText)>),
}

impl JsonText {
    /// Returns every template in the JSON.
    pub(crate) fn templates(&self) -> Vec<&TemplateText> {
        match self {
            Self::Literal(_) => Vec::new(),
            Self::Text(text) => vec![text],
            Self::List(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Object(members) => {
                let items = members.iter().map(|(_, item)| item);
                items.flat_map(Self::templates).collect()
            }
        }
    }
}

impl TryFrom<toml::Value> for JsonText {
    type Error = String;

    fn try_from(value: toml::Value) -> Result<Self, String> {
        Ok(match value {
            toml::Value::String(text) => Self::Text(text.try_into()?),
            toml::Value::Array(items) => {
                let items = items.into_iter().map(Self::try_from);
                Self::List(items.collect::<Result<_, _>>()?)
            }
            toml::Value::Table(members) => {
                let members = members
                    .into_iter()
                    .map(|(name, item)| Ok((name, Self::try_from(item)?)));
                Self::Object(members.collect::<Result<_, String>>()?)
            }
            other => Self::Literal(other),
        })
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(value) => value.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text.as_str()),
            Self::List(items) => serializer.collect_seq(items),
            Self::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, item)| (name, item)))
            }
        }
    }
}
