//! Rows of conflicts, the same on both databases.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

use super::NewEvent;
use super::catalog::{ConflictPlace, ConflictSummary};
use super::row::{digest, key};
use crate::domain::delivery::{
    BodyDigest, EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis,
};

pub(super) const CONFLICT: &str = "
    SELECT source, event_id, content_type, headers, received_at, body FROM conflict WHERE key = $1 AND digest = $2";

pub(super) const CONFLICT_BODY: &str = "SELECT body FROM conflict WHERE key = $1 AND digest = $2";

/// A conflict with its body.
#[derive(QueryableByName)]
pub(super) struct WholeConflictRow {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    content_type: Option<String>,
    #[diesel(sql_type = Text)]
    headers: String,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
}

impl WholeConflictRow {
    /// Returns the conflict as an event of its own, or the fault of the row.
    pub(super) fn into_event(self, place: &ConflictPlace) -> Result<NewEvent, String> {
        let row = |what: String| format!("conflict {place}: {what}");
        let source = SourceName::parse(&self.source).map_err(row)?;
        let headers = serde_json::from_str(&self.headers)
            .map_err(|error| row(format!("headers: {error}")))?;
        let digest = BodyDigest::from_bytes(place.digest);
        let key = place.key.variant(&source, &digest);
        let first = MessageKey::of(&place.key).message_id();
        Ok(NewEvent {
            key,
            message: MessageKey::of(&key),
            class: IdClass::Signed,
            bytes_key: None,
            drop_same_bytes: None,
            replay: None,
            digest,
            marks: Marks {
                conflict_of: Some(first),
                same_bytes_as: None,
            },
            source,
            event_id: EventId::new(&self.event_id),
            event_type: None,
            content_type: self.content_type.map(Into::into),
            headers,
            body: self.body.into(),
            received_at: UnixMillis(self.received_at),
            verified_by: None,
            window: SENT_BACK,
            sinks: None,
        })
    }
}

/// Time for which a conflict that was sent back is known, if it is sent back again.
const SENT_BACK: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(QueryableByName)]
pub(super) struct ConflictRow {
    #[diesel(sql_type = BigInt)]
    at: i64,
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    content_type: Option<String>,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

impl ConflictRow {
    pub(super) fn into_summary(self) -> QueryResult<ConflictSummary> {
        Ok(ConflictSummary {
            place: ConflictPlace {
                at: self.at,
                key: key(&self.key)?,
                digest: digest(&self.digest)?,
            },
            source: self.source,
            event_id: self.event_id,
            content_type: self.content_type,
            received_at: UnixMillis(self.received_at),
            bytes: self.bytes.unsigned_abs(),
        })
    }
}
