//! Secrets that a provider hands over in a handshake. A source learns a secret only if its operator
//! allows it. A handshake with another secret is refused until the operator deletes the first one.

use crate::crypto::mac::{Tag, token_digest};
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;
use crate::source::SourceSpec;

/// Source that learns its secret, and the secret that this scheme is compiled with.
#[derive(Debug)]
pub(crate) struct Learning {
    pub(crate) source: SourceSpec,
    pub(crate) max_events: usize,
    /// Digest of the secret; None before the first handshake.
    pub(crate) known: Option<Tag>,
}

impl Learning {
    /// Returns `true` if `secret` is the one that was learned.
    pub(crate) fn is_known(&self, secret: &Secret) -> bool {
        self.known
            .as_ref()
            .is_some_and(|known| known.matches(token_digest(secret.expose()).as_bytes()))
    }
}

/// Returns the refusal of a handshake with another secret than the learned one.
pub fn another_secret() -> Refusal {
    let detail = "handshake: another secret was learned before, and only that one counts; `hookweir learned NAME --forget` makes room for a new one";
    Refusal::new(Reason::PreconditionFailed, detail)
}
