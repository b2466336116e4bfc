//! The store: one transaction holds the unique key, the event's bytes and its outbox row.
//!
//! [`Store`] is blocking and is called from a few dedicated threads, never from an actor. Two implementations keep one contract
//! (`tests/it/store_contract`): PostgreSQL, which several instances share, and SQLite.
//!
//! [`open`] does not need the database to be there: the [`keeper`] calls [`Housekeeping::prepare`] until it works.

mod audit;
pub mod catalog;
mod catalog_answers;
mod catalog_rows;
mod claim;
mod clock;
mod conflict_rows;
pub mod cursor;
mod cursor_rows;
pub mod finder;
mod in_order;
pub mod keeper;
mod migrations;
mod open;
mod parked;
mod pause_board;
mod pause_rows;
mod postgres;
mod probe;
pub mod quarantine;
mod quarantine_rows;
mod reached;
mod relocation;
pub mod republish;
mod republish_rows;
mod roles;
mod row;
mod sink_backlogs;
mod size;
mod spooled;
mod sqlite;
mod stall;
pub mod trace;
mod trace_rows;
mod transfer;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

pub use audit::{AuditAction, AuditEntry, AuditRow};
pub use finder::Finder;
pub use in_order::{FromKey, InMemory, InOrder, OrderedRows};
pub(crate) use open::probe_folder;
pub use open::{check, migrate, open, open_for_operator};
pub use parked::Parked;
pub use pause_board::{PauseBoard, PauseWatch};
pub use reached::Reached;
pub use relocation::{Progress, relocate, reopen};
pub use roles::{
    Audit, Catalog, Cursor, Decisions, Housekeeping, Intake, OperatorStore, Outbox, PauseStore,
    QuarantineStore, Republish, Secrets, Store,
};
pub use size::{StoreSize, Surplus};
pub use spooled::{KeepKeys, SpoolErasure, SpoolPage, SpooledEvents};
pub use sqlite::{SpoolFile, SpoolTrouble, SpoolUsage};
pub use transfer::{Contents, backup, restore};

use self::republish::JobId;
use crate::config::secret::Secret;
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageId, MessageKey, SourceName, UnixMillis,
};
use crate::domain::sink::{SinkName, SinkSet, Sinks};
use crate::domain::trace_context::{TRACEPARENT, TraceContext};

/// A verified event that is to be stored.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// Identity of the event.
    pub key: DedupKey,
    /// Key of its message, the same on every copy.
    pub message: MessageKey,
    /// Meaning of its id.
    pub class: IdClass,
    /// Key of its bytes, if equal bytes under another key are marked or dropped.
    pub bytes_key: Option<DedupKey>,
    /// Time for which equal bytes under another key are dropped, if the operator wants that.
    pub drop_same_bytes: Option<Duration>,
    /// Key of the signed request, if a time or a nonce was signed. The same request again is a
    /// duplicate, whatever its id.
    pub replay: Option<DedupKey>,
    /// Tells a redelivery from another body.
    pub digest: BodyDigest,
    /// Doubts about it.
    pub marks: Marks,
    /// Name of its source.
    pub source: SourceName,
    /// The provider's id, as shown.
    pub event_id: EventId,
    /// The provider's type, if there is one.
    pub event_type: Option<Box<str>>,
    /// `Content-Type` of the request.
    pub content_type: Option<Box<str>>,
    /// The provider's headers that the source passes on, and `traceparent`: name and value.
    pub headers: Vec<(String, String)>,
    /// The bytes as received.
    pub body: Bytes,
    /// Time at which the request's head had been read.
    pub received_at: UnixMillis,
    /// Reference of the secret that has verified it. None: a key that was fetched or learned, or an event
    /// that was read back.
    pub verified_by: Option<Arc<str>>,
    /// Dedup window: time for which its key is kept.
    pub window: Duration,
    /// Sinks that it goes to by the configuration of its receipt. None: by the present one.
    pub sinks: Option<SinkSet>,
}

