//! Questions that an operator asks of the store, and their answers. Each look is bounded: it reads
//! [`LOOK`] events at most, by number or by key, and needs no index of its own.

use std::fmt;

use super::Seq;
use crate::domain::delivery::{DedupKey, Marks, MessageId, SourceName, UnixMillis};
use crate::domain::sink::SinkName;

/// Largest number of entries in a page.
pub const PAGE: usize = 500;

/// Number of events that one look reads, whatever it finds.
pub const LOOK: usize = 10_000;

/// A question for events. Every part that is given has to hold.
#[derive(Clone, Debug, Default)]
pub struct EventQuery {
    /// Name of the source.
    pub source: Option<SourceName>,
    /// The provider's id, as shown.
    pub event_id: Option<String>,
    /// The provider's type.
    pub event_type: Option<String>,
    /// Id of the message.
    pub message: Option<MessageId>,
    /// Earliest time of receipt.
    pub from: Option<UnixMillis>,
    /// Time of receipt that is too late.
    pub until: Option<UnixMillis>,
    /// State of the event; with a sink, its state there.
    pub state: Option<EventState>,
    /// Sink with a row of the event, waiting or parked. With [`EventState::Published`]: a sink that
    /// has none.
    pub sink: Option<SinkName>,
    /// Numbers below this one only: [`EventPage::next`] of the page before.
    pub before: Option<Seq>,
    /// Number of events wanted, at most [`PAGE`].
    pub limit: usize,
}

impl EventQuery {
    /// Returns `true` if the rows at the sinks decide about an event.
    pub(super) fn asks_for_rows(&self) -> bool {
        self.state.is_some() || self.sink.is_some()
    }

    /// Returns `true` if the event's rows at the sinks fit.
    pub(super) fn fits_rows(&self, event: &EventSummary) -> bool {
        let Some(sink) = &self.sink else {
            return self.state.is_none_or(|state| event.state() == state);
        };
        let waits = event.waiting.iter().any(|row| row.sink == *sink);
        let is_parked = event.parked.iter().any(|row| row.sink == *sink);
        match self.state {
            None => waits || is_parked,
            Some(EventState::Waiting) => waits,
            Some(EventState::Parked) => is_parked,
            Some(EventState::Published) => !waits && !is_parked,
        }
    }
}

/// State of an event, over all sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventState {
    /// A sink has not confirmed it.
    Waiting,
    /// A sink has refused it for good.
    Parked,
    /// No sink has a row of it any more: confirmed, or discarded by an operator.
    Published,
}

impl EventState {
    /// All states, each with its word.
    pub const WORDS: [(&'static str, Self); 3] = [
        ("waiting", Self::Waiting),
        ("parked", Self::Parked),
        ("published", Self::Published),
    ];

    /// Returns the state with this word.
    pub fn parse(word: &str) -> Option<Self> {
        let mut words = Self::WORDS.iter();
        words.find(|(own, _)| *own == word).map(|(_, state)| *state)
    }
}

/// Events that a look has found, the newest first.
#[derive(Clone, Debug, Default)]
pub struct EventPage {
    /// The events.
    pub events: Vec<EventSummary>,
    /// Place to go on from. None at the end. A page may be empty and have a next one: the events
    /// that were looked at did not fit the question.
    pub next: Option<Seq>,
}

/// An event without its headers and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSummary {
    /// Number of the event.
    pub seq: Seq,
    /// Id of its message.
    pub message_id: MessageId,
    /// Name of its source.
    pub source: String,
    /// The provider's id, as shown.
    pub event_id: String,
    /// The provider's type, if there is one.
    pub event_type: Option<String>,
    /// `Content-Type` of the request.
    pub content_type: Option<String>,
    /// Time of receipt.
    pub received_at: UnixMillis,
    /// Bytes of its body.
    pub bytes: u64,
    /// Reference of the secret that has verified it. None: not recorded.
    pub verified_by: Option<String>,
    /// Doubts about it.
    pub marks: Marks,
    /// Sinks that have not confirmed it, by name.
    pub waiting: Vec<WaitingFor>,
    /// Sinks that have refused it for good, by name.
    pub parked: Vec<ParkedFor>,
}

impl EventSummary {
    /// Returns the state: parked if a sink has refused the event, else waiting if one has not
    /// confirmed it.
    pub fn state(&self) -> EventState {
        match (self.parked.is_empty(), self.waiting.is_empty()) {
            (false, _) => EventState::Parked,
            (true, false) => EventState::Waiting,
            (true, true) => EventState::Published,
        }
    }
}

/// A row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingFor {
    /// Name of the sink.
    pub sink: SinkName,
    /// Number of attempts that were not confirmed.
    pub attempts: u32,
}

/// A parked row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedFor {
    /// Name of the sink.
    pub sink: SinkName,
    /// Reason of the refusal.
    pub reason: String,
}

/// Another body that came under a known key, without that body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConflictSummary {
    /// Place of the entry in the list.
    pub place: ConflictPlace,
    /// Name of the source.
    pub source: String,
    /// The provider's id, as shown.
    pub event_id: String,
    /// `Content-Type` of the request.
    pub content_type: Option<String>,
    /// Time of receipt.
    pub received_at: UnixMillis,
    /// Bytes of the body.
    pub bytes: u64,
}

/// Place of a conflict in the list, the newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConflictPlace {
    /// Time at which it was kept, in the unit of the database.
    pub(super) at: i64,
    /// Key of the event.
    pub(super) key: DedupKey,
    /// Digest of this body.
    pub(super) digest: [u8; 32],
}

impl ConflictPlace {
    /// Parses the text of a place.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let at = parts.next()?.parse().ok()?;
        let mut digest = || {
            let mut bytes = [0; 32];
            hex::decode_to_slice(parts.next()?, &mut bytes).ok()?;
            Some(bytes)
        };
        Some(Self {
            at,
            key: DedupKey::from_bytes(digest()?),
            digest: digest()?,
        })
    }

    /// A time after all others: the year 9999, in microseconds.
    pub(super) const NEWEST: i64 = 253_402_300_799_000_000;
}

impl ConflictPlace {
    /// Returns the key of the event that came first.
    pub fn key(&self) -> DedupKey {
        self.key
    }
}

impl fmt::Display for ConflictPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, digest) = (hex::encode(self.key.as_bytes()), hex::encode(self.digest));
        write!(f, "{}-{key}-{digest}", self.at)
    }
}

/// Returns the number of entries to read for a page of `limit`.
pub(super) fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(PAGE)).unwrap_or(i64::MAX)
}

/// Returns the first and the last key of a message's id. The id lacks six bits of the key: compare the
/// ids of what is found.
pub(super) fn keys_of(message: MessageId) -> ([u8; 32], [u8; 32]) {
    let (mut first, mut last) = ([0; 32], [u8::MAX; 32]);
    // The version is in the byte after these.
    first[..6].copy_from_slice(&message.as_bytes()[..6]);
    last[..6].copy_from_slice(&message.as_bytes()[..6]);
    (first, last)
}

/// Name of an event that leads to its number at once.
#[derive(Clone, Copy, Debug)]
pub enum EventName {
    /// Its dedup key: made of its source and its provider's id.
    Key(DedupKey),
    /// Id of its message. Finds no event whose message has a key of its own; search for those.
    Message(MessageId),
}
