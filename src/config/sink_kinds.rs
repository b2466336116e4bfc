//! Kinds of options about sinks: lists of event types, lists of names, and the order of events.

use super::option::{Describe, Read};
use super::reader::Reader;
use crate::domain::event_order::EventOrder;
use crate::domain::sink::{SinkName, TypePattern};

/// A list of patterns of event types.
pub(super) struct TypePatterns;

impl Read<Vec<TypePattern>> for TypePatterns {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<TypePattern> {
        r.list(key, TypePattern::parse)
    }
}

impl Describe for TypePatterns {
    fn takes(&self) -> String {
        "list of event types; `*` stands for any text, `?` for one character".to_owned()
    }
}

/// A list of names of sinks.
pub(super) struct SinkNames;

impl Read<Vec<SinkName>> for SinkNames {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> Vec<SinkName> {
        r.list(key, SinkName::parse)
    }
}

impl Describe for SinkNames {
    fn takes(&self) -> String {
        "list of names of sinks".to_owned()
    }
}

/// An order of events.
pub(super) struct Order;

impl Read<EventOrder> for Order {
    fn read(&self, r: &mut Reader<'_>, key: &'static str) -> EventOrder {
        r.text(key, |text| EventOrder::parse(text).map(drop))
            .and_then(|text| EventOrder::parse(&text).ok())
            .unwrap_or_default()
    }
}

impl Describe for Order {
    fn takes(&self) -> String {
        "`\"none\"`, `\"source\"`, or `\"{json:/pointer}\"`".to_owned()
    }
}
