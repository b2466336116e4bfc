//! The store: one transaction holds the unique key, the event's bytes and its outbox row.
//!
//! [`Store`] is blocking and is called from a few dedicated threads, never from an actor. Two implementations keep one contract
//! (`tests/it/store_contract`): PostgreSQL, which several instances share, and SQLite.
//!
//! [`open`] does not need the database to be there: the [`keeper`] calls [`Housekeeping::prepare`] until it works.

pub mod catalog;
mod catalog_rows;
mod claim;
mod clock;
pub mod keeper;
mod migrations;
mod open;
mod parked;
mod postgres;
mod probe;
mod reached;
mod roles;
mod row;
mod sqlite;
mod stall;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub(crate) use open::probe_folder;
pub use open::{check, migrate, open};
pub use parked::Parked;
pub use reached::Reached;
pub use roles::{Catalog, Housekeeping, Intake, Outbox, Secrets, Store};
pub use sqlite::{SpoolFile, SpoolTrouble, SpoolUsage};

use crate::config::secret::Secret;
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageId, MessageKey, SourceName, UnixMillis,
};
use crate::domain::sink::SinkName;

/// A verified event that is to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What makes it this event.
    pub key: DedupKey,
    /// Names its message, on every copy.
    pub message: MessageKey,
    /// Meaning of its id.
    pub class: IdClass,
    /// Key of its bytes, where equal bytes under another key are marked, or dropped.
    pub bytes_key: Option<DedupKey>,
    /// How long equal bytes under another key are dropped, where the operator wants that.
    pub drop_same_bytes: Option<Duration>,
    /// Key of what was signed, where a time or a nonce was signed as well: the very same again is a duplicate, whatever id it has.
    pub replay: Option<DedupKey>,
    /// Tells a redelivery from another body.
    pub digest: BodyDigest,
    /// Doubts about it.
    pub marks: Marks,
    /// Where it came in.
    pub source: SourceName,
    /// The provider's id, as shown.
    pub event_id: EventId,
    /// The provider's type, where there is one.
    pub event_type: Option<Box<str>>,
    /// `Content-Type` of the request.
    pub content_type: Option<Box<str>>,
    /// The provider's headers that the source passes on, and `traceparent`: name and value.
    pub headers: Vec<(String, String)>,
    /// The bytes as received.
    pub body: Bytes,
    /// When the request's head had been read.
    pub received_at: UnixMillis,
    /// How long its key is kept.
    pub window: Duration,
}

impl NewEvent {
    /// The id of its message.
    pub fn message_id(&self) -> MessageId {
        self.message.message_id()
    }

    /// The key of its message, where that is not the dedup key: to be stored beside it.
    pub(crate) fn own_message(&self) -> Option<&MessageKey> {
        Some(&self.message).filter(|message| message.as_bytes() != self.key.as_bytes())
    }

    /// The event as it is stored with `mark`.
    #[must_use]
    pub fn marked(&self, mark: Mark) -> Self {
        let mut event = self.clone();
        match mark {
            Mark::SameBytesAs(first) => {
                // The first one keeps it.
                event.bytes_key = None;
                event.marks.same_bytes_as = Some(first);
            }
            Mark::ConflictOf(first) => {
                event.key = self.key.variant(&self.source, &self.digest);
                event.marks.conflict_of = Some(first);
            }
        }
        event
    }
}

/// A doubt about an event, with the message id of the event that came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Same id, another body.
    ConflictOf(MessageId),
    /// Same bytes, another id or none.
    SameBytesAs(MessageId),
}

impl Marks {
    /// Names the message that `mark` names where they name `spooled`, which turned out to be a second one.
    pub(crate) fn rename(&mut self, spooled: MessageId, mark: Mark) {
        let (named, first) = match mark {
            Mark::ConflictOf(first) => (&mut self.conflict_of, first),
            Mark::SameBytesAs(first) => (&mut self.same_bytes_as, first),
        };
        if *named == Some(spooled) {
            *named = Some(first);
        }
    }
}

/// The event that was first, of one that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Its number.
    pub seq: Seq,
    /// The key of its message.
    pub message: MessageKey,
}

impl First {
    /// The id of its message.
    pub fn message_id(&self) -> MessageId {
        self.message.message_id()
    }
}

/// The number of an outbox row, unique for ever within a database; says nothing about the order of commits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Seq(pub i64);

