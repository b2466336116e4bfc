//! Messages as a sink gets them: the same envelope for every sink. Pure.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use http::HeaderName;
use http::header::CONTENT_ENCODING;
use serde::Serialize;
use serde::ser::SerializeMap;

use super::routing_key::RoutingKeys;
use crate::domain::delivery::{MessageId, SourceName, UnixMillis};
use crate::domain::trace_context::{TRACEPARENT, TRACESTATE};
use crate::store::cursor::EventPosition;
use crate::store::republish::JobId;
use crate::store::{NewEvent, StoredEvent};
use crate::telemetry::traces;

/// Type of an event without one, in the routing key and in `cloudEvents:type`, which may not be
/// empty. A binding by position (`*.invoice.paid`) so never meets a key with a part missing.
pub const UNTYPED: &str = "unknown";

/// Header with the id of the first message that has the same event id, on a message with another
/// body.
pub const CONFLICT_OF: &str = "x-hookweir-conflict-of";
/// Header with the id of the first message that has the same bytes, on a message with another event
/// id or none.
pub const SAME_BYTES_AS: &str = "x-hookweir-same-bytes-as";
/// Header with the id of the job that has published the event again, on an operator's order.
pub const REPUBLISHED: &str = "x-hookweir-republished";
/// Header with the event's place in the order in which `GET /api/v1/events?after=` lists events.
pub const POSITION: &str = "x-hookweir-position";
/// Header with the id of the message, in sinks whose messages have no id of their own.
pub const MESSAGE_ID: &str = "x-hookweir-message-id";

/// Names of the CloudEvents attributes in the headers of a protocol.
#[derive(Clone, Copy, Debug)]
pub struct AttributeNames {
    specversion: &'static str,
    id: &'static str,
    source: &'static str,
    event_type: &'static str,
    time: &'static str,
}

macro_rules! attributes {
    ($prefix:literal) => {
        AttributeNames {
            specversion: concat!($prefix, "specversion"),
            id: concat!($prefix, "id"),
            source: concat!($prefix, "source"),
            event_type: concat!($prefix, "type"),
            time: concat!($prefix, "time"),
        }
    };
}

/// Names in CloudEvents' AMQP binding.
pub const AMQP_ATTRIBUTES: AttributeNames = attributes!("cloudEvents:");
/// Names in CloudEvents' Kafka binding.
pub const KAFKA_ATTRIBUTES: AttributeNames = attributes!("ce_");

/// Start of the names of our headers.
const OURS: &str = "x-hookweir-";

/// A message for a sink.
#[derive(Clone, Debug)]
pub struct Message {
    /// Id of the message, the same on every copy.
    pub id: MessageId,
    /// Routing key of at most 255 bytes.
    pub routing_key: String,
    /// Number of attempts to publish the event, this one included.
    pub attempt: u32,
    /// Place of the event in the order of the store.
    pub position: EventPosition,
    /// Job that publishes it again.
    pub republished: Option<JobId>,
    /// The event, with the body.
    pub event: Arc<NewEvent>,
    /// Headers of the provider that go to this sink. None: all that are stored.
    pub forwarded: Option<ForwardedHeaders>,
}

/// Names of headers that a sink gets with the events of a source.
pub type ForwardedHeaders = Arc<[HeaderName]>;

/// Options for the messages of one sink.
#[derive(Clone, Debug)]
pub struct MessageOptions {
    /// Templates of routing keys.
    pub keys: RoutingKeys,
    /// Headers that are passed on, by source. Events may be stored with others: for another sink, or
    /// before a reload.
    pub forwarded: HashMap<SourceName, ForwardedHeaders>,
}

impl MessageOptions {
    /// Takes over the options of sources that a reload has removed: events of theirs may wait.
    pub fn keep_removed(&mut self, before: &Self) {
        for (source, headers) in &before.forwarded {
            if let Entry::Vacant(place) = self.forwarded.entry(source.clone()) {
                place.insert(headers.clone());
                self.keys.keep_removed(source, &before.keys);
            }
        }
    }

    /// Returns the message of a row that was tried `tries` times since it was read.
    pub fn message(&self, row: &StoredEvent, tries: u32) -> Message {
        Message {
            forwarded: self.forwarded.get(&row.event.source).cloned(),
            ..Message::new(row, tries, &self.keys)
        }
    }
}

impl Message {
    /// Returns the message of a row that was tried `tries` times since it was read.
    pub fn new(row: &StoredEvent, tries: u32, keys: &RoutingKeys) -> Self {
        let event = &row.event;
        Self {
            id: event.message_id(),
            routing_key: keys.render(
                &event.source,
                event.event_type.as_deref().unwrap_or(UNTYPED),
                event.event_id.as_str(),
            ),
            attempt: row.attempts.saturating_add(tries).saturating_add(1),
            position: EventPosition::of(row.seq, event.message_id()),
            republished: row.republished,
            event: event.clone(),
            forwarded: None,
        }
    }

