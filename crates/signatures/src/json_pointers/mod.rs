//! Reads a few values out of a JSON document in one pass, by path, without building the document.
//!
//! Everything that is not on a path is skipped without recursion, so that a document nested 100,000
//! deep costs no more than its length. Values come out as the text they have in the document: two
//! different 23-digit numbers stay different. A key that occurs twice on a path makes the document
//! ambiguous (our parser and the consumer's may take different ones), and the walk says so.

use std::cell::{Cell, RefCell};

use serde::de::DeserializeSeed;

mod path;
mod pointer;
mod set;
mod tree;
mod values;
mod walk;

pub use self::path::ScalarPath;
pub use self::pointer::JsonPointer;
use self::pointer::PointerStep;
pub(crate) use self::set::set;
use self::tree::{Node, Step};
pub(crate) use self::tree::{Slot, WalkError};
pub(crate) use self::values::{JsonKind, flat_members, scalar};
use self::walk::{At, Walk};

/// UTF-8's byte order mark, in front of some senders' JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The paths that one walk reads, as a tree.
#[derive(Debug, Clone)]
pub(crate) struct PathSet {
    nodes: Vec<Node>,
    slots: Slot,
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
    /// Adds a pointer. The same pointer gets the same slot.
    pub(crate) fn add(&mut self, pointer: &JsonPointer) -> Result<Slot, String> {
        let node = self.descend(pointer);
        let next = self.slots;
        let slot = *self.nodes[node].slot.get_or_insert(next);
        self.count(slot)
    }

    /// Adds a mark that is found when there is an array at `pointer`, even an empty one.
    pub(crate) fn add_array(&mut self, pointer: &JsonPointer) -> Result<Slot, String> {
        let node = self.descend(pointer);
        let next = self.slots;
        let slot = *self.nodes[node].array.get_or_insert(next);
        self.count(slot)
    }

    /// Returns `true` if there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots == 0
    }

    fn count(&mut self, slot: Slot) -> Result<Slot, String> {
        if slot == self.slots {
            self.slots = self.slots.checked_add(1).ok_or("too many JSON pointers")?;
        }
        Ok(slot)
    }

    /// Returns the node of a pointer, made if it is new.
    fn descend(&mut self, pointer: &JsonPointer) -> usize {
        let mut node = 0;
        for step in pointer.steps() {
            let known = match step {
                PointerStep::Each => self.nodes[node].any,
                PointerStep::Key { name, .. } => {
                    let mut keys = self.nodes[node].keys.iter();
                    keys.find(|known| known.key == *name)
                        .map(|known| known.node)
                }
            };
            node = known.unwrap_or_else(|| self.grow(node, step));
        }
        node
    }

    /// Adds a node below `node`.
    fn grow(&mut self, node: usize, step: &PointerStep) -> usize {
        let new = self.nodes.len();
        self.nodes.push(Node::default());
        match step {
            PointerStep::Each => self.nodes[node].any = Some(new),
            PointerStep::Key { name, index } => self.nodes[node].keys.push(Step {
                key: name.clone(),
                index: *index,
                node: new,
            }),
        }
        new
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

    /// Reads `document` once. The slots below a key that occurs twice are marked, see
    /// [`Slots::is_ambiguous`].
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

#[cfg(test)]
mod tests;
