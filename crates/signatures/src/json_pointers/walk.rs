//! One pass over a document, which keeps the values on the paths of a set.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};
use serde_json::value::RawValue;

use super::tree::{MAX_FOUND, Node, Slot, Step, WalkError};

pub(super) struct Walk<'w, 'a> {
    pub(super) nodes: &'w [Node],
    pub(super) found: RefCell<Vec<(Slot, &'a str)>>,
    pub(super) ambiguous: RefCell<Vec<Slot>>,
    pub(super) refused: Cell<Option<WalkError>>,
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
pub(super) struct At<'w, 'a> {
    pub(super) walk: &'w Walk<'w, 'a>,
    pub(super) node: usize,
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

/// Position of this key among the wanted ones. Read as bytes: a lone surrogate in a key that nobody
/// asked for is no reason to refuse a document.
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
