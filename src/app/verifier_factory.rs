//! Starts verifiers on the threads that need one.

use actix::ArbiterHandle;

use crate::dedup::DedupActors;
use crate::runtime::mailbox::Mailbox;
use crate::verify::{Received, Verifiers};

/// Starts verifiers, each with its dedup actor.
#[derive(Clone)]
pub(super) struct VerifierFactory {
    pub(super) verifiers: Verifiers,
    pub(super) dedups: DedupActors,
}

impl VerifierFactory {
    /// Starts a verifier and its dedup actor on the same thread. `place` is that thread's name in metrics.
    pub(super) fn start(&self, arbiter: &ArbiterHandle, place: &str) -> Mailbox<Received> {
        let dedup = self.dedups.start(arbiter, format!("dedup-{place}"));
        self.verifiers
            .start(arbiter, format!("verifier-{place}"), dedup)
    }
}