impl NewEvent {
    /// Returns the sinks that it goes to.
    pub fn wanted_by(&self, sinks: &Sinks) -> SinkSet {
        let present = || sinks.wanting(&self.source, self.event_type.as_deref());
        self.sinks.unwrap_or_else(present)
    }

    /// Returns the span of its POST, if that is sampled.
    pub fn trace(&self) -> Option<TraceContext> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(name, _)| name == TRACEPARENT)?;
        TraceContext::parse(value).filter(TraceContext::is_sampled)
    }

    /// Returns the id of its message.
    pub fn message_id(&self) -> MessageId {
        self.message.message_id()
    }

    /// Returns the key of its message, if that is not the dedup key. It is then stored beside it.
    pub(crate) fn own_message(&self) -> Option<&MessageKey> {
        Some(&self.message).filter(|message| message.as_bytes() != self.key.as_bytes())
    }

    /// Returns the event as it is stored with `mark`.
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
    /// Replaces `spooled`, which turned out to be a second message, by the first one that `mark`
    /// names.
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

/// Event that came first, of a known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Its number.
    pub seq: Seq,
    /// The key of its message.
    pub message: MessageKey,
}

impl First {
    /// Returns the id of its message.
    pub fn message_id(&self) -> MessageId {
        self.message.message_id()
    }
}

/// The number of an outbox row, never used again within a database; says nothing about the order of commits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Seq(pub i64);

/// An event whose row is committed and in the outbox.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Its outbox row.
    pub seq: Seq,
    /// Number of attempts that were not confirmed.
    pub attempts: u32,
    /// Job that has put it into the outbox again.
    pub republished: Option<JobId>,
    /// The event. An event that was read from the outbox has its message's key as its key, and
    /// nothing that only dedup needs.
    pub event: Arc<NewEvent>,
}

/// Result of an insert for one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// New: key, event and outbox row are committed.
    Accepted(Seq),
    /// Known: the event that came first.
    Duplicate(First),
    /// Known, and its event waits in the outbox. No insert returns it: see [`Intake::waiting`].
    Unpublished(First),
    /// Known, with another body: the first stays, this one was kept in `conflict`.
    Conflict(First),
    /// Not stored: an event of its own. Insert it again as [`NewEvent::marked`].
    Doubtful(Mark),
    /// Refused by the database. The other rows of the batch are committed.
    Refused(String),
}

/// Failure of a store call, for the operator. Never holds a password or a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Nothing was committed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The commit may or may not have happened. If it did, the relay finds the rows.
    #[error("the outcome of the transaction is not known: {0}")]
    Ambiguous(String),
    /// Durability is off, or the schema is missing or too new: a mistake of setup that no retry
    /// mends.
    #[error("{0}")]
    Unfit(String),
}

/// Room that the relay has.
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

/// Retention times.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Published events, counted from their confirm.
    pub events: Duration,
    /// Bodies in `conflict`.
    pub conflicts: Duration,
    /// Refused deliveries in `quarantine`.
    pub refused: Duration,
    /// The longest window of any source.
    pub keys: Duration,
}

/// Time after a secret was forgotten in which none is learned. By its end every instance knows that
/// the secret is gone, or that its own copy is out of date.
pub const RELEARN_AFTER: Duration = Duration::from_secs(10);

/// Result of learning a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The secret is in the store.
    Kept,
    /// Another secret is in the store.
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
    /// The secret. None if it was forgotten.
    pub secret: Option<Secret>,
    /// Time of the last change.
    pub at: UnixMillis,
}

/// A key or certificate that was fetched because a delivery named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedKey {
    /// The source whose delivery named it; it need not be configured any more.
    pub source: String,
    /// Name of the key in deliveries.
    pub name: String,
    /// Digest of its URL.
    pub place: Vec<u8>,
    /// The key or certificate.
    pub answer: Vec<u8>,
    /// Time since it was fetched.
    pub age: Duration,
}

/// Largest number of fetched keys of a source. The oldest ones are deleted.
pub const FETCHED_KEYS: usize = 64;
/// Time for which a fetched key is kept after its last fetch.
pub const KEEP_FETCHED: Duration = Duration::from_secs(30 * 24 * 3600);
