//! Reads a few values out of a JSON document in one pass, by path, without building the document.
//!
//! Everything that is not on a path is skipped without recursion, so that a document nested 100,000 deep costs no more than its length.
//! Values come out as the text they have in the document: two different 23-digit numbers stay different. A key that occurs twice on a
//! path makes the document ambiguous (our parser and the consumer's may take different ones), and the walk says so.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

/// Longest pointer, in steps: the walk recurses along it.
const MAX_STEPS: usize = 32;

/// Most values that one walk keeps.
const MAX_FOUND: usize = 1 << 16;

/// UTF-8's byte order mark, in front of some senders' JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Where a value found by a walk is kept.
pub(crate) type Slot = u16;

/// The paths that one walk reads, as a tree.
#[derive(Debug, Clone)]
pub(crate) struct PathSet {
    nodes: Vec<Node>,
    slots: Slot,
}

#[derive(Debug, Clone, Default)]
struct Node {
    keys: Vec<Step>,
    any: Option<usize>,
    slot: Option<Slot>,
    array: Option<Slot>,
}

#[derive(Debug, Clone)]
struct Step {
    key: Box<str>,
    index: Option<usize>,
    node: usize,
}

impl Default for PathSet {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            slots: 0,
        }
    }
}

impl PathSet {
    /// Adds an RFC 6901 pointer; a step `*` means every element of an array. The same pointer gets the same slot.
    pub(crate) fn add(&mut self, pointer: &str) -> Result<Slot, String> {
        let node = self.descend(pointer)?;
        let next = self.slots;
        let slot = *self.nodes[node].slot.get_or_insert(next);
        self.count(slot)
    }

    /// Adds a mark that is found when there is an array at `pointer`, even an empty one.
    pub(crate) fn add_array(&mut self, pointer: &str) -> Result<Slot, String> {
        let node = self.descend(pointer)?;
        let next = self.slots;
        let slot = *self.nodes[node].array.get_or_insert(next);
        self.count(slot)
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots == 0
    }

    fn count(&mut self, slot: Slot) -> Result<Slot, String> {
        if slot == self.slots {
            self.slots = self.slots.checked_add(1).ok_or("too many JSON pointers")?;
        }
        Ok(slot)
    }

    fn descend(&mut self, pointer: &str) -> Result<usize, String> {
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(format!(
                "\"{pointer}\" is not a JSON pointer: it starts with \"/\", or is empty for the whole document"
            ));
        }
        if pointer.split('/').count() > MAX_STEPS {
            return Err(format!("\"{pointer}\" has more than {MAX_STEPS} steps"));
        }
        let mut node = 0;
        for step in pointer.split('/').skip(1) {
            let key = step.replace("~1", "/").replace("~0", "~");
            let known = if key == "*" {
                self.nodes[node].any
            } else {
                self.nodes[node]
                    .keys
                    .iter()
                    .find(|s| *s.key == *key)
                    .map(|s| s.node)
            };
            node = match known {
                Some(known) => known,
                None => {
                    let new = self.nodes.len();
                    self.nodes.push(Node::default());
                    if key == "*" {
                        self.nodes[node].any = Some(new);
                    } else {
                        let index = key.parse().ok();
                        self.nodes[node].keys.push(Step {
                            key: key.into(),
                            index,
                            node: new,
                        });
                    }
                    new
                }
            };
        }
        Ok(node)
    }

    /// Reads `document` once. A key that occurs twice on any path is an error.
    pub(crate) fn walk<'a>(&self, document: &'a [u8]) -> Result<Slots<'a>, WalkError> {
        let slots = self.walk_marking(document)?;
        if slots.ambiguous.is_empty() {
            Ok(slots)
        } else {
            Err(WalkError::Ambiguous)
        }
    }

    /// Reads `document` once. The slots below a key that occurs twice are marked, see [`Slots::is_ambiguous`].
    pub(crate) fn walk_marking<'a>(&self, document: &'a [u8]) -> Result<Slots<'a>, WalkError> {
        if self.is_empty() {
            return Ok(Slots::default());
        }
        // RFC 8259, 8.1: a parser may ignore a byte order mark.
        let document = document.strip_prefix(BYTE_ORDER_MARK).unwrap_or(document);
        let walk = Walk {
            nodes: &self.nodes,
            found: RefCell::default(),
            ambiguous: RefCell::default(),
            refused: Cell::new(None),
        };
        let mut json = serde_json::Deserializer::from_slice(document);
        let result = At {
            walk: &walk,
            node: 0,
        }
        .deserialize(&mut json)
        .and_then(|()| json.end());
        if let Some(reason) = walk.refused.get() {
            return Err(reason);
        }
        result.map_err(|_| WalkError::Malformed)?;
        Ok(Slots {
            found: walk.found.into_inner(),
            ambiguous: walk.ambiguous.into_inner(),
        })
    }
}

