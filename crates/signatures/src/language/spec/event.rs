//! Schema of events: their id, type and batches.

use serde::Deserialize;

use super::defaults::yes;
use crate::language::syntax::TemplateText;

/// Places of the id and the type of an event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventSpec {
    /// Templates; the first whose tokens are all there is the id. None: the event has no id.
    #[serde(default)]
    pub id: Vec<TemplateText>,
    /// Template.
    #[serde(rename = "type", default)]
    pub event_type: TemplateText,
    /// Meaning of the provider's id.
    #[serde(default)]
    pub id_kind: IdKind,
    /// JSON pointers into the document, to values that a redelivery may change: bodies are compared without them.
    #[serde(default)]
    pub varies: Vec<String>,
    /// Substitute for an id that is missing.
    #[serde(default)]
    pub missing_id: Missing,
    /// The provider's redeliveries have the same id.
    #[serde(default = "yes")]
    pub stable_id: bool,
    /// Place of several events in one POST.
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
    /// One id for each event. Counts for an id that an operator configures.
    #[default]
    Event,
    /// One id for each object, which has many events.
    Object,
    /// Not known.
    Unknown,
}

/// Substitute for an id that is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missing {
    /// The digest of the body, for as long as the provider retries: for a provider that is known to make each event's body unique.
    Body,
    /// A generated id: every delivery is a new event, marked if its bytes are known.
    #[default]
    Unique,
    /// Refuse the delivery.
    Refuse,
}

/// Several events in one POST.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchSpec {
    /// JSON pointer to the array; a step `*` means every element of an array on the way.
    pub array: String,
    /// As `event.id`, relative to the element.
    #[serde(default)]
    pub id: Vec<TemplateText>,
    /// As `event.type`, relative to the element.
    #[serde(rename = "type", default)]
    pub event_type: TemplateText,
    /// As `event.varies`, relative to the element.
    #[serde(default)]
    pub varies: Vec<String>,
    /// Each element becomes an event of its own, unless the source says otherwise: for a provider that puts events together anew on a retry.
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
    /// A health check: answered as accepted, nothing is stored.
    #[default]
    Ok,
    /// It is refused.
    Refuse,
}
