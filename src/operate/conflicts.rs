//! Conflicts: other bodies that came under known ids. They are read, deleted, or published as messages of
//! their own.

use std::sync::Arc;

use super::bodies::OpenedBody;
use super::decisions::{Decision, ParkedQuestion, changed, check_count};
use super::republish::{log, not_stored};
use super::views::{Changed, ConflictList, ConflictView, shown};
use super::{ApiProblem, Operator};
use crate::store::catalog::{ConflictPlace, ConflictSummary, EventName, EventQuery};
use crate::store::{AuditAction, AuditEntry, Inserted, NewEvent, Seq};

impl Operator {
    /// Returns a page of the other bodies that came under known ids.
    pub fn conflicts(&self, asked: &ParkedQuestion) -> Result<ConflictList, ApiProblem> {
        if asked.sink.is_some() {
            return Err(ApiProblem::bad_question(
                "conflicts belong to no sink",
                "leave `sink` out",
            ));
        }
        let limit = asked.limit()?;
        let after = asked.after.as_deref().map(conflict).transpose()?;
        let found = self.archive.catalog()?.conflicts(after, limit)?;
        let last = found.last().map(|found| found.place.to_string());
        Ok(ConflictList {
            next: last.filter(|_| found.len() == limit),
            conflicts: found.iter().map(conflict_view).collect(),
        })
    }

    /// Returns the body of a conflict. If it cannot be recorded that `caller` opened it, the body stays
    /// closed.
    pub fn conflict_body(&self, id: &str, caller: &str) -> Result<OpenedBody, ApiProblem> {
        let body = self.archive.catalog()?.conflict_body(&conflict(id)?)?;
        let Some(body) = body else {
            return Err(ApiProblem::not_found(
                "there is no such conflict",
                "`hookweir conflicts` lists them; they are deleted after store.keep_conflicts_days",
            ));
        };
        let subject = format!("conflict {id}");
        self.record(AuditEntry {
            count: 1,
            ..self.entry(caller, AuditAction::OpenBody, subject, &Decision::default())
        })?;
        Ok(OpenedBody {
            message_id: "conflict".to_owned(),
            bytes: body.into(),
        })
    }

    /// Deletes conflicts, and records `caller`.
    pub fn discard_conflicts(
        &self,
        decision: &Decision,
        caller: &str,
    ) -> Result<Changed, ApiProblem> {
        decision.needs_reason()?;
        check_count(decision.ids.len(), "ids")?;
        let places = decision.ids.iter().map(|id| conflict(id));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let subject = format!("conflicts {}", decision.ids.join(", "));
        let entry = self.entry(caller, AuditAction::DiscardConflicts, subject, decision);
        let store = self.archive.store()?;
        changed(store.discard_conflicts(&places, &entry), entry)
    }

    /// Publishes conflicts as messages of their own, and records `caller`. They leave the list. Each has a
    /// message id of its own, and the mark of the message that came first.
    pub fn send_back_conflicts(
        &self,
        decision: &Decision,
        caller: &str,
    ) -> Result<Changed, ApiProblem> {
        check_count(decision.ids.len(), "ids")?;
        let places = decision.ids.iter().map(|id| conflict(id));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let mut count = 0;
        for place in &places {
            count += u64::from(self.send_back(place, decision, caller)?);
        }
        Ok(Changed { count })
    }

    /// Publishes one conflict. Returns `false` if it is gone. After a failure it is still in the list, and
    /// sending it back again publishes it once.
    fn send_back(
        &self,
        place: &ConflictPlace,
        decision: &Decision,
        caller: &str,
    ) -> Result<bool, ApiProblem> {
        let Some(event) = self.archive.catalog()?.conflict(place)? else {
            return Ok(false);
        };
        let event = self.as_the_first(event, place)?;
        let subject = format!("conflict {place} as message {}", event.message_id());
        let entry = AuditEntry {
            count: 1,
            ..self.entry(caller, AuditAction::SendBackConflicts, subject, decision)
        };
        // The record first: nothing is published without it.
        self.archive.store()?.record(&entry).map_err(not_stored)?;
        log(&entry);
        let stored = self
            .intake
            .insert(self.instance, &self.sinks, &[Arc::new(event)]);
        match stored.map_err(not_stored)?.first() {
            Some(Inserted::Accepted(_) | Inserted::Duplicate(_)) => {}
            other => return Err(not_taken(place, other)),
        }
        let entry = AuditEntry {
            action: AuditAction::DiscardConflicts,
            reason: Some("it was sent back".to_owned()),
            count: 0,
            ..entry
        };
        let gone = self.archive.store()?.discard_conflicts(&[*place], &entry);
        Ok(changed(gone, entry)?.count > 0)
    }

    /// Returns the event with the type of the one that came first, and its message id in the mark, while
    /// that one is stored.
    fn as_the_first(
        &self,
        mut event: NewEvent,
        place: &ConflictPlace,
    ) -> Result<NewEvent, ApiProblem> {
        let catalog = self.archive.catalog()?;
        let Some(Seq(number)) = catalog.number_of(EventName::Key(place.key()))? else {
            return Ok(event);
        };
        let page = catalog.events(&EventQuery {
            before: Some(Seq(number.saturating_add(1))),
            limit: 1,
            ..EventQuery::default()
        })?;
        if let Some(first) = page.events.iter().find(|first| first.seq.0 == number) {
            event.event_type = first.event_type.as_deref().map(Into::into);
            event.marks.conflict_of = Some(first.message_id);
        }
        Ok(event)
    }
}

/// Returns the error of a body that the store does not take.
fn not_taken(place: &ConflictPlace, found: Option<&Inserted>) -> ApiProblem {
    let why = match found {
        Some(Inserted::Refused(why)) => why.as_str(),
        _ => "its key is another event's",
    };
    ApiProblem::conflict(
        format!("the store does not take conflict {place}: {why}; it stays in the list"),
        "`hookweir conflicts show ID` has the body; `hookweir conflicts discard ID` deletes it",
    )
}

fn conflict(id: &str) -> Result<ConflictPlace, ApiProblem> {
    ConflictPlace::parse(id).ok_or_else(|| {
        ApiProblem::bad_question(
            format!("\"{}\" is no name of a conflict", id.escape_debug()),
            "give `id` as `hookweir conflicts` shows it",
        )
    })
}

fn conflict_view(found: &ConflictSummary) -> ConflictView {
    ConflictView {
        id: found.place.to_string(),
        source: found.source.clone(),
        event_id: found.event_id.clone(),
        content_type: found.content_type.clone(),
        received_at: shown(found.received_at),
        bytes: found.bytes,
    }
}
