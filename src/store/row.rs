//! What both databases keep of an event, besides its keys: headers are one JSON text, `[["name","value"],…]`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{NewEvent, Seq, StoredEvent};
use crate::delivery::{BodyDigest, DedupKey, EventId, SourceName, UnixMillis};

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
    pub(super) key: DedupKey,
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
        let headers = serde_json::from_str(&self.headers).map_err(|error| row(format!("headers: {error}")))?;
        Ok(StoredEvent {
            seq: Seq(self.seq),
            attempts,
            event: Arc::new(NewEvent {
                key: self.key,
                guard: None,
                digest: BodyDigest::of(&self.body),
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
    let bytes = bytes.try_into().map_err(|_| diesel::result::Error::DeserializationError("a key that is not 32 bytes long".into()))?;
    Ok(DedupKey::from_bytes(bytes))
}
