//! What both databases keep of an event, besides its keys: headers are one JSON text, `[["name","value"],…]`; what decides about an event
//! whose keys are known.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{First, Inserted, Mark, NewEvent, Seq, StoredEvent};
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageId, MessageKey, SourceName, UnixMillis,
};

/// Headers as they are stored.
pub(super) fn headers_to_text(headers: &[(String, String)]) -> String {
    // Text in a slice cannot fail to be written.
    serde_json::to_string(headers).unwrap_or_else(|_| "[]".to_owned())
}

/// A duration as SQL takes it.
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
}

impl EventRow {
    /// The event as the publisher takes it, or what is wrong with the row.
    pub(super) fn into_stored(self, attempts: u32) -> Result<StoredEvent, String> {
        let row = |what: String| format!("event {}: {what}", self.seq);
        let source = SourceName::parse(&self.source).map_err(row)?;
        let headers = serde_json::from_str(&self.headers)
            .map_err(|error| row(format!("headers: {error}")))?;
        Ok(StoredEvent {
            seq: Seq(self.seq),
            attempts,
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
                window: Duration::ZERO,
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

/// A row of `dedup` that an event met.
#[derive(Debug)]
pub(super) struct KnownRow {
    pub(super) seq: i64,
    pub(super) key: Vec<u8>,
    /// The key of its message, where that is not its key.
    pub(super) message: Option<Vec<u8>>,
    pub(super) digest: Vec<u8>,
    /// Milliseconds until it is forgotten.
    pub(super) left: i64,
}

/// The rows of `dedup` that an event met, by each of its keys.
#[derive(Debug, Default)]
pub(super) struct Met {
    pub(super) by_replay: Option<KnownRow>,
    pub(super) by_key: Option<KnownRow>,
    pub(super) by_bytes: Option<KnownRow>,
}

/// What an event that was not inserted is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Known(Inserted),
    /// The row with its key is past its time: it gives way, and the event is inserted.
    GivesWay,
    /// Nothing stands in its way any more.
    Gone,
}

impl KnownRow {
    fn first(&self) -> diesel::QueryResult<First> {
        Ok(First {
            seq: Seq(self.seq),
            message: message_key(self.message.as_ref().unwrap_or(&self.key))?,
        })
    }

    /// Past its time, and an event that comes now is another one. Where it would be the same one again, it is known until its row is
    /// deleted: the clock may be wrong.
    fn is_over(&self, first: &First) -> bool {
        self.left <= 0 && first.message.is_fresh()
    }
}

/// The table of identity (`docs/internals/architecture.md`, "Dedup"), for an event that met these rows.
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
