//! Identity of events, and what a real store makes of it.

use std::time::Duration;

use hookweir_signatures::sign::{Sender, SignInputs, sign, sign_as};
use hookweir_signatures::spec::SchemeSpec;
use hookweir_signatures::testing::{self, verify, *};
use hookweir_signatures::{
    Refusal, Request, Scheme, SourceSpec, UnixMillis, Verdict, presets, reference,
};
use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::*;
use crate::domain::delivery::{IdClass, MessageKey, SourceName};

/// An event with its keys.
#[derive(Debug)]
struct Event {
    event: VerifiedEvent,
    keys: EventKeys,
    class: IdClass,
    body: Bytes,
}

impl std::ops::Deref for Event {
    type Target = EventKeys;

    fn deref(&self) -> &EventKeys {
        &self.keys
    }
}

impl Event {
    fn of(source: &SourceName, event: VerifiedEvent) -> Self {
        Self {
            keys: EventKeys::new(source, None, &event),
            class: event.class,
            body: event.body.clone(),
            event,
        }
    }
}

mod identity;
mod identity_cases;
mod stored;

fn events(scheme: &Scheme, request: &Request, at: i64) -> Result<Vec<Event>, Refusal> {
    let events = testing::events(scheme, request, at)?.into_iter();
    Ok(events
        .map(|event| Event::of(&name("test"), event))
        .collect())
}

fn one(scheme: &Scheme, request: &Request, at: i64) -> Event {
    Event::of(&name("test"), testing::one(scheme, request, at))
}

fn name(text: &str) -> SourceName {
    SourceName::parse(text).expect("a source name")
}

#[test]
fn a_forwarded_header_that_is_not_ascii_is_kept() {
    let text = |bytes: &[u8]| header_text(&http::HeaderValue::from_bytes(bytes).expect("a value"));
    assert_eq!(text(b"plain"), Some("plain".to_owned()));
    assert_eq!(text("grüße".as_bytes()), Some("grüße".to_owned()));
    assert_eq!(text(b"gr\xfc\xdfe"), Some("grüße".to_owned()));
}
