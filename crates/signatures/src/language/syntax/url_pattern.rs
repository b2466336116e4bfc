//! Patterns of URLs that requests name.

use std::fmt;

use serde::Deserialize;

use super::node::Node;
use super::parse::{Grammar, parse};
use crate::language::context::{Params, Wrong};

/// Pattern of a host. `*` is lower-case letters and hyphens, `#` is digits, `{param:NAME}` a
/// parameter of the source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern(Box<[HostPart]>);

/// Pattern of path and query. `*` is letters, digits, `-`, `_`, `.` and `:`; `#` is digits.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PathPattern(Box<[UrlPart]>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPart {
    Part(UrlPart),
    Param(Box<str>),
}

/// Part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UrlPart {
    Literal(Box<str>),
    /// One or more characters of a class that depends on the place.
    Any,
    /// One or more digits.
    Digits,
}

/// Characters that end a host, or are wildcards.
const NOT_IN_A_HOST: [char; 5] = ['/', '@', '?', '*', '#'];

const NO_HOST: &str = "not the name of a host that ends in a domain of the provider's";

impl HostPattern {
    /// Returns the pattern with the source's parameters.
    pub(crate) fn fill(&self, params: &Params) -> Result<Box<[UrlPart]>, Wrong> {
        let part = |part: &HostPart| match part {
            HostPart::Part(part) => Ok(part.clone()),
            HostPart::Param(name) => {
                let value = params.get(&**name);
                let value = value.ok_or_else(|| Wrong::MissingParam(name.clone()))?;
                if value.is_empty() || value.contains(NOT_IN_A_HOST) {
                    return Err(format!("params.{name}: {NO_HOST}").into());
                }
                Ok(UrlPart::Literal(value.as_str().into()))
            }
        };
        self.0.iter().map(part).collect()
    }

    /// Returns the pattern with the parameters in it; as written if one is missing.
    pub(crate) fn shown(&self, params: &Params) -> String {
        let part = |part: &HostPart| match part {
            HostPart::Part(part) => part.to_string(),
            HostPart::Param(name) => {
                let value = params.get(&**name);
                value
                    .cloned()
                    .unwrap_or_else(|| format!("{{param:{name}}}"))
            }
        };
        self.0.iter().map(part).collect()
    }

    /// Returns the names of the parameters in the pattern.
    pub(crate) fn params(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            HostPart::Param(name) => Some(&**name),
            HostPart::Part(_) => None,
        })
    }
}

impl PathPattern {
    pub(crate) fn parts(&self) -> &[UrlPart] {
        &self.0
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        for node in parse(&text, Grammar::Plain)? {
            match node {
                Node::Literal(literal) => {
                    parts.extend(split(&literal).into_iter().map(HostPart::Part));
                }
                Node::Param(name) => parts.push(HostPart::Param(name)),
                _ => {
                    return Err(format!(
                        "\"{text}\" holds a token; only {{param:NAME}} can stand here"
                    ));
                }
            }
        }
        let is_host = |part: &HostPart| match part {
            HostPart::Part(UrlPart::Literal(text)) => !text.contains(NOT_IN_A_HOST),
            _ => true,
        };
        // A name that ends in a wildcard would be anybody's.
        let ends = !matches!(
            parts.last(),
            None | Some(HostPart::Part(UrlPart::Any | UrlPart::Digits))
        );
        if ends && parts.iter().all(is_host) {
            Ok(Self(parts.into()))
        } else {
            Err(format!("\"{text}\" is {NO_HOST}"))
        }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') {
            Ok(Self(split(&text).into()))
        } else {
            Err(format!(
                "\"{text}\" is not a path; a path starts with \"/\""
            ))
        }
    }
}

/// Splits a text at its wildcards.
fn split(text: &str) -> Vec<UrlPart> {
    let mut parts = Vec::new();
    for piece in text.split_inclusive(['*', '#']) {
        let (literal, wildcard) = match piece.strip_suffix('*') {
            Some(literal) => (literal, Some(UrlPart::Any)),
            None => match piece.strip_suffix('#') {
                Some(literal) => (literal, Some(UrlPart::Digits)),
                None => (piece, None),
            },
        };
        if !literal.is_empty() {
            parts.push(UrlPart::Literal(literal.into()));
        }
        parts.extend(wildcard);
    }
    parts
}

impl fmt::Display for UrlPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Any => f.write_str("*"),
            Self::Digits => f.write_str("#"),
        }
    }
}
