//! Erasure in the spool of this instance: the store takes over the keys, bodies and headers go.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;

use super::erase::{EraseOrder, EraseView, ErasedChoice, ErasedView, LOOK_BODIES, has_value};
use super::republish::log;
use super::views::shown;
use super::{ApiProblem, Operator, question};
use crate::domain::delivery::DedupKey;
use crate::domain::sink::SinkSet;
use crate::store::{AuditEntry, Inserted, NewEvent, Seq, SpoolErasure, SpoolPage, StoreError};

impl Operator {
    /// Erases events of a page of the spool, and records `caller` before.
    pub(super) fn erase_in_spool(
        &self,
        order: &EraseOrder,
        caller: &str,
    ) -> Result<EraseView, ApiProblem> {
        let Some(spool) = &self.spool else {
            return Ok(EraseView::default());
        };
        let (choice, source) = (order.choice()?, question::source(&order.source)?);
        let from = question::time_if("from", order.from.as_deref())?;
        let until = question::time_if("to", order.to.as_deref())?;
        let after = match order.before.as_deref() {
            Some(place) => question::place("before", place)?,
            None => Seq(i64::MIN),
        };
        let chooses = |event: &NewEvent| {
            let is_in_time = from.is_none_or(|from| event.received_at >= from)
                && until.is_none_or(|until| event.received_at < until);
            event.source == source && is_in_time && fits(event, &choice)
        };
        let without_key = RefCell::new(Vec::new());
        let keep_keys = |page: &SpoolPage| {
            let kept = self.keep_keys(order, caller, page)?;
            without_key.borrow_mut().extend(kept);
            Ok(())
        };
        let page = spool.erase(&SpoolErasure {
            after,
            limit: LOOK_BODIES,
            chooses: &chooses,
            keep_keys: if order.start { Some(&keep_keys) } else { None },
        });
        let page = page.map_err(|error| {
            ApiProblem::unavailable(
                format!("cannot erase in the spool: {error}"),
                "look at /readyz for the state of spool and store, and ask again",
            )
        })?;
        let events = views(&page);
        Ok(EraseView {
            erased: if order.start { events.len() as u64 } else { 0 },
            events,
            without_key: without_key.into_inner(),
            next: page.next.map(|next| next.0.to_string()),
            ..EraseView::default()
        })
    }

    /// Stores the keys of events without their bodies, and without a sink. Returns the ids of those that the
    /// store refuses.
    fn keep_keys(
        &self,
        order: &EraseOrder,
        caller: &str,
        page: &SpoolPage,
    ) -> Result<Vec<String>, StoreError> {
        let store = self.archive.opened()?;
        let ids: Vec<String> = views(page)
            .into_iter()
            .map(|view| view.message_id)
            .collect();
        let what = format!("events of source {} in the spool", order.source);
        let entry = AuditEntry {
            count: ids.len() as u64,
            ..self.erase_entry(order, caller, &what, &ids)
        };
        // The record first: nothing is erased without it.
        store.record(&entry)?;
        log(&entry);
        let (mut rows, mut refused) = (Vec::new(), Vec::new());
        let mut left: Vec<_> = page
            .events
            .iter()
            .map(|(_, event)| emptied(event))
            .collect();
        while !left.is_empty() {
            left.sort_unstable_by_key(|event| event.key);
            let stored = self.intake.insert(self.instance, &self.sinks, &left)?;
            let mut doubtful = Vec::new();
            for (event, stored) in left.into_iter().zip(stored) {
                match stored {
                    Inserted::Accepted(row) => rows.push(row),
                    Inserted::Duplicate(first) | Inserted::Unpublished(first) => {
                        rows.push(first.seq)
                    }
                    Inserted::Conflict(_) => {}
                    Inserted::Doubtful(mark) => doubtful.push(Arc::new(event.marked(mark))),
                    Inserted::Refused(_) => refused.push(event.event_id.to_string()),
                }
            }
            left = doubtful;
        }
        let keys: Vec<DedupKey> = page.events.iter().map(|(_, event)| event.key).collect();
        store.erase(&rows, &keys, &entry)?;
        Ok(refused)
    }
}

/// Returns `true` if an event is chosen by its id, or by its body.
fn fits(event: &NewEvent, choice: &ErasedChoice<'_>) -> bool {
    match choice {
        ErasedChoice::Ids(ids) => {
            let message = event.message_id().to_string();
            ids.iter()
                .any(|id| *id == message || id == event.event_id.as_str())
        }
        ErasedChoice::Value(pointer, value) => has_value(&event.body, pointer, value),
    }
}

/// Returns the event without its body and headers, for no sink.
fn emptied(event: &NewEvent) -> Arc<NewEvent> {
    Arc::new(NewEvent {
        body: Bytes::new(),
        headers: Vec::new(),
        content_type: None,
        sinks: Some(SinkSet::default()),
        ..event.clone()
    })
}

fn views(page: &SpoolPage) -> Vec<ErasedView> {
    let events = page.events.iter().map(|(_, event)| event);
    let all = events.chain(&page.others);
    let views = all.map(|event| ErasedView {
        message_id: event.message_id().to_string(),
        event_id: event.event_id.to_string(),
        received_at: shown(event.received_at),
    });
    views.collect()
}
