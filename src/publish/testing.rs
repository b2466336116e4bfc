//! What the unit tests of this folder share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::routing_key::{RoutingKey, RoutingKeys};
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis,
};
use crate::store::{NewEvent, Seq, StoredEvent};

pub(super) fn event(source: &str, id: &str, body: &[u8]) -> NewEvent {
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
        window: Duration::from_secs(60),
    }
}

pub(super) fn row(seq: i64, event: NewEvent) -> StoredEvent {
    StoredEvent {
        seq: Seq(seq),
        attempts: 0,
        event: Arc::new(event),
    }
}

pub(super) fn keys(template: &str) -> RoutingKeys {
    RoutingKeys::new(
        RoutingKey::parse(template).expect("a template"),
        HashMap::new(),
    )
}
