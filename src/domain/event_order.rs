//! Order of events at a sink: events of one key leave one after the other.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
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
    Json(Pointer),
}

/// JSON pointer (RFC 6901), taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

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
            .strip_prefix("{json:/")
            .and_then(|rest| rest.strip_suffix('}'));
        match pointer {
            Some(pointer) if !pointer.is_empty() && text.len() <= Self::LONGEST => {
                let tokens = pointer.split('/').map(unescaped);
                Ok(Self::Json(Pointer(tokens.collect::<Result<_, _>>()?)))
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
            Self::Json(pointer) => pointer.value(body),
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
            Self::Json(Pointer(tokens)) => {
                f.write_str("{json:")?;
                for token in tokens {
                    write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
                }
                f.write_str("}")
            }
        }
    }
}

fn unescaped(token: &str) -> Result<String, String> {
    let mut rest = token.split('~');
    let mut text = rest.next().unwrap_or_default().to_owned();
    for part in rest {
        let (escaped, after) = match part.as_bytes().first() {
            Some(b'0') => ('~', &part[1..]),
            Some(b'1') => ('/', &part[1..]),
            _ => {
                return Err(format!(
                    "in a JSON pointer, \"~\" is written \"~0\" and \"/\" in a name \"~1\": \"{}\"",
                    token.escape_debug()
                ));
            }
        };
        text.push(escaped);
        text.push_str(after);
    }
    Ok(text)
}

impl Pointer {
    /// Returns the value at this place. A name that an object has twice counts by its last value.
    fn value<'e>(&self, body: &'e [u8]) -> Option<Cow<'e, str>> {
        let mut text = std::str::from_utf8(body).ok()?;
        for token in &self.0 {
            let mut json = serde_json::Deserializer::from_str(text);
            text = json.deserialize_any(Step(token)).ok()??.get();
        }
        match text.as_bytes().first()? {
            b'"' => serde_json::from_str::<String>(text).ok().map(Cow::Owned),
            b'{' | b'[' | b'n' => None,
            _ => Some(text.into()),
        }
    }
}

/// One step into a JSON document: a name of an object, or a place in a list.
struct Step<'t>(&'t str);

impl<'de> Visitor<'de> for Step<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let place: Option<usize> = self.0.parse().ok();
        let mut found = None;
        for at in 0.. {
            if place == Some(at) {
                found = list.next_element()?;
            } else if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
            if place == Some(at) && found.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::DedupKey;

    fn source(name: &str) -> SourceName {
        SourceName::parse(name).expect("a name")
    }

    fn value(pointer: &str, body: &str) -> Option<String> {
        let order = EventOrder::parse(&format!("{{json:{pointer}}}")).expect("a pointer");
        let shop = source("shop");
        let value = order.value(&shop, body.as_bytes())?;
        Some(value.into_owned())
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
            &long,
        ] {
            assert!(EventOrder::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_value_of_a_key_is_found_in_the_body() {
        let body = r#"{"data": {"customer": "cus_\u00e9", "n": 12.50, "x": [1, {"id": true}], "gone": null}, "a/b": {"~": "t"}, "data2": 1}"#;
        let found = |pointer| value(pointer, body);
        assert_eq!(found("/data/customer").as_deref(), Some("cus_é"));
        assert_eq!(found("/data/n").as_deref(), Some("12.50"));
        assert_eq!(found("/data/x/0").as_deref(), Some("1"));
        assert_eq!(found("/data/x/1/id").as_deref(), Some("true"));
        assert_eq!(found("/a~1b/~0").as_deref(), Some("t"));
        for nothing in [
            "/data",
            "/data/x",
            "/data/gone",
            "/none",
            "/data/x/7",
            "/data/x/y",
            "/data/customer/z",
        ] {
            assert_eq!(found(nothing), None, "{nothing}");
        }
        assert_eq!(value("/a", r#"{"a": 1, "a": 2}"#).as_deref(), Some("2"));
        for broken in ["", "[", "{\"a\"", "\u{1f}", "3"] {
            assert_eq!(value("/a", broken), None, "{broken}");
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
        assert_ne!(key("shop", "{}", 1), key("shop", "{}", 2), "each by itself");
        let message = MessageKey::fresh();
        assert_eq!(EventOrder::None.key(&source("shop"), b"{}", &message), None);
        let of_source = |body: &[u8]| EventOrder::Source.key(&source("shop"), body, &message);
        assert_eq!(of_source(b"1"), of_source(b"{}"));
    }
}