    /// Returns the headers with AMQP's names of the CloudEvents attributes, as
    /// [`Message::headers_with`] does.
    pub fn headers(&self) -> Vec<(&str, String)> {
        self.headers_with(&AMQP_ATTRIBUTES)
    }

    /// Returns the headers, each name once: ours, then the provider's. A provider's header with a
    /// name like ours is left out, so that no sender can forge ours. A header that came several
    /// times is joined with ", ", as in HTTP.
    pub fn headers_with(&self, names: &AttributeNames) -> Vec<(&str, String)> {
        let event = &*self.event;
        let received_at = rfc3339(event.received_at);
        let mut headers: Vec<(&str, String)> = Vec::with_capacity(9 + event.headers.len());
        headers.push((names.specversion, "1.0".to_owned()));
        headers.push((names.id, event.event_id.as_str().to_owned()));
        headers.push((names.source, event.source.as_str().to_owned()));
        headers.push((
            names.event_type,
            event.event_type.as_deref().unwrap_or(UNTYPED).to_owned(),
        ));
        headers.push((names.time, received_at.clone()));
        headers.push(("x-hookweir-source", event.source.as_str().to_owned()));
        headers.push(("x-hookweir-received-at", received_at));
        headers.push(("x-hookweir-attempt", self.attempt.to_string()));
        headers.push((POSITION, self.position.to_string()));
        let id = |id: MessageId| id.to_string();
        headers.extend(
            event
                .marks
                .conflict_of
                .map(|first| (CONFLICT_OF, id(first))),
        );
        headers.extend(
            event
                .marks
                .same_bytes_as
                .map(|first| (SAME_BYTES_AS, id(first))),
        );
        headers.extend(self.republished.map(|job| (REPUBLISHED, job.to_string())));
        self.add_theirs(&mut headers);
        headers
    }

