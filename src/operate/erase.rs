//! Erasure of events: bodies and headers go, keys stay, so that a redelivery is a duplicate and is not
//! stored again.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::decisions::check_count;
use super::republish::{log, not_stored};
use super::views::shown;
use super::{ApiProblem, EventQuestion, Operator, question};
use crate::domain::delivery::DedupKey;
use crate::store::catalog::EventSummary;
use crate::store::{AuditAction, AuditEntry, Catalog, Seq};

/// Events, or refused deliveries, of one look: each body is read.
pub(super) const LOOK_BODIES: usize = 100;

/// Place in which an order erases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErasePlace {
    /// Events in the store, with what waits or is parked, and their conflicts.
    #[default]
    Store,
    /// Events in the spool of the instance that is asked, which the store has not taken yet.
    Spool,
    /// Refused deliveries. Nothing of them is proven: their bytes are searched for the ids.
    Quarantine,
}

/// Order to erase events of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EraseOrder {
    /// Name of the source.
    pub source: String,
    /// Place to erase in.
    pub place: ErasePlace,
    /// The provider's ids or message ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// In place of ids: JSON pointer into the body, such as `/data/customer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// Value there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Earliest time of receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Time of receipt that is too late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Place to go on from: `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Erases. Without it, the answer says what would be erased.
    pub start: bool,
    /// Reason, for the record. An erasure needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Events of an order to erase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EraseView {
    /// Events that fit, erased or to be erased.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<ErasedView>,
    /// Refused deliveries that fit.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<ErasedRefusal>,
    /// Number of events, or of refused deliveries, that were erased.
    pub erased: u64,
    /// Ids of events from the spool whose keys the store refuses to keep: a redelivery is an event again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without_key: Vec<String>,
    /// Ids that no stored event has. The events may be gone already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
    /// Place to go on from. None at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An event that is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedView {
    /// Id of its message.
    pub message_id: String,
    /// The provider's id.
    pub event_id: String,
    /// Time of receipt.
    pub received_at: String,
}

/// A refused delivery that is erased.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasedRefusal {
    /// Its number.
    pub number: i64,
    /// Id of the request, as in logs.
    pub request_id: String,
    /// Time of receipt.
    pub received_at: String,
}

/// Events that an order chooses.
pub(super) enum ErasedChoice<'a> {
    /// Events with these ids.
    Ids(&'a [String]),
    /// Events with this value at this JSON pointer of the body.
    Value(&'a str, &'a str),
}

impl EraseOrder {
    /// Returns the events that are chosen. Exactly one way of choosing has to be given.
    pub(super) fn choice(&self) -> Result<ErasedChoice<'_>, ApiProblem> {
        match (&self.pointer, &self.value) {
            (None, None) => {
                check_count(self.ids.len(), "ids")?;
                Ok(ErasedChoice::Ids(&self.ids))
            }
            (Some(pointer), Some(value)) if self.ids.is_empty() => {
                Ok(ErasedChoice::Value(pointer, value))
            }
            _ => Err(ApiProblem::bad_question(
                "the choice is neither by ids nor by a pointer with a value",
                "give `ids`, or `pointer` and `value`",
            )),
        }
    }
}

impl Operator {
    /// Erases events of a source by their ids, or by a value in their bodies, and records `caller`. By value,
    /// in the spool and in the quarantine, it reads a page.
    pub fn erase(&self, order: &EraseOrder, caller: &str) -> Result<EraseView, ApiProblem> {
        if order.start
            && order
                .reason
                .as_deref()
                .is_none_or(|why| why.trim().is_empty())
        {
            return Err(ApiProblem::bad_question(
                "an erasure is for good, and `reason` is empty",
                "give a reason, for the record",
            ));
        }
        match order.place {
            ErasePlace::Store => self.erase_in_store(order, caller),
            ErasePlace::Spool => self.erase_in_spool(order, caller),
            ErasePlace::Quarantine => self.erase_refused(order, caller),
        }
    }

