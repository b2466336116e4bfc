//! Schema of events: their id, type and batches.

use serde::Deserialize;

use super::defaults::yes;
use crate::language::syntax::{JsonPointer, TemplateText};

/// Places of the id and the type of an event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// Templates of the id. The first whose parts are all present is the id; an empty list means no
    /// id.
    #[serde(default)]
    pub id: Vec<TemplateText>,
    /// Template of the event's type.
    #[serde(rename = "type", default)]
    pub event_type: TemplateText,
    /// Meaning of the provider's id.
    #[serde(default)]
    pub id_kind: IdKind,
    /// JSON pointers to values that a redelivery may change. Bodies are compared without these
    /// values.
    #[serde(default)]
    pub varies: Vec<JsonPointer>,
    /// Rule for an event without an id.
    #[serde(default)]
    pub missing_id: Missing,
    /// A redelivery has the id of the first delivery.
    #[serde(default = "yes")]
    pub stable_id: bool,
    /// Place of several events in one delivery.
    pub batch: Option<BatchSpec>,
}

impl Default for EventSpec {
    fn default() -> Self {
        Self {
            id: Vec::new(),
            event_type: TemplateText::default(),
            id_kind: IdKind::default(),
            varies: Vec::new(),
            missing_id: Missing::default(),
            stable_id: true,
            batch: None,
        }
    }
}

/// Meaning of a provider's id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdKind {
    /// One id for each event. Also assumed for an id that an operator configures.
    #[default]
    Event,
    /// One id for each object. Several events can have it.
    Object,
    /// Unknown meaning; handled like an object's id.
    Unknown,
}

/// Rule for an event without an id.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// Equal bodies are one event while the provider retries. For providers that never send equal
    /// bodies for two events.
    Body,
    /// Every delivery is a new event. Known bytes are published with a mark.
    #[default]
    Unique,
    /// The delivery is refused.
    Refuse,
}

/// Several events in one delivery.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// JSON pointer to the array of events. The step `*` stands for every element of an outer
    /// array.
    pub array: JsonPointer,
    /// Templates of an event's id, relative to the element; see [`EventSpec::id`].
    #[serde(default)]
    pub id: Vec<TemplateText>,
    /// Template of an event's type, relative to the element.
    #[serde(rename = "type", default)]
    pub event_type: TemplateText,
    /// JSON pointers to values that a redelivery may change, relative to the element.
    #[serde(default)]
    pub varies: Vec<JsonPointer>,
    /// Default for sources: each element is stored as an event. For providers that regroup events
    /// on a retry.
    #[serde(default)]
    pub split: bool,
    /// Meaning of an empty array.
    #[serde(default)]
    pub empty: EmptyBatch,
}

/// Meaning of an empty batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmptyBatch {
    /// A health check: it is answered as accepted, and nothing is stored.
    #[default]
    Ok,
    /// The delivery is refused.
    Refuse,
}
