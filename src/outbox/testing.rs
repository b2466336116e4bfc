//! Events and rows for unit tests.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis,
};
use crate::store::{NewEvent, Seq, StoredEvent};

pub(crate) fn key(n: u8) -> MessageKey {
    MessageKey::of(&DedupKey::new(
        &SourceName::parse("s").expect("a name"),
        "id",
        &[&[n]],
    ))
}

pub(crate) fn event(source: &str, id: &str, body: &[u8]) -> NewEvent {
    let source = SourceName::parse(source).expect("a source name");
    NewEvent {
        key: DedupKey::new(&source, "id", &[id.as_bytes()]),
        message: MessageKey::of(&DedupKey::new(&source, "id", &[id.as_bytes()])),
        class: IdClass::Signed,
        bytes_key: None,
        drop_same_bytes: None,
        replay: None,
        marks: Marks::default(),
        digest: BodyDigest::of(body),
        event_id: EventId::new(id),
        source,
        event_type: None,
        content_type: Some("application/json".into()),
        headers: Vec::new(),
        body: body.to_vec().into(),
        received_at: UnixMillis(1_767_225_600_001),
        verified_by: None,
        window: Duration::from_secs(60),
        sinks: None,
    }
}

pub(crate) fn row(seq: i64, event: NewEvent) -> StoredEvent {
    StoredEvent {
        republished: None,
        seq: Seq(seq),
        attempts: 0,
        event: Arc::new(event),
    }
}