/// Why a document could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkError {
    /// It is not JSON.
    Malformed,
    /// A key on a path occurs twice.
    Ambiguous,
    /// More values than [`MAX_FOUND`].
    TooMany,
}

/// Values that a walk found, in the order of the document.
#[derive(Debug, Default)]
pub(crate) struct Slots<'a> {
    found: Vec<(Slot, &'a str)>,
    /// Slots below a key that occurs twice.
    ambiguous: Vec<Slot>,
}

impl<'a> Slots<'a> {
    /// The raw JSON text at `slot`; of several, the first.
    pub(crate) fn raw(&self, slot: Slot) -> Option<&'a str> {
        self.all(slot).next()
    }

    /// A key on the way to `slot` occurs twice, so that two parsers may take different values.
    pub(crate) fn is_ambiguous(&self, slot: Slot) -> bool {
        self.ambiguous.contains(&slot)
    }

    /// Every raw JSON text.
    pub(crate) fn values(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.found.iter().map(|(_, raw)| *raw)
    }

    /// Every raw JSON text at `slot`.
    pub(crate) fn all(&self, slot: Slot) -> impl Iterator<Item = &'a str> + '_ {
        self.found
            .iter()
            .filter(move |(s, _)| *s == slot)
            .map(|(_, raw)| *raw)
    }
}

/// A scalar's text: a string decoded, a number or boolean as it stands. None for null, objects and arrays.
pub(crate) fn scalar(raw: &str) -> Option<Cow<'_, [u8]>> {
    match raw.as_bytes().first()? {
        b'"' if !raw.contains('\\') => Some(Cow::Borrowed(&raw.as_bytes()[1..raw.len() - 1])),
        b'"' => serde_json::Deserializer::from_str(raw)
            .deserialize_bytes(StringBytes)
            .ok()
            .map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw.as_bytes())),
    }
}

/// A decoded key, and its value as text.
pub(crate) type Member<'a> = (Vec<u8>, Cow<'a, [u8]>);

/// The members of a flat object: decoded key, and value as text (null is empty). None where it is no object, has a nested value or a
/// repeated key.
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
        let text = if value.get() == "null" {
            Cow::Borrowed(&[][..])
        } else {
            scalar(value.get())?
        };
        if members.iter().any(|(known, _)| *known == key) {
            return None;
        }
        members.push((key, text));
    }
    Some(members)
}

struct Walk<'w, 'a> {
    nodes: &'w [Node],
    found: RefCell<Vec<(Slot, &'a str)>>,
    ambiguous: RefCell<Vec<Slot>>,
    refused: Cell<Option<WalkError>>,
}

impl<'a> Walk<'_, 'a> {
    fn keep<E: serde::de::Error>(&self, slot: Slot, raw: &'a str) -> Result<(), E> {
        let mut found = self.found.borrow_mut();
        if found.len() == MAX_FOUND {
            return Err(self.refuse(WalkError::TooMany));
        }
        found.push((slot, raw));
        Ok(())
    }

    /// Marks every slot at `node` and below it.
    fn mark(&self, node: usize) {
        let Node {
            keys,
            any,
            slot,
            array,
        } = &self.nodes[node];
        {
            let mut ambiguous = self.ambiguous.borrow_mut();
            let new = [*slot, *array]
                .into_iter()
                .flatten()
                .filter(|slot| !ambiguous.contains(slot))
                .collect::<Vec<_>>();
            ambiguous.extend(new);
        }
        keys.iter()
            .map(|step| step.node)
            .chain(*any)
            .for_each(|node| self.mark(node));
    }

    fn refuse<E: serde::de::Error>(&self, reason: WalkError) -> E {
        self.refused.set(Some(reason));
        E::custom("refused")
    }
}

