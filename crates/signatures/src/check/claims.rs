//! Claims of a token that bind the request.

use subtle::ConstantTimeEq;

use crate::crypto::mac::{Encoding, HashName};
use crate::json_pointers::{Slot, Slots, scalar};
use crate::language::template::Template;
use crate::refusal::{Reason, Refusal};

/// A claim that holds a digest.
#[derive(Debug)]
pub(crate) struct DigestClaim {
    pub(crate) name: Box<str>,
    pub(crate) slot: Slot,
    pub(crate) hash: HashName,
    pub(crate) encoding: Encoding,
    pub(crate) absent_if_empty: bool,
}

impl DigestClaim {
    /// The claim's text for these bytes; None where it has to be absent.
    pub(crate) fn value(&self, bytes: &[u8]) -> Option<String> {
        (!(self.absent_if_empty && bytes.is_empty()))
            .then(|| self.encoding.encode(self.hash.of([bytes]).as_bytes()))
    }

    /// A GET has no body: the claim may be absent, or the digest of nothing or of the query.
    pub(super) fn check_query(&self, slots: &Slots<'_>, query: &str) -> Result<(), Refusal> {
        if slots.raw(self.slot).is_none() {
            return Ok(());
        }
        self.check(slots, &[])
            .or_else(|_| self.check(slots, query.as_bytes()))
    }

    pub(super) fn check(&self, slots: &Slots<'_>, bytes: &[u8]) -> Result<(), Refusal> {
        let claimed = slots.raw(self.slot).and_then(scalar);
        let right = match (&claimed, self.value(bytes)) {
            (None, None) => true,
            // Padding says nothing about the bytes.
            (Some(claimed), Some(expected)) if self.encoding == Encoding::Base64Url => {
                let end = claimed
                    .iter()
                    .rposition(|b| *b != b'=')
                    .map_or(0, |at| at + 1);
                claimed[..end].ct_eq(expected.as_bytes()).into()
            }
            (Some(claimed), Some(expected)) => claimed.ct_eq(expected.as_bytes()).into(),
            _ => false,
        };
        if right {
            Ok(())
        } else {
            Err(Refusal::new(
                Reason::PreconditionFailed,
                format!(
                    "the token's claim {} is not the digest of the received bytes",
                    self.name
                ),
            ))
        }
    }
}

/// A claim of which one of several places must equal something.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) name: Box<str>,
    /// Each as a value, and as an array.
    pub(crate) places: Vec<(Slot, Slot)>,
    pub(crate) expected: Template,
}
