//! Event that every database takes, to tell a fault of the database from a fault of a row.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::NewEvent;
use super::row::headers_to_text;
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis,
};

/// Returns a good event as large as the largest of `rows`, under a key of its own. A smaller one
/// could still find room on a full disk. With `full` it fills the columns that few events fill.
/// Store it and roll it back.
pub(super) fn good_event(rows: &[Arc<NewEvent>], full: bool) -> diesel::QueryResult<Arc<NewEvent>> {
    let size = |new: &Arc<NewEvent>| {
        new.body.len() + headers_to_text(&new.headers).len() + new.event_id.as_str().len()
    };
    let body = Bytes::from(vec![0; rows.iter().map(size).max().unwrap_or(0)]);
    let source = SourceName::parse("probe")
        .map_err(|error| diesel::result::Error::QueryBuilderError(error.into()))?;
    let key = DedupKey::unique(&source);
    Ok(Arc::new(NewEvent {
        key,
        message: if full {
            MessageKey::fresh()
        } else {
            MessageKey::of(&key)
        },
        class: IdClass::Unsigned,
        bytes_key: None,
        drop_same_bytes: None,
        replay: full.then(|| DedupKey::unique(&source)),
        marks: Marks::default(),
        digest: BodyDigest::of(&body),
        source,
        event_id: EventId::new("probe"),
        event_type: None,
        content_type: None,
        headers: Vec::new(),
        body,
        received_at: UnixMillis(0),
        verified_by: None,
        window: Duration::from_secs(60),
        sinks: None,
    }))
}