/// Reads one value, of which the tree says what is wanted.
struct At<'w, 'a> {
    walk: &'w Walk<'w, 'a>,
    node: usize,
}

impl<'w, 'a> At<'w, 'a> {
    fn wanted(&self) -> &'w Node {
        &self.walk.nodes[self.node]
    }

    fn to(&self, node: usize) -> Self {
        At {
            walk: self.walk,
            node,
        }
    }
}

impl<'a> DeserializeSeed<'a> for At<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<(), D::Error> {
        let node = self.wanted();
        let inner = !node.keys.is_empty() || node.any.is_some() || node.array.is_some();
        let Some(slot) = node.slot else {
            return json.deserialize_any(self);
        };
        let raw: &'a RawValue = serde::Deserialize::deserialize(json)?;
        self.walk.keep(slot, raw.get())?;
        if inner {
            serde_json::Deserializer::from_str(raw.get())
                .deserialize_any(self)
                .map_err(D::Error::custom)?;
        }
        Ok(())
    }
}

impl<'a> Visitor<'a> for At<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let keys = &self.wanted().keys;
        // The steps of a node are few; a pointer has at most one here, a preset a handful.
        let mut seen = vec![false; keys.len()];
        while let Some(key) = map.next_key_seed(KeyAmong(keys))? {
            let Some(index) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if std::mem::replace(&mut seen[index], true) {
                self.walk.mark(keys[index].node);
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            map.next_value_seed(self.to(keys[index].node))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let wanted = self.wanted();
        if let Some(slot) = wanted.array {
            self.walk.keep(slot, "[]")?;
        }
        for index in 0.. {
            let step = wanted
                .keys
                .iter()
                .find(|step| step.index == Some(index))
                .map(|step| step.node);
            let more = match (step, wanted.any) {
                (Some(node), None) | (None, Some(node)) => {
                    seq.next_element_seed(self.to(node))?.is_some()
                }
                (None, None) => seq.next_element::<IgnoredAny>()?.is_some(),
                // This very element, and every element: read it twice.
                (Some(node), Some(any)) => match seq.next_element::<&'a RawValue>()? {
                    None => false,
                    Some(raw) => {
                        for node in [node, any] {
                            let json = &mut serde_json::Deserializer::from_str(raw.get());
                            self.to(node).deserialize(json).map_err(A::Error::custom)?;
                        }
                        true
                    }
                },
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Which of the wanted keys this is. Read as bytes: a lone surrogate in a key that nobody asked for is no reason to refuse a document.
struct KeyAmong<'w>(&'w [Step]);

impl<'de> DeserializeSeed<'de> for KeyAmong<'_> {
    type Value = Option<usize>;
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_bytes(self)
    }
}

