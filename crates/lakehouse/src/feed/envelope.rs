//! Messages of Hookweir as events: a line of the file sink, or the parts of a broker's message.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use crate::event::{Event, Millis, RowId};

/// Header with the name of the source.
const SOURCE: &str = "x-hookweir-source";
/// Header with the provider's id.
const EVENT_ID: &str = "cloudEvents:id";
/// Header with the time of receipt.
const RECEIVED_AT: &str = "x-hookweir-received-at";
/// Header with the first message that has the same event id.
const CONFLICT_OF: &str = "x-hookweir-conflict-of";
/// Header with the first message that has the same bytes.
const SAME_BYTES_AS: &str = "x-hookweir-same-bytes-as";
/// Starts of the names of headers that Hookweir sets. They are columns, or say nothing about the event.
const OURS: [&str; 2] = ["x-hookweir-", "cloudEvents:"];

/// Parts of a message, as each sink has them.
#[derive(Debug, Default)]
pub struct Parts {
    /// Id of the message.
    pub message_id: String,
    /// Type of the event.
    pub event_type: Option<String>,
    /// Content type of the body.
    pub content_type: Option<String>,
    /// Headers, ours and the provider's.
    pub headers: Vec<(String, String)>,
    /// The bytes as received.
    pub body: Bytes,
}

impl Parts {
    /// Returns the event. An error names the part that is missing or wrong, and no value of it.
    pub fn into_event(self) -> Result<Event, String> {
        let header = |name: &str| {
            let found = self.headers.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        let required = |name: &str| header(name).ok_or_else(|| format!("it has no header {name}"));
        let id = |text: &str, what: &str| {
            text.parse::<RowId>()
                .map_err(|_| format!("its {what} is not a UUID"))
        };
        let mark = |name: &str| header(name).map(|text| id(text, name)).transpose();
        Ok(Event {
            message_id: id(&self.message_id, "message id")?,
            source: required(SOURCE)?.to_owned(),
            event_id: required(EVENT_ID)?.to_owned(),
            received_at: time(required(RECEIVED_AT)?)?,
            conflict_of: mark(CONFLICT_OF)?,
            same_bytes_as: mark(SAME_BYTES_AS)?,
            event_type: self.event_type,
            content_type: self.content_type,
            body: self.body,
            headers: self
                .headers
                .into_iter()
                .filter(|(name, _)| !is_ours(name))
                .collect(),
        })
    }
}

/// Returns the event in a line of the file sink.
pub fn from_line(line: &[u8]) -> Result<Event, String> {
    // Without the reason, which may quote the body.
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| format!("it is no envelope, from byte {} on", error.column()))?;
    let body = match (line.body, line.body_base64) {
        (Some(text), None) => text.into_bytes(),
        (None, Some(text)) => STANDARD
            .decode(text)
            .map_err(|_| "its body_base64 is not base64".to_owned())?,
        _ => return Err("it has no body, or two".to_owned()),
    };
    let parts = Parts {
        message_id: line.message_id,
        event_type: line.event_type,
        content_type: line.content_type,
        headers: line.headers.0,
        body: body.into(),
    };
    parts.into_event()
}

#[derive(Deserialize)]
struct Line {
    message_id: String,
    content_type: Option<String>,
    #[serde(rename = "type")]
    event_type: Option<String>,
    headers: Headers,
    body: Option<String>,
    body_base64: Option<String>,
}

/// Headers in their order.
struct Headers(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Headers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("headers")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Headers, M::Error> {
                let mut headers = Vec::with_capacity(map.size_hint().unwrap_or(8).min(64));
                while let Some(pair) = map.next_entry()? {
                    headers.push(pair);
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Returns the time of receipt, which is part of the message on every copy, to the millisecond.
fn time(text: &str) -> Result<Millis, String> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    let time = time.map_err(|_| format!("its header {RECEIVED_AT} is no time"))?;
    Ok(Millis(time.as_millisecond()))
}

fn is_ours(name: &str) -> bool {
    let starts = |start: &&str| {
        name.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    OURS.iter().any(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"message_id":"018f0000-0000-8000-8000-000000000001","routing_key":"gh.push","content_type":"application/json","type":"push","timestamp":"2026-01-01T00:00:00.001Z","headers":{"cloudEvents:id":"evt_1","cloudEvents:source":"gh","cloudEvents:time":"2026-01-01T00:00:00.001Z","x-hookweir-source":"gh","x-hookweir-received-at":"2026-01-01T00:00:00.001Z","x-hookweir-attempt":"1","x-hookweir-conflict-of":"018f0000-0000-8000-8000-000000000002","user-agent":"GitHub","traceparent":"00-a"},"body":"{\"a\":\"é\u0000\"}"}"#;

    #[test]
    fn a_line_of_the_file_sink_is_the_event_with_its_marks_and_without_our_headers() {
        let event = from_line(LINE.as_bytes()).expect("an event");
        assert_eq!(event.source, "gh");
        assert_eq!(event.event_id, "evt_1");
        assert_eq!(event.event_type.as_deref(), Some("push"));
        assert_eq!(event.received_at, Millis(1_767_225_600_001));
        assert_eq!(event.body, "{\"a\":\"é\0\"}");
        assert_eq!(
            event.conflict_of.map(|id| id.to_string()).as_deref(),
            Some("018f0000-0000-8000-8000-000000000002")
        );
        let headers: Vec<_> = event
            .headers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(headers, ["user-agent", "traceparent"]);
    }

    #[test]
    fn bytes_that_are_not_text_come_out_of_base64() {
        let line = LINE.replace(r#""body":"{\"a\":\"é\u0000\"}""#, r#""body_base64":"/wo=""#);
        assert_eq!(
            from_line(line.as_bytes()).expect("an event").body,
            b"\xff\n"[..]
        );
    }

    #[test]
    fn a_line_that_is_no_event_names_the_mistake_and_never_the_body() {
        for (line, reason) in [
            (
                LINE.replace("018f0000-0000-8000-8000-000000000001", "secret"),
                "its message id is not a UUID",
            ),
            (
                LINE.replace("x-hookweir-source", "x-other"),
                "it has no header x-hookweir-source",
            ),
            (
                LINE.replace("\"body\":", "\"bdy\":"),
                "it has no body, or two",
            ),
            (LINE[..40].to_owned(), "it is no envelope, from byte 40 on"),
        ] {
            assert_eq!(from_line(line.as_bytes()).expect_err("refused"), reason);
        }
    }
}