/// An event whose row is committed and in the outbox.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its outbox row.
    pub seq: Seq,
    /// How often it was handed to the queue without a confirm before.
    pub attempts: u32,
    /// The event. Read back from the outbox, its key is that of its message, and all that dedup needs is gone: it has done its work.
    pub event: Arc<NewEvent>,
}

/// What an insert did with one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// New: key, event and outbox row are committed.
    Accepted(Seq),
    /// Known: the event that came first.
    Duplicate(First),
    /// Known, and its event waits in the outbox. No store says so by itself: see [`Intake::waiting`].
    Unpublished(First),
    /// Known, with another body: the first stays, this one was kept in `conflict`.
    Conflict(First),
    /// Not stored: it is an event of its own, and to be inserted again as [`NewEvent::marked`].
    Doubtful(Mark),
    /// The database refuses this very row; its neighbours are committed.
    Refused(String),
}

/// Why a store call failed. Text for the operator; never holds a password or a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was committed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The commit may or may not have happened. What did happen is found by the sweep of this instance's own rows.
    #[error("the outcome of the transaction is not known: {0}")]
    Ambiguous(String),
    /// Durability is off, the schema is missing or too new: a mistake of setup that no retry mends.
    #[error("{0}")]
    Unfit(String),
}

/// How much the relay can take on.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Events.
    pub events: usize,
    /// Bytes of their bodies.
    pub bytes: usize,
}

/// Rows of a sink that it has confirmed.
#[derive(Clone, Copy, Debug)]
pub struct Confirms<'a> {
    /// Name of the sink.
    pub sink: &'a SinkName,
    /// Numbers of the rows.
    pub rows: &'a [Seq],
}

/// Rows that wait for a sink, and its parked ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Name of the sink.
    pub sink: SinkName,
    /// Number of rows that wait.
    pub depth: u64,
    /// Age of the oldest row by the store's clock; zero if the clock was set back since.
    pub oldest: Duration,
    /// The row with the lowest number.
    pub first: Option<Seq>,
    /// Number of parked rows.
    pub parked: u64,
}

impl Backlog {
    /// Returns the rows of all sinks together, under the default name.
    pub(super) fn sum(sinks: &[Self]) -> Self {
        Self {
            sink: SinkName::default(),
            depth: sinks.iter().map(|of| of.depth).sum(),
            oldest: sinks.iter().map(|of| of.oldest).max().unwrap_or_default(),
            first: sinks.iter().filter_map(|of| of.first).min(),
            parked: sinks.iter().map(|of| of.parked).sum(),
        }
    }
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Published events, counted from their confirm.
    pub events: Duration,
    /// Bodies in `conflict`.
    pub conflicts: Duration,
    /// The longest window of any source.
    pub keys: Duration,
}

/// After a secret was forgotten, none is learned for this long: by then every instance knows that it was, or knows that it is out of date.
pub const RELEARN_AFTER: Duration = Duration::from_secs(10);

/// What became of a secret that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// It is in the store, now or since before.
    Kept,
    /// Another one is.
    Another,
    /// The last one was forgotten a moment ago.
    NotYet,
}

impl Learned {
    fn of(known: Option<&[u8]>, handed_over: &Secret) -> Self {
        match known {
            None => Self::NotYet,
            // Compared by its digest, so that the time it takes says nothing of it.
            Some(known) if BodyDigest::of(known) == BodyDigest::of(handed_over.expose()) => {
                Self::Kept
            }
            Some(_) => Self::Another,
        }
    }
}

/// A secret that was handed over to a source.
#[derive(Clone, Debug)]
pub struct LearnedSecret {
    /// The source's name; it need not be configured any more.
    pub source: String,
    /// The secret; None where it was forgotten.
    pub secret: Option<Secret>,
    /// When that was.
    pub at: UnixMillis,
}

/// A key or certificate that was fetched because a delivery named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedKey {
    /// The source whose delivery named it; it need not be configured any more.
    pub source: String,
    /// What deliveries call it.
    pub name: String,
    /// Digest of where it was fetched.
    pub place: Vec<u8>,
    /// What was there.
    pub answer: Vec<u8>,
    /// How long ago.
    pub age: Duration,
}

/// Most fetched keys of a source that are kept; the oldest go.
pub const FETCHED_KEYS: usize = 64;
/// How long a fetched key is kept after it was fetched for the last time.
pub const KEEP_FETCHED: Duration = Duration::from_secs(30 * 24 * 3600);