impl Visitor<'_> for KeyAmong<'_> {
    type Value = Option<usize>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_bytes<E>(self, key: &[u8]) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|step| step.key.as_bytes() == key))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pointer: &str, document: &str) -> Result<Option<String>, WalkError> {
        let mut paths = PathSet::default();
        let slot = paths.add(pointer).expect("a pointer");
        Ok(paths
            .walk(document.as_bytes())?
            .raw(slot)
            .map(str::to_owned))
    }

    #[test]
    fn values_come_out_as_they_stand() {
        assert_eq!(
            one(
                "/a/b",
                r#"{"x":{"a":1},"a":{"c":2,"b":12345678901234567890123}}"#
            ),
            Ok(Some("12345678901234567890123".into()))
        );
        assert_eq!(
            one("/0/id", r#"[{"id":"x\u0041"},{"id":2}]"#),
            Ok(Some(r#""x\u0041""#.into()))
        );
        assert_eq!(
            one("/a~1b/m~0n", r#"{"a/b":{"m~n":true}}"#),
            Ok(Some("true".into()))
        );
        assert_eq!(one("", " 7 "), Ok(Some("7".into())));
        assert_eq!(one("/a/b", r#"{"a":"no object"}"#), Ok(None));
        assert_eq!(
            one("/id", r#"{"\ud800":1,"\u0069d":2}"#),
            Ok(Some("2".into()))
        );
        assert_eq!(scalar(r#""x\u0041""#).as_deref(), Some(&b"xA"[..]));
        assert_eq!(scalar("1.0").as_deref(), Some(&b"1.0"[..]));
        assert_eq!(scalar("null"), None);
    }

    #[test]
    fn a_repeated_key_counts_only_on_the_path() {
        assert_eq!(
            one("/a/b", r#"{"a":{"b":1,"b":2}}"#),
            Err(WalkError::Ambiguous)
        );
        assert_eq!(
            one("/a/b", r#"{"a":{"b":1},"\u0061":{}}"#),
            Err(WalkError::Ambiguous)
        );
        assert_eq!(
            one("/a/b", r#"{"a":{"b":1,"c":1,"c":1},"x":1,"x":1}"#),
            Ok(Some("1".into()))
        );
    }

    #[test]
    fn a_repeated_key_spoils_only_the_values_below_it() {
        let mut paths = PathSet::default();
        let [id, kind, deep] =
            ["/id", "/type", "/a/*/b"].map(|pointer| paths.add(pointer).expect("a pointer"));
        let slots = paths
            .walk_marking(br#"{"id":"1","type":"x","type":"y","a":[{"b":1}]}"#)
            .expect("JSON");
        assert_eq!(
            [id, kind, deep].map(|slot| slots.is_ambiguous(slot)),
            [false, true, false]
        );
        assert_eq!((slots.raw(id), slots.raw(deep)), (Some("\"1\""), Some("1")));
        let slots = paths
            .walk_marking(br#"{"id":"1","a":[{"b":1,"b":2}],"a":{}}"#)
            .expect("JSON");
        assert_eq!(
            [id, kind, deep].map(|slot| slots.is_ambiguous(slot)),
            [false, false, true]
        );
    }

    #[test]
    fn a_byte_order_mark_hides_nothing() {
        assert_eq!(one("/id", "\u{feff}{\"id\":1}"), Ok(Some("1".into())));
        assert_eq!(
            one("/id", "\u{feff}\u{feff}{\"id\":1}"),
            Err(WalkError::Malformed)
        );
    }

    #[test]
    fn several_paths_and_all_elements_in_one_walk() {
        let mut paths = PathSet::default();
        let whole = paths.add("/events").expect("a pointer");
        let ids = paths.add("/events/*/id").expect("a pointer");
        let array = paths.add_array("/events").expect("a pointer");
        assert_eq!(paths.add("/events/*/id"), Ok(ids));
        let slots = paths
            .walk(br#"{"events":[{"id":1},{},{"id":"b"}]}"#)
            .expect("JSON");
        assert_eq!(slots.raw(whole), Some(r#"[{"id":1},{},{"id":"b"}]"#));
        assert_eq!(slots.all(ids).collect::<Vec<_>>(), ["1", "\"b\""]);
        assert!(slots.raw(array).is_some());
        let first = paths.add("/events/0/id").expect("a pointer");
        let slots = paths
            .walk(br#"{"events":[{"id":1},{"id":"b"}]}"#)
            .expect("JSON");
        assert_eq!((slots.raw(first), slots.all(ids).count()), (Some("1"), 2));
        assert!(
            paths
                .walk(br#"{"events":{}}"#)
                .expect("JSON")
                .raw(array)
                .is_none()
        );
    }

    #[test]
    fn depth_costs_nothing_and_garbage_is_malformed() {
        let deep = format!(
            r#"{{"deep":{}{},"id":1}}"#,
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert_eq!(one("/id", &deep), Ok(Some("1".into())));
        let unclosed = format!(r#"{{"deep":{}"#, "[{\"id\":".repeat(100_000));
        assert_eq!(one("/id", &unclosed), Err(WalkError::Malformed));
        assert_eq!(one("/id", r#"{"id":1} x"#), Err(WalkError::Malformed));
        assert_eq!(one("/id", "a=b"), Err(WalkError::Malformed));
        let mut paths = PathSet::default();
        assert!(paths.add("id").is_err());
        assert!(paths.add(&"/a".repeat(40)).is_err());
    }

    #[test]
    fn flat_objects_only() {
        assert_eq!(
            flat_members(r#"{"b":null,"a":1.0}"#).map(|m| m.len()),
            Some(2)
        );
        assert_eq!(flat_members(r#"{"b":[]}"#), None);
        assert_eq!(flat_members(r#"{"b":1,"b":1}"#), None);
    }
}
