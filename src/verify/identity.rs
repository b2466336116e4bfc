//! Keys of an event in the store and the cache, made of its identity.

use std::time::Duration;

use hookweir_signatures::{Identity, VerifiedEvent};

use crate::domain::delivery::{BodyDigest, DedupKey, EventId, IdClass, MessageKey, SourceName};

/// Keys by which an event is deduplicated and named.
#[derive(Debug)]
pub struct EventKeys {
    /// Key of the event: two deliveries with the same key are one event.
    pub key: DedupKey,
    /// Key of the message that is published.
    pub message: MessageKey,
    /// Key of the event's bytes, if equal bytes under another key are marked or dropped.
    pub bytes_key: Option<DedupKey>,
    /// Key of the signed message, if the same message again is a replay.
    pub replay: Option<DedupKey>,
    /// Digest of the bytes that are compared under the same key.
    pub digest: BodyDigest,
    /// Id of the event, for people.
    pub id: EventId,
}

impl EventKeys {
    /// Returns the keys of `event` at `source`. If `drop_same_bytes` is given, equal bytes under
    /// another id are dropped.
    pub fn new(
        source: &SourceName,
        drop_same_bytes: Option<Duration>,
        event: &VerifiedEvent,
    ) -> Self {
        let digest = event.digest;
        let of_bytes = |purpose: &str| key_of_bytes(source, purpose, event);
        let replay = event.signed.map(|signed| {
            let index = signed.index.to_be_bytes();
            DedupKey::new(source, "replay", &[signed.digest(), &index])
        });
        let key = match &event.identity {
            Identity::Id { parts, .. } => {
                let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
                DedupKey::new(source, "id", &parts)
            }
            Identity::Bytes => of_bytes("body"),
            Identity::Unknown => replay.unwrap_or_else(|| DedupKey::unique(source)),
        };
        let message = match event.class {
            IdClass::Signed | IdClass::Absent => MessageKey::of(&key),
            // Another body is another message, even for an instance that has not seen the first
            // body.
            IdClass::Unsigned => MessageKey::of(&key.variant(source, &digest)),
            IdClass::Object | IdClass::Body => MessageKey::fresh(),
        };
        let marks_same_bytes = event.class.marks_same_bytes()
            || (drop_same_bytes.is_some() && event.class != IdClass::Body);
        Self {
            key,
            message,
            bytes_key: marks_same_bytes.then(|| of_bytes("bytes")),
            replay: replay.filter(|replay| *replay != key),
            // The key holds all that is compared.
            digest: if replay == Some(key) {
                BodyDigest::from_bytes(*key.as_bytes())
            } else {
                digest
            },
            id: shown(event, &message),
        }
    }
}

/// Returns a key of the bytes, the type and the query. Shopify sends the same bytes under several
/// topics; a request without a body has its data in the query.
fn key_of_bytes(source: &SourceName, purpose: &str, event: &VerifiedEvent) -> DedupKey {
    let kind = event.event_type.as_deref().unwrap_or_default().as_bytes();
    let query = event.query.as_deref().unwrap_or_default().as_bytes();
    DedupKey::new(source, purpose, &[event.digest.as_bytes(), kind, query])
}

fn shown(event: &VerifiedEvent, message: &MessageKey) -> EventId {
    match &event.identity {
        Identity::Id { shown, .. } => EventId::new(shown),
        Identity::Bytes => {
            EventId::new(&format!("sha256:{}", hex::encode(event.digest.as_bytes())))
        }
        Identity::Unknown => EventId::new(&message.message_id().to_string()),
    }
}
