//! Messages that are committed together, each id once.

use std::collections::HashSet;
use std::time::Duration;

use crate::event::{Event, RowId};

/// Size and age at which a batch is committed.
#[derive(Clone, Copy, Debug)]
pub struct CommitLimits {
    /// Number of messages.
    pub rows: usize,
    /// Bytes of the messages in memory.
    pub bytes: usize,
    /// Age of the oldest message in the batch.
    pub age: Duration,
}

/// Messages that were taken from the feed, and are not committed yet.
#[derive(Debug)]
pub struct CommitBatch<A> {
    events: Vec<Event>,
    ids: HashSet<RowId>,
    acks: Vec<A>,
    bytes: usize,
    copies: usize,
}

impl<A> Default for CommitBatch<A> {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            ids: HashSet::new(),
            acks: Vec::new(),
            bytes: 0,
            copies: 0,
        }
    }
}

impl<A> CommitBatch<A> {
    /// Adds a message. A second copy of an id is acked with the batch, and not written.
    pub fn push(&mut self, event: Event, ack: A) {
        self.acks.push(ack);
        if self.ids.insert(event.message_id) {
            self.bytes += event.size();
            self.events.push(event);
        } else {
            self.copies += 1;
        }
    }

    /// Adds a message that cannot become a row. It is acked with the batch.
    pub fn push_ack(&mut self, ack: A) {
        self.acks.push(ack);
    }

    /// Returns `true` if there is nothing to commit or ack.
    pub fn is_empty(&self) -> bool {
        self.acks.is_empty()
    }

    /// Returns `true` if the batch has reached its number of messages or bytes.
    pub fn is_full(&self, limits: &CommitLimits) -> bool {
        self.acks.len() >= limits.rows || self.bytes >= limits.bytes
    }

    /// Returns the events, the acks, and the number of copies that were folded.
    pub fn into_parts(self) -> (Vec<Event>, Vec<A>, usize) {
        (self.events, self.acks, self.copies)
    }
}
