//! Paths as a tree, whose nodes are the places where values are kept.

/// Most values that one walk keeps.
pub(super) const MAX_FOUND: usize = 1 << 16;

/// Place in which a walk keeps a value.
pub(crate) type Slot = u16;

#[derive(Debug, Clone, Default)]
pub(super) struct Node {
    pub(super) keys: Vec<Step>,
    pub(super) any: Option<usize>,
    pub(super) slot: Option<Slot>,
    pub(super) array: Option<Slot>,
}

#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) key: Box<str>,
    pub(super) index: Option<usize>,
    pub(super) node: usize,
}

/// Failure to read a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkError {
    /// It is not JSON.
    Malformed,
    /// A key on a path occurs twice.
    Ambiguous,
    /// More values than [`MAX_FOUND`].
    TooMany,
}