    /// Adds the provider's headers to ours.
    fn add_theirs<'a>(&'a self, headers: &mut Vec<(&'a str, String)>) {
        let ours = headers.len();
        let is_ours = |name: &str| {
            name.get(..OURS.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
        };
        let is_forwarded = |name: &str| {
            let Some(forwarded) = &self.forwarded else {
                return true;
            };
            let mut names = forwarded.iter().chain([&CONTENT_ENCODING]);
            let of_trace = || traces::is_on() && [TRACEPARENT, TRACESTATE].contains(&name);
            names.any(|header| header.as_str().eq_ignore_ascii_case(name)) || of_trace()
        };
        let theirs = self.event.headers.iter();
        for (name, value) in theirs.filter(|(name, _)| !is_ours(name) && is_forwarded(name)) {
            match headers
                .iter()
                .position(|(known, _)| known.eq_ignore_ascii_case(name))
            {
                None => headers.push((name, value.clone())),
                Some(place) if place >= ours => {
                    headers[place].1.push_str(", ");
                    headers[place].1.push_str(value);
                }
                Some(_) => {}
            }
        }
    }

    /// Returns the content encoding of the body, such as `gzip`.
    pub fn content_encoding(&self) -> Option<&str> {
        self.event
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-encoding"))
            .map(|(_, value)| value.as_str())
    }

    /// Returns the envelope as one line of JSON, without the line end. `body` is the received text.
    /// If it is not UTF-8, there is `body_base64` instead.
    pub fn to_json_line(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

impl Serialize for Message {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use base64::Engine as _;

        struct Headers(Vec<(String, String)>);
        impl Serialize for Headers {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
            }
        }

        let event = &*self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message_id", &self.id.to_string())?;
        map.serialize_entry("routing_key", &self.routing_key)?;
        map.serialize_entry("content_type", &event.content_type)?;
        if let Some(encoding) = self.content_encoding() {
            map.serialize_entry("content_encoding", encoding)?;
        }
        map.serialize_entry("type", &event.event_type)?;
        map.serialize_entry("timestamp", &rfc3339(event.received_at))?;
        map.serialize_entry(
            "headers",
            &Headers(
                self.headers()
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            ),
        )?;
        match std::str::from_utf8(&event.body) {
            Ok(text) => map.serialize_entry("body", text)?,
            Err(_) => map.serialize_entry(
                "body_base64",
                &base64::engine::general_purpose::STANDARD.encode(&event.body),
            )?,
        }
        map.end()
    }
}

/// Returns a time as `2026-11-23T15:04:05.678Z`. A time that no calendar has is shown as the epoch.
fn rfc3339(time: UnixMillis) -> String {
    let time = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::testing::{event, row};
    use crate::publish::testing::keys;

    #[test]
    fn the_envelope_says_what_the_design_says() {
        let mut event = event("stripe", "evt_1", b"{\"a\":\"\xc3\xa9\"}");
        event.event_type = Some("invoice.paid".into());
        event.headers = vec![
            ("user-agent".into(), "Stripe/1.0".into()),
            ("traceparent".into(), "00-ab-cd-01".into()),
            ("X-Hookweir-Source".into(), "forged".into()),
            ("user-agent".into(), "again".into()),
        ];
        let row = StoredEvent {
            attempts: 2,
            ..row(1, event)
        };
        let message = Message::new(&row, 1, &keys("{source}.{type}"));
        assert_eq!(message.routing_key, "stripe.invoice.paid");
        let json: serde_json::Value =
            serde_json::from_slice(&message.to_json_line().expect("json")).expect("json");
        assert_eq!(
            json,
            serde_json::json!({
                "message_id": row.event.message_id().to_string(),
                "routing_key": "stripe.invoice.paid",
                "content_type": "application/json",
                "type": "invoice.paid",
                "timestamp": "2026-01-01T00:00:00.001Z",
                "headers": {
                    "cloudEvents:specversion": "1.0", "cloudEvents:id": "evt_1", "cloudEvents:source": "stripe",
                    "cloudEvents:type": "invoice.paid", "cloudEvents:time": "2026-01-01T00:00:00.001Z",
                    "x-hookweir-source": "stripe", "x-hookweir-received-at": "2026-01-01T00:00:00.001Z", "x-hookweir-attempt": "4",
                    "x-hookweir-position": format!("1-{}", &row.event.message_id().to_string()[..8]),
                    "user-agent": "Stripe/1.0, again", "traceparent": "00-ab-cd-01",
                },
                "body": "{\"a\":\"é\"}",
            })
        );
    }

    #[test]
    fn a_header_that_a_reload_takes_from_a_sink_does_not_come_with_what_waits() {
        let mut waiting = event("shop", "1", b"{}");
        waiting.headers = ["authorization", "user-agent", "content-encoding"]
            .map(|name| (name.into(), "value".into()))
            .to_vec();
        let (waiting, shop) = (row(1, waiting), SourceName::parse("shop").expect("a name"));
        let of = |headers: &[&'static str]| {
            let headers = headers.iter().map(|name| HeaderName::from_static(name));
            MessageOptions {
                keys: keys("{source}"),
                forwarded: HashMap::from([(shop.clone(), headers.collect())]),
            }
        };
        let sent = |options: &MessageOptions| {
            let message = options.message(&waiting, 0);
            let headers = message
                .headers()
                .into_iter()
                .map(|(name, _)| name.to_owned());
            let theirs =
                headers.filter(|name| !name.contains("cloudEvents") && !name.starts_with(OURS));
            theirs.collect::<Vec<_>>()
        };
        let before = of(&["authorization", "user-agent"]);
        assert_eq!(
            sent(&before),
            ["authorization", "user-agent", "content-encoding"]
        );
        let after = of(&["user-agent"]);
        assert_eq!(sent(&after), ["user-agent", "content-encoding"]);
        let mut removed = MessageOptions {
            forwarded: HashMap::new(),
            ..of(&[])
        };
        removed.keep_removed(&after);
        assert_eq!(
            sent(&removed),
            sent(&after),
            "the source was removed meanwhile"
        );
    }

    #[test]
    fn a_compressed_body_says_so() {
        let mut event = event("s", "1", b"\x1f\x8b");
        event.headers = vec![("content-encoding".into(), "gzip".into())];
        let json = Message::new(&row(1, event), 0, &keys("{source}"))
            .to_json_line()
            .expect("json");
        let json: serde_json::Value = serde_json::from_slice(&json).expect("json");
        assert_eq!(json["content_encoding"], "gzip");
    }

    #[test]
    fn a_body_that_is_not_text_goes_as_base64_and_an_untyped_event_is_unknown() {
        let message = Message::new(
            &row(1, event("s", "1", b"\xff\n")),
            0,
            &keys("{source}.{type}"),
        );
        let json: serde_json::Value =
            serde_json::from_slice(&message.to_json_line().expect("json")).expect("json");
        assert_eq!(json["body_base64"], "/wo=");
        assert_eq!(json.get("body"), None);
        assert_eq!(json["routing_key"], "s.unknown");
        assert_eq!(json["type"], serde_json::Value::Null);
        assert!(
            !message.to_json_line().expect("json").contains(&b'\n'),
            "one line"
        );
    }
}
