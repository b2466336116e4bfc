//! Raw JSON values as text.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonKind {
    Null,
    Number,
    String,
    Boolean,
    /// Object or array.
    Nested,
}

impl JsonKind {
    /// Returns the type of a raw value, which its first byte tells.
    pub(crate) fn of(raw: &str) -> Self {
        match raw.as_bytes().first() {
            Some(b'"') => Self::String,
            Some(b'{' | b'[') => Self::Nested,
            Some(b't' | b'f') => Self::Boolean,
            Some(b'-' | b'0'..=b'9') => Self::Number,
            _ => Self::Null,
        }
    }
}

/// Returns a scalar's text: a string decoded, a number or boolean as it stands. None for null,
/// objects and arrays.
pub(crate) fn scalar(raw: &str) -> Option<Cow<'_, [u8]>> {
    match JsonKind::of(raw) {
        JsonKind::String if !raw.contains('\\') => {
            Some(Cow::Borrowed(&raw.as_bytes()[1..raw.len() - 1]))
        }
        JsonKind::String => serde_json::Deserializer::from_str(raw)
            .deserialize_bytes(StringBytes)
            .ok()
            .map(Cow::Owned),
        JsonKind::Null | JsonKind::Nested => None,
        JsonKind::Number | JsonKind::Boolean => Some(Cow::Borrowed(raw.as_bytes())),
    }
}

/// A decoded key, and its value as text.
pub(crate) type Member<'a> = (Vec<u8>, Cow<'a, [u8]>);

/// The members of a flat object: decoded key, and value as text (null is empty). None where it is
/// no object, has a nested value or a repeated key.
pub(crate) fn flat_members(raw: &str) -> Option<Vec<Member<'_>>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Vec<u8>, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(key) = map.next_key_seed(KeyBytes)? {
                members.push((key, map.next_value()?));
            }
            Ok(members)
        }
    }
    let mut members = Vec::new();
    for (key, value) in serde_json::Deserializer::from_str(raw)
        .deserialize_map(Members)
        .ok()?
    {
        let text = match JsonKind::of(value.get()) {
            JsonKind::Null => Cow::Borrowed(&[][..]),
            _ => scalar(value.get())?,
        };
        if members.iter().any(|(known, _)| *known == key) {
            return None;
        }
        members.push((key, text));
    }
    Some(members)
}

struct KeyBytes;

impl<'de> DeserializeSeed<'de> for KeyBytes {
    type Value = Vec<u8>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Vec<u8>, D::Error> {
        json.deserialize_bytes(StringBytes)
    }
}

struct StringBytes;

impl Visitor<'_> for StringBytes {
    type Value = Vec<u8>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_bytes<E>(self, text: &[u8]) -> Result<Vec<u8>, E> {
        Ok(text.to_vec())
    }
}
