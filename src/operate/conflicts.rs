//! Conflicts: other bodies that came under known ids. They are read, deleted, or published as messages of
//! their own.

use std::sync::Arc;
use std::time::Instant;

use super::bodies::OpenedBody;
use super::decisions::{Decision, ParkedQuestion, changed, check_count};
use super::events::by_number;
use super::republish::{log, not_stored};
use super::views::{Changed, ConflictList, ConflictView, SentBack, shown};
use super::{ApiProblem, Operator};
use crate::store::catalog::{ConflictPlace, ConflictSummary, EventName, EventSummary};
use crate::store::{AuditAction, AuditEntry, Inserted, NewEvent};

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
        let place = conflict(id)?;
        let body = self.archive.catalog()?.conflict_body(&place)?;
        let Some(body) = body else {
            return Err(ApiProblem::not_found(
                "there is no such conflict",
                "`hookweir conflicts` lists them; they are deleted after store.keep_conflicts_days",
            ));
        };
        let first = self.first_of(&place)?;
        let subject = format!("conflict {id}");
        self.record(AuditEntry {
            count: 1,
            ..self.entry(caller, AuditAction::OpenBody, subject, &Decision::default())
        })?;
        Ok(OpenedBody {
            message_id: "conflict".to_owned(),
            bytes: body.into(),
            headers: Vec::new(),
            conflict_of: first.map(|first| first.message_id.to_string()),
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
    /// message id of its own, and the mark of the message that came first. The rest is left when half of
    /// the time to answer is over.
    pub fn send_back_conflicts(
        &self,
        decision: &Decision,
        caller: &str,
    ) -> Result<SentBack, ApiProblem> {
        check_count(decision.ids.len(), "ids")?;
        let places = decision.ids.iter().map(|id| conflict(id));
        let places = places.collect::<Result<Vec<_>, _>>()?;
        let end = self.half_time();
        let mut sent = SentBack::default();
        let mut rest = places.iter();
        for place in rest.by_ref() {
            let done = self.send_back(place, decision, caller);
            match done.map_err(|problem| after_others(&sent, problem))? {
                Done::Published => sent.count += 1,
                Done::PublishedBefore => sent.before += 1,
                Done::Gone => {}
            }
            if Instant::now() >= end {
                break;
            }
        }
        sent.left = rest.len();
        Ok(sent)
    }

    /// Publishes one conflict. After a failure it is still in the list, and sending it back again publishes
    /// it once.
    fn send_back(
        &self,
        place: &ConflictPlace,
        decision: &Decision,
        caller: &str,
    ) -> Result<Done, ApiProblem> {
        let Some(event) = self.archive.catalog()?.conflict(place)? else {
            return Ok(Done::Gone);
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
        let done = match stored.map_err(not_stored)?.first() {
            Some(Inserted::Accepted(_)) => Done::Published,
            Some(Inserted::Duplicate(_)) => Done::PublishedBefore,
            other => return Err(not_taken(place, other)),
        };
        let entry = AuditEntry {
            action: AuditAction::DiscardConflicts,
            reason: Some("it was sent back".to_owned()),
            count: 0,
            ..entry
        };
        let gone = self.archive.store()?.discard_conflicts(&[*place], &entry);
        changed(gone, entry)?;
        Ok(done)
    }

    /// Returns the event with the type of the one that came first, and its message id in the mark. Fails if
    /// a sink would miss it: no sink wants it, or its type is unknown and a sink chooses by type.
    fn as_the_first(
        &self,
        mut event: NewEvent,
        place: &ConflictPlace,
    ) -> Result<NewEvent, ApiProblem> {
        match self.first_of(place)? {
            Some(first) => {
                event.event_type = first.event_type.map(Into::into);
                event.marks.conflict_of = Some(first.message_id);
            }
            None if self.sinks.choose_by_type(&event.source) => return Err(type_unknown(place)),
            None => {}
        }
        if event.wanted_by(&self.sinks).is_empty() {
            return Err(wanted_by_none(place, event.event_type.as_deref()));
        }
        Ok(event)
    }

    /// Returns the event that came first, while it is stored.
    fn first_of(&self, place: &ConflictPlace) -> Result<Option<EventSummary>, ApiProblem> {
        let catalog = self.archive.catalog()?;
        let Some(number) = catalog.number_of(EventName::Key(place.key()))? else {
            return Ok(None);
        };
        by_number(catalog, number)
    }
}

/// Fate of a conflict that is sent back.
enum Done {
    /// Published now.
    Published,
    /// Published by an order before, and not again.
    PublishedBefore,
    /// Not in the list any more.
    Gone,
}

/// Returns the problem of a conflict, with the number of those that were sent back before it.
fn after_others(sent: &SentBack, problem: ApiProblem) -> ApiProblem {
    match sent.count + sent.before {
        0 => problem,
        done => ApiProblem {
            detail: format!("{done} sent back, then: {}", problem.detail),
            ..problem
        },
    }
}

fn type_unknown(place: &ConflictPlace) -> ApiProblem {
    ApiProblem::conflict(
        format!(
            "the type of conflict {place} is not known, because the event that came first was deleted, and filters choose by type; it stays in the list"
        ),
        "`hookweir conflicts show ID` has the body; to publish it to all sinks of its source, leave event_types and except_event_types out, reload, and send it back",
    )
}

fn wanted_by_none(place: &ConflictPlace, event_type: Option<&str>) -> ApiProblem {
    ApiProblem::conflict(
        format!(
            "no sink wants conflict {place}, whose type is \"{}\"; it stays in the list",
            event_type.unwrap_or_default().escape_debug()
        ),
        "let its type pass (event_types, except_event_types), reload, and send it back; `hookweir conflicts discard ID` deletes it",
    )
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
