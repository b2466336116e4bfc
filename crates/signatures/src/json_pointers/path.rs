//! Place of one scalar, ready to be read from documents.

use std::borrow::Cow;
use std::fmt;

use super::{JsonPointer, PathSet, Slot, scalar};

/// Place of one scalar in JSON documents.
#[derive(Debug, Clone)]
pub struct ScalarPath {
    pointer: JsonPointer,
    paths: PathSet,
    slot: Slot,
}

impl ScalarPath {
    /// Parses a JSON pointer (RFC 6901) to one value inside of a document.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pointer = JsonPointer::try_from(text.to_owned())?;
        if pointer.is_whole() || pointer.has_each() {
            return Err(format!(
                "\"{text}\" does not point to one value inside of a document; write a pointer such as \"/data/customer\""
            ));
        }
        let mut paths = PathSet::default();
        let slot = paths.add(&pointer)?;
        Ok(Self {
            pointer,
            paths,
            slot,
        })
    }

    /// Returns the value as text: a string decoded, a number or boolean as it stands. None without one:
    /// the document is no JSON, has nothing or no scalar there, or a name on the way twice.
    pub fn get<'d>(&self, document: &'d [u8]) -> Option<Cow<'d, str>> {
        let slots = self.paths.walk(document).ok()?;
        match scalar(slots.raw(self.slot)?)? {
            Cow::Borrowed(text) => std::str::from_utf8(text).ok().map(Cow::Borrowed),
            Cow::Owned(text) => String::from_utf8(text).ok().map(Cow::Owned),
        }
    }
}

impl PartialEq for ScalarPath {
    fn eq(&self, other: &Self) -> bool {
        self.pointer == other.pointer
    }
}

impl Eq for ScalarPath {}

impl fmt::Display for ScalarPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pointer.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scalar_is_found_by_its_pointer_and_nothing_else_is() {
        let body = br#"{"data": {"customer": "cus_\u00e9", "n": 12.50, "x": [1, {"id": true}], "gone": null}, "a/b": {"~": "t"}, "data2": 1}"#;
        let found = |pointer: &str| {
            let path = ScalarPath::parse(pointer).expect(pointer);
            assert_eq!(path.to_string(), pointer);
            path.get(body)
        };
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
        let path = ScalarPath::parse("/a").expect("a pointer");
        let deep = format!(
            "{{\"b\": {}1{}, \"a\": 2}}",
            "[".repeat(9999),
            "]".repeat(9999)
        );
        assert_eq!(path.get(deep.as_bytes()).as_deref(), Some("2"));
        for broken in ["", "[", "{\"a\"", "\u{1f}", "3", r#"{"a": 1, "a": 2}"#] {
            assert_eq!(path.get(broken.as_bytes()), None, "{broken}");
        }
        for wrong in ["", "a", "/a/*", "/a~2", "/a~"] {
            assert!(ScalarPath::parse(wrong).is_err(), "{wrong}");
        }
    }
}
