//! Requests for a fetch, from deliveries to the thread of their source.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use hookweir_signatures::Fetch;

use crate::keys::Bell;
use crate::keys::missing_keys::MissingKeys;

/// Sender of a source's requests for fetches.
#[derive(Clone, Debug)]
pub(in crate::keys) struct FetchRequests {
    pub(super) missing_keys: Arc<Mutex<MissingKeys>>,
    pub(super) bell: Bell,
}

impl FetchRequests {
    pub(super) fn new() -> (Self, Receiver<()>) {
        let (bell, rung) = Bell::new();
        let missing_keys = Arc::default();
        (Self { missing_keys, bell }, rung)
    }

    /// Adds a fetch to the sample, and wakes the thread.
    pub(in crate::keys) fn add(&self, fetch: Fetch) {
        let mut missing_keys = self
            .missing_keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        missing_keys.add(fetch);
        drop(missing_keys);
        self.bell.ring();
    }
}
