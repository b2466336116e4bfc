//! Example bodies of a provider.

use serde::Deserialize;

/// Example body of a provider, in which the id and the time of an event are filled in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct SampleText(Box<[SampleNode]>);

/// Node of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SampleNode {
    Literal(Box<str>),
    Id,
    Secs,
    Millis,
    Rfc3339,
}

/// Tokens of samples.
const TOKENS: &[(&str, SampleNode)] = &[
    ("{id}", SampleNode::Id),
    ("{timestamp_secs}", SampleNode::Secs),
    ("{timestamp_ms}", SampleNode::Millis),
    ("{timestamp_rfc3339}", SampleNode::Rfc3339),
];

impl SampleText {
    pub(crate) fn nodes(&self) -> &[SampleNode] {
        &self.0
    }
}

/// Braces that belong to no token stand for themselves: most samples are JSON.
impl From<String> for SampleText {
    fn from(text: String) -> Self {
        let mut nodes = Vec::new();
        let mut rest = text.as_str();
        loop {
            let next = TOKENS
                .iter()
                .filter_map(|(word, node)| Some((rest.find(word)?, word, node)))
                .min_by_key(|(at, ..)| *at);
            let Some((at, word, node)) = next else { break };
            if at > 0 {
                nodes.push(SampleNode::Literal(rest[..at].into()));
            }
            nodes.push(node.clone());
            rest = &rest[at + word.len()..];
        }
        if !rest.is_empty() {
            nodes.push(SampleNode::Literal(rest.into()));
        }
        Self(nodes.into())
    }
}
