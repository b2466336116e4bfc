//! Texts in which parameters of the source can stand.

use std::fmt;

use serde::Deserialize;

use super::node::Node;
use super::parse::{Grammar, parse};
use crate::language::context::{Params, Wrong};

/// Text in which `{param:NAME}` stands for a parameter of the source.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct ParamText(Box<[Part]>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Literal(Box<str>),
    Param(Box<str>),
}

impl ParamText {
    /// Returns a text without parameters.
    pub(crate) fn literal(text: &str) -> Self {
        match text {
            "" => Self::default(),
            text => Self(Box::new([Part::Literal(text.into())])),
        }
    }

    /// Returns the text with the parameters in it.
    pub(crate) fn fill(&self, params: &Params) -> Result<String, Wrong> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(literal) => text.push_str(literal),
                Part::Param(name) => text.push_str(
                    params
                        .get(&**name)
                        .ok_or_else(|| Wrong::MissingParam(name.clone()))?,
                ),
            }
        }
        Ok(text)
    }

    /// Returns the text with the parameters in it; as written if one is missing.
    pub(crate) fn shown(&self, params: &Params) -> String {
        self.fill(params).unwrap_or_else(|_| self.to_string())
    }

    /// Returns the text, if it has no parameters.
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.0 {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns `true` if nothing is written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names of the parameters in the text.
    pub(crate) fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Param(name) => Some(&**name),
            Part::Literal(_) => None,
        })
    }
}

impl TryFrom<String> for ParamText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let part = |node| match node {
            Node::Literal(literal) => Ok(Part::Literal(literal)),
            Node::Param(name) => Ok(Part::Param(name)),
            _ => Err(format!(
                "\"{text}\" holds a token; only {{param:NAME}} can stand here"
            )),
        };
        parse(&text, Grammar::Plain)?
            .into_iter()
            .map(part)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for ParamText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Literal(text) => f.write_str(text)?,
                Part::Param(name) => write!(f, "{{param:{name}}}")?,
            }
        }
        Ok(())
    }
}
