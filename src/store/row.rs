//! Columns that both databases share, and the decision about an event whose keys are known. Headers
//! are one JSON text, `[["name","value"],…]`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{First, Inserted, Mark, NewEvent, Seq, StoredEvent};
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageId, MessageKey, SourceName, UnixMillis,
};

/// Returns headers as they are stored.
pub(super) fn headers_to_text(headers: &[(String, String)]) -> String {
    // Text in a slice cannot fail to be written.
    serde_json::to_string(headers).unwrap_or_else(|_| "[]".to_owned())
}

/// Returns a duration in milliseconds, for SQL.
pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A row of `event`.
pub(super) struct EventRow {
    pub(super) seq: i64,
    pub(super) message: MessageKey,
    pub(super) marks: Marks,
    pub(super) source: String,
    pub(super) event_id: String,
    pub(super) event_type: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) headers: String,
    pub(super) received_at: i64,
    pub(super) body: Vec<u8>,
    pub(super) verified_by: Option<String>,
}

impl EventRow {
    /// Returns the event for the publisher, or the fault of the row.
    pub(super) fn into_stored(self, attempts: u32) -> Result<StoredEvent, String> {
        let row = |what: String| format!("event {}: {what}", self.seq);
        let source = SourceName::parse(&self.source).map_err(row)?;
        let headers = serde_json::from_str(&self.headers)
            .map_err(|error| row(format!("headers: {error}")))?;
        Ok(StoredEvent {
            seq: Seq(self.seq),
            attempts,
            republished: None,
            event: Arc::new(NewEvent {
                key: DedupKey::from_bytes(*self.message.as_bytes()),
                message: self.message,
                class: IdClass::Unsigned,
                bytes_key: None,
                drop_same_bytes: None,
                replay: None,
                // Compared with nothing any more.
                digest: BodyDigest::from_bytes([0; 32]),
                marks: self.marks,
                source,
                event_id: EventId::new(&self.event_id),
                event_type: self.event_type.map(Into::into),
                content_type: self.content_type.map(Into::into),
                headers,
                body: Bytes::from(self.body),
                received_at: UnixMillis(self.received_at),
                verified_by: self.verified_by.map(Into::into),
                window: Duration::ZERO,
                sinks: None,
            }),
        })
    }
}

/// A key as the database returns it.
pub(super) fn key(bytes: &[u8]) -> diesel::QueryResult<DedupKey> {
    bytes_of(bytes).map(DedupKey::from_bytes)
}

/// The key of a message as the database returns it.
pub(super) fn message_key(bytes: &[u8]) -> diesel::QueryResult<MessageKey> {
    bytes_of(bytes).map(MessageKey::from_bytes)
}

/// A digest as the database returns it.
pub(super) fn digest(bytes: &[u8]) -> diesel::QueryResult<[u8; 32]> {
    bytes_of(bytes)
}

/// Marks as the database returns them.
pub(super) fn marks(
    conflict_of: Option<&[u8]>,
    same_bytes_as: Option<&[u8]>,
) -> diesel::QueryResult<Marks> {
    let id = |bytes: Option<&[u8]>| {
        bytes
            .map(|bytes| bytes_of(bytes).map(MessageId::from_bytes))
            .transpose()
    };
    Ok(Marks {
        conflict_of: id(conflict_of)?,
        same_bytes_as: id(same_bytes_as)?,
    })
}

fn bytes_of<const LEN: usize>(bytes: &[u8]) -> diesel::QueryResult<[u8; LEN]> {
    bytes.try_into().map_err(|_| {
        diesel::result::Error::DeserializationError(
            format!("a key that is not {LEN} bytes long").into(),
        )
    })
}

/// Row of `dedup` that has one of an event's keys.
#[derive(Debug)]
pub(super) struct KnownRow {
    pub(super) seq: i64,
    pub(super) key: Vec<u8>,
    /// Key of its message, if that is not its key.
    pub(super) message: Option<Vec<u8>>,
    pub(super) digest: Vec<u8>,
    /// Milliseconds until it is forgotten.
    pub(super) left: i64,
}

/// Rows of `dedup` that have one of an event's keys.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) by_replay: Option<KnownRow>,
    pub(super) by_key: Option<KnownRow>,
    pub(super) by_bytes: Option<KnownRow>,
}

/// Decision about an event that was not inserted.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Known(Inserted),
    /// The row with its key is past its time. It gives way, and the event is inserted.
    GivesWay,
    /// No row has one of its keys any more.
    Gone,
}

impl KnownRow {
    fn first(&self) -> diesel::QueryResult<First> {
        Ok(First {
            seq: Seq(self.seq),
            message: message_key(self.message.as_ref().unwrap_or(&self.key))?,
        })
    }

    /// Returns `true` if the row is past its time and an event that comes now is another one. If it
    /// would be the same event, the key is known until the row is deleted: the clock may be wrong.
    fn is_over(&self, first: &First) -> bool {
        self.left <= 0 && first.message.is_fresh()
    }
}

/// Table of identity (`docs/internals/dedup.md`), for an event that met these rows.
pub(super) fn decide(new: &NewEvent, met: &Met) -> diesel::QueryResult<Decision> {
    if let Some(row) = &met.by_replay {
        return Ok(Decision::Known(Inserted::Duplicate(row.first()?)));
    }
    if let Some(row) = &met.by_key {
        let (same_body, first) = (row.digest == new.digest.as_bytes(), row.first()?);
        return Ok(
            match (
                same_body,
                row.is_over(&first),
                new.class.publishes_other_bodies(),
            ) {
                (true, false, _) => Decision::Known(Inserted::Duplicate(first)),
                // This body may be known by a key of its own.
                (false, _, true) => {
                    Decision::Known(Inserted::Doubtful(Mark::ConflictOf(first.message_id())))
                }
                (false, false, false) => Decision::Known(Inserted::Conflict(first)),
                (_, true, _) => Decision::GivesWay,
            },
        );
    }
    let Some(row) = &met.by_bytes else {
        return Ok(Decision::Gone);
    };
    let first = row.first()?;
    let age = millis(new.window).saturating_sub(row.left);
    Ok(Decision::Known(match new.drop_same_bytes {
        Some(span) if age < millis(span) => Inserted::Duplicate(first),
        _ => Inserted::Doubtful(Mark::SameBytesAs(first.message_id())),
    }))
}
