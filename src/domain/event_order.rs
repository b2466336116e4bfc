//! Order of events at a sink: events of one key leave one after the other.

use std::borrow::Cow;
use std::fmt;

use hookweir_signatures::ScalarPath;
use sha2::{Digest, Sha256};

use super::delivery::{MessageKey, SourceName};

/// Rule that gives each event of a sink a key. Events of one key leave in the order of their commits,
/// each after the confirm of the one before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EventOrder {
    /// No order.
    #[default]
    None,
    /// The key is the source.
    Source,
    /// The key is the source and a value of the body.
    Json(ScalarPath),
}

/// Number of a key at an ordered sink. Keys that share a number are ordered among each other too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderKey(pub i64);

impl EventOrder {
    /// Bytes of the longest pointer.
    const LONGEST: usize = 255;

    /// Parses `none`, `source` or `{json:/pointer}`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Self::None),
            "source" => return Ok(Self::Source),
            _ => {}
        }
        let pointer = text
            .strip_prefix("{json:")
            .and_then(|rest| rest.strip_suffix('}'))
            .filter(|pointer| pointer.starts_with('/') && *pointer != "/");
        match pointer {
            Some(pointer) if text.len() <= Self::LONGEST => {
                ScalarPath::parse(pointer).map(Self::Json)
            }
            _ => Err(format!(
                "expected \"none\", \"source\", or a JSON pointer such as \"{{json:/data/customer}}\", found \"{}\"",
                text.escape_debug()
            )),
        }
    }

    /// Returns `true` if the sink keeps no order.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// Returns the key of an event as text: the source, or the value in the body. None if there is no
    /// order, or no such value: a string, a number or a boolean in a body of JSON.
    pub fn value<'e>(&self, source: &'e SourceName, body: &'e [u8]) -> Option<Cow<'e, str>> {
        match self {
            Self::None => None,
            Self::Source => Some(source.as_str().into()),
            Self::Json(path) => path.get(body),
        }
    }

    /// Returns the number of an event's key. An event without a value has a key of its own, so nothing
    /// holds it up. None if there is no order.
    pub fn key(&self, source: &SourceName, body: &[u8], message: &MessageKey) -> Option<OrderKey> {
        if self.is_none() {
            return None;
        }
        let mut hash = Sha256::new();
        match self.value(source, body) {
            Some(value) => {
                hash.update(source.as_str());
                hash.update([0]);
                hash.update(value.as_bytes());
            }
            None => hash.update(message.as_bytes()),
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        // Never negative, so that a walk over all keys can begin below them.
        Some(OrderKey(
            i64::from_be_bytes([a, b, c, d, e, f, g, h]) & i64::MAX,
        ))
    }
}

impl fmt::Display for EventOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Source => f.write_str("source"),
            Self::Json(path) => write!(f, "{{json:{path}}}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::DedupKey;

    fn source(name: &str) -> SourceName {
        SourceName::parse(name).expect("a name")
    }

    #[test]
    fn an_order_is_read_and_shown_as_it_is_written() {
        for text in ["none", "source", "{json:/a}", "{json:/a/0/b~1c~0}"] {
            let order = EventOrder::parse(text).map(|order| order.to_string());
            assert_eq!(order.as_deref(), Ok(text));
        }
        let long = format!("{{json:/{}}}", "a".repeat(255));
        for wrong in [
            "",
            "key",
            "{json:a}",
            "{json:/}",
            "{json:/a",
            "json:/a",
            "{json:/a~2}",
            "{json:/a/*}",
            &long,
        ] {
            assert!(EventOrder::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn events_have_the_same_key_only_if_source_and_value_are_the_same() {
        let order = EventOrder::parse("{json:/c}").expect("a pointer");
        let key = |of: &str, body: &str, message: u8| {
            let dedup = DedupKey::new(&source("s"), "id", &[&[message]]);
            order.key(&source(of), body.as_bytes(), &MessageKey::of(&dedup))
        };
        let first = key("shop", r#"{"c": "x", "n": 1}"#, 1);
        assert!(first.is_some_and(|key| key.0 >= 0));
        assert_eq!(first, key("shop", r#"{"n": 2, "c": "x"}"#, 2));
        assert_ne!(first, key("shop", r#"{"c": "y"}"#, 1));
        assert_ne!(first, key("bank", r#"{"c": "x"}"#, 1));
        for nothing in ["{}", "no JSON", r#"{"c": {}}"#, r#"{"c": "x", "c": "x"}"#] {
            assert_ne!(
                key("shop", nothing, 1),
                key("shop", nothing, 2),
                "each by itself"
            );
        }
        let message = MessageKey::fresh();
        assert_eq!(EventOrder::None.key(&source("shop"), b"{}", &message), None);
        let of_source = |body: &[u8]| EventOrder::Source.key(&source("shop"), body, &message);
        assert_eq!(of_source(b"1"), of_source(b"{}"));
    }
}
