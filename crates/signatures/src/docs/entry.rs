//! A preset as the reference describes it: its coverage, without keys.

use crate::IdClass;
use crate::compile::coverage::{Covered, covered};
use crate::language::spec::SchemeSpec;

/// A preset with its name.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) spec: SchemeSpec,
    pub(super) covered: Covered,
}

impl Entry {
    pub(super) fn new(name: &'static str, spec: SchemeSpec) -> Self {
        Self {
            name,
            covered: covered(&spec, &spec.params),
            spec,
        }
    }

    pub(super) fn without_id(&self) -> bool {
        let event = &self.spec.event;
        event.id.is_empty() && event.batch.as_ref().is_none_or(|batch| batch.id.is_empty())
    }

    /// Returns the meaning of an id that is found.
    pub(super) fn class(&self) -> IdClass {
        self.covered.class(&self.spec.event)
    }
}