    fn erase_in_store(&self, order: &EraseOrder, caller: &str) -> Result<EraseView, ApiProblem> {
        let catalog = self.archive.catalog()?;
        let mut answer = EraseView::default();
        let mut rows = Vec::new();
        match order.choice()? {
            ErasedChoice::Ids(ids) => {
                for id in ids {
                    self.by_id(order, id, &mut rows, &mut answer)?;
                }
            }
            ErasedChoice::Value(pointer, value) => {
                self.by_value(catalog, order, (pointer, value), &mut rows, &mut answer)?;
            }
        }
        if order.start && !rows.is_empty() {
            answer.erased = self.erase_rows(order, caller, &rows, &answer)?;
        }
        Ok(answer)
    }

    /// Chooses the events that have this id, with those of which only conflicts are left.
    fn by_id(
        &self,
        order: &EraseOrder,
        id: &str,
        rows: &mut Vec<Seq>,
        answer: &mut EraseView,
    ) -> Result<(), ApiProblem> {
        let named = self.all_named(id, &question::source(&order.source)?);
        // Of an event in the spool, and of a refused delivery, the store may know nothing.
        let (events, numbers) = match named {
            Err(problem) if problem.is_not_found() => (Vec::new(), Vec::new()),
            named => named?,
        };
        if events.is_empty() {
            answer.unknown.push(id.to_owned());
        }
        rows.extend(numbers);
        answer.events.extend(events.iter().map(erased_view));
        Ok(())
    }

    /// Chooses the events of a page whose body has a value at a pointer.
    fn by_value(
        &self,
        catalog: &dyn Catalog,
        order: &EraseOrder,
        (pointer, value): (&str, &str),
        rows: &mut Vec<Seq>,
        answer: &mut EraseView,
    ) -> Result<(), ApiProblem> {
        let asked = EventQuestion {
            source: Some(order.source.clone()),
            from: order.from.clone(),
            to: order.to.clone(),
            before: order.before.clone(),
            limit: Some(LOOK_BODIES),
            ..EventQuestion::default()
        };
        let end = self.half_time();
        let page = catalog.events(&asked.parse()?)?;
        answer.next = page.next.map(|next| next.0.to_string());
        for summary in page.events {
            let Some((_, stored)) = catalog.event(summary.seq)? else {
                continue;
            };
            if has_value(&stored.event.body, pointer, value) {
                rows.push(summary.seq);
                answer.events.push(erased_view(&summary));
            }
            if Instant::now() >= end {
                answer.next = Some(summary.seq.0.to_string());
                break;
            }
        }
        Ok(())
    }

    /// Returns the entry in the record of an erasure of these.
    pub(super) fn erase_entry(
        &self,
        order: &EraseOrder,
        caller: &str,
        what: &str,
        erased: &[String],
    ) -> AuditEntry {
        AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::Erase,
            subject: format!("{what}: {}", erased.join(", ")),
            count: 0,
            reason: order.reason.clone(),
        }
    }

    fn erase_rows(
        &self,
        order: &EraseOrder,
        caller: &str,
        rows: &[Seq],
        chosen: &EraseView,
    ) -> Result<u64, ApiProblem> {
        let source = question::source(&order.source)?;
        let found = chosen.events.iter().map(|event| &event.event_id);
        let keys = found.chain(&order.ids);
        let keys = keys.map(|id| DedupKey::new(&source, "id", &[id.as_bytes()]));
        let keys: Vec<DedupKey> = keys.collect();
        let entry = self.erase_entry(
            order,
            caller,
            &format!("events of source {}", order.source),
            &chosen.message_ids(),
        );
        let erased = self
            .archive
            .store()?
            .erase(rows, &keys, &entry)
            .map_err(not_stored)?;
        if erased > 0 {
            log(&AuditEntry {
                count: erased,
                ..entry
            });
        }
        Ok(erased)
    }
}

impl EraseView {
    pub(super) fn message_ids(&self) -> Vec<String> {
        let events = self.events.iter();
        events.map(|event| event.message_id.clone()).collect()
    }
}

/// Returns `true` if a JSON body has this value at the pointer: a text without its quotes, anything else as
/// JSON.
pub(super) fn has_value(body: &[u8], pointer: &str, value: &str) -> bool {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else {
        return false;
    };
    let found = body.pointer(pointer).map(|found| match found {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    found.as_deref() == Some(value)
}

fn erased_view(event: &EventSummary) -> ErasedView {
    ErasedView {
        message_id: event.message_id.to_string(),
        event_id: event.event_id.clone(),
        received_at: shown(event.received_at),
    }
}
