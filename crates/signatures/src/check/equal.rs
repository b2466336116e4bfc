//! Precondition: a place in the request, and its expected value.

use subtle::ConstantTimeEq;

use crate::language::context::Cx;
use crate::language::place::Place;
use crate::language::template::Template;
use crate::refusal::{Reason, Refusal};

/// A place, and what must be there.
#[derive(Debug)]
pub(crate) struct Equal {
    pub(crate) place: Place,
    pub(crate) shown: Box<str>,
    pub(crate) value: Template,
}

impl Equal {
    /// Returns `true` if the place holds exactly this.
    pub(crate) fn holds(&self, cx: Cx<'_>) -> Result<bool, Refusal> {
        let expected = self.value.fill(cx)?;
        Ok(self
            .place
            .value(cx)
            .is_some_and(|value| value.ct_eq(&expected).into()))
    }

    pub(super) fn check(&self, cx: Cx<'_>) -> Result<(), Refusal> {
        if self.holds(cx)? {
            Ok(())
        } else {
            Err(Refusal::new(
                Reason::PreconditionFailed,
                format!(
                    "{} does not have the value that the scheme requires",
                    self.shown
                ),
            ))
        }
    }
}
