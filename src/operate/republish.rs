//! Publishing stored events again: a dry run, then a job.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::views::{JobList, JobView, RepublishPlan, shown};
use super::{ApiProblem, EventQuestion, Operator, question};
use crate::domain::sink::SinkName;
use crate::store::catalog::PAGE;
use crate::store::republish::{Choice, Job, JobId, NewJob};
use crate::store::{AuditAction, AuditEntry, OperatorStore, Seq, StoreError};

/// Ids in one choice, at most.
const MOST_IDS: usize = 100;
/// Jobs that run at the same time, at most.
pub(super) const MOST_JOBS: usize = 16;
/// Jobs in a list.
pub(super) const LISTED: usize = 100;
/// Paces that a job can have, in events a second.
const PACES: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Pace unless the order says another.
const USUAL_PACE: u32 = 100;

/// Choice of events to publish again: by their ids, or all that fit the rest. One of them has to be given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepublishQuestion {
    /// Provider's ids, or message ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Name of the source; with `ids`: if several sources have an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The provider's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Earliest time of receipt, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Time of receipt that is too late, in RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// `waiting`, `parked` or `published`; with a sink, the state there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Sink of `state`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// The only sink that gets them. By default each sink that wants an event by the configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_to: Option<String>,
    /// In a dry run: place to go on from, `next` of the answer before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Order to publish events again.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RepublishOrder {
    /// The events.
    pub choice: RepublishQuestion,
    /// Id of the job, a UUID. The same order with the same id begins no second job.
    pub id: Option<String>,
    /// Events in a second: 1 to 10,000, by default 100.
    pub pace: Option<u32>,
    /// Number of events that the dry run has found, for the progress.
    pub expected: Option<u64>,
    /// Reason, for the record.
    pub reason: Option<String>,
}

/// Choice as the job keeps it.
#[derive(Serialize, Deserialize)]
struct KeptChoice {
    question: RepublishQuestion,
    /// Numbers of the events, if they were chosen by ids.
    numbers: Option<Vec<i64>>,
}

impl KeptChoice {
    fn to_choice(&self) -> Result<Choice, ApiProblem> {
        let asked = &self.question;
        let events = EventQuestion {
            source: asked.source.clone(),
            event_type: asked.event_type.clone(),
            from: asked.from.clone(),
            to: asked.to.clone(),
            state: asked.state.clone(),
            sink: asked.sink.clone(),
            ..EventQuestion::default()
        };
        let numbers = self.numbers.as_ref();
        Ok(Choice {
            query: events.parse()?,
            numbers: numbers.map(|numbers| numbers.iter().copied().map(Seq).collect()),
            to: asked.only_to.as_deref().map(question::sink).transpose()?,
        })
    }
}

/// Returns the choice of a stored job. None if another release has stored it.
pub(super) fn stored_choice(job: &Job) -> Option<Choice> {
    let kept: KeptChoice = serde_json::from_str(&job.new.choice).ok()?;
    kept.to_choice().ok()
}

impl Operator {
    /// Returns the number of events that a choice has: as many as can be counted in half of the time to
    /// answer, and the place to go on from.
    pub fn republish_plan(&self, asked: &RepublishQuestion) -> Result<RepublishPlan, ApiProblem> {
        let end = self.half_time();
        let choice = self.kept(asked, end)?.to_choice()?;
        let store = self.archive.store()?;
        let mut plan = RepublishPlan::default();
        let mut after = match asked.after.as_deref() {
            Some(place) => question::place("after", place)?,
            None => Seq(-1),
        };
        loop {
            let next = store.next_of(&choice, after, PAGE)?;
            plan.events += next.events.len() as u64;
            plan.bytes += next.events.iter().map(|event| event.bytes).sum::<u64>();
            for event in &next.events {
                let at = shown(event.received_at);
                plan.first = plan
                    .first
                    .take()
                    .or_else(|| Some(at.clone()))
                    .min(Some(at.clone()));
                plan.last = plan.last.take().max(Some(at));
            }
            match next.next {
                None => return Ok(plan),
                Some(place) => after = place,
            }
            if Instant::now() >= end {
                plan.next = Some(after.0.to_string());
                return Ok(plan);
            }
        }
    }

    /// Begins a job that publishes events again, and records `caller`.
    pub fn republish(&self, order: &RepublishOrder, caller: &str) -> Result<JobView, ApiProblem> {
        let pace = pace(order)?;
        let store = self.archive.store()?;
        let id = order.id.as_deref().map(job_id).transpose()?;
        if let Some(id) = id
            && let Some(begun) = store.job(id)?
        {
            return same(&begun, order, pace);
        }
        let id = id.unwrap_or_default();
        let kept = self.kept(&order.choice, self.half_time())?;
        kept.to_choice()?;
        has_room(store)?;
        let choice = text(&kept)?;
        let entry = AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::Republish,
            subject: format!("job {id}: {choice}"),
            count: order.expected.unwrap_or(0),
            reason: order.reason.clone(),
        };
        let job = NewJob {
            id,
            caller: caller.to_owned(),
            choice,
            pace,
            expected: order.expected,
        };
        store.begin_job(&job, &entry).map_err(not_stored)?;
        log(&entry);
        self.jobs.wake();
        let begun = store.job(id).map_err(|error| {
            ApiProblem::perhaps_changed(format!("job {id} has begun, and cannot be read: {error}"))
        })?;
        // Another order may have had the same id at the same moment.
        begun.map_or_else(
            || Err(no_job(&id.to_string())),
            |begun| same(&begun, order, pace),
        )
    }

    /// Returns the jobs, the newest first.
    pub fn jobs(&self) -> Result<JobList, ApiProblem> {
        let jobs = self.archive.store()?.jobs(LISTED)?;
        Ok(JobList {
            jobs: jobs.iter().map(view).collect(),
        })
    }

    /// Returns a job.
    pub fn job(&self, id: &str) -> Result<JobView, ApiProblem> {
        let found = self.archive.store()?.job(job_id(id)?)?;
        found.as_ref().map(view).ok_or_else(|| no_job(id))
    }

    /// Cancels a job, and records `caller`. A job that has ended stays as it is.
    pub fn cancel_job(&self, id: &str, caller: &str) -> Result<JobView, ApiProblem> {
        let job = self.job(id)?;
        let entry = AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action: AuditAction::CancelJob,
            subject: format!("job {}", job.id),
            count: job.events,
            reason: None,
        };
        let store = self.archive.store()?;
        if store.cancel_job(job_id(id)?, &entry).map_err(not_stored)? {
            log(&entry);
        }
        self.job(id)
    }

    /// Checks a choice, and finds the numbers of its ids, all of them until `end`.
    fn kept(&self, asked: &RepublishQuestion, end: Instant) -> Result<KeptChoice, ApiProblem> {
        let question = RepublishQuestion {
            after: None,
            ..asked.clone()
        };
        let parts = [
            &asked.event_type,
            &asked.from,
            &asked.to,
            &asked.state,
            &asked.sink,
        ];
        let filters = parts.iter().any(|part| part.is_some());
        if asked.ids.is_empty() && asked.source.is_none() && !filters {
            return Err(ApiProblem::bad_question(
                "the choice of events is empty",
                "give ids, or one of source, type, from, to, state",
            ));
        }
        if !asked.ids.is_empty() && filters {
            return Err(ApiProblem::bad_question(
                "a choice by ids takes no type, time, state or sink beside them",
                "give either, and `source` if several sources have an id",
            ));
        }
        if asked.ids.len() > MOST_IDS {
            let next = format!("give {MOST_IDS} ids at most, or choose by source and time");
            return Err(ApiProblem::bad_question(
                format!("there are {} ids", asked.ids.len()),
                next,
            ));
        }
        if let Some(sink) = asked.only_to.as_deref() {
            self.known_sink(&question::sink(sink)?)?;
        }
        let mut numbers = Vec::new();
        for id in &asked.ids {
            numbers.push(self.find_until(id, asked.source.as_deref(), end)?.seq.0);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(KeptChoice {
            question,
            numbers: (!asked.ids.is_empty()).then_some(numbers),
        })
    }

    fn known_sink(&self, sink: &SinkName) -> Result<(), ApiProblem> {
        if self.sinks.iter().any(|known| known == sink) {
            return Ok(());
        }
        let known: Vec<&str> = self.sinks.iter().map(SinkName::as_str).collect();
        Err(ApiProblem::bad_question(
            format!("the service has no sink \"{sink}\""),
            format!("it has {}", known.join(", ")),
        ))
    }
}

/// Returns the pace of an order.
fn pace(order: &RepublishOrder) -> Result<u32, ApiProblem> {
    let pace = order.pace.unwrap_or(USUAL_PACE);
    if PACES.contains(&pace) {
        return Ok(pace);
    }
    let next = format!("give {} to {} events a second", PACES.start(), PACES.end());
    Err(ApiProblem::bad_question(format!("pace is {pace}"), next))
}

/// Checks that one more job may run.
fn has_room(store: &dyn OperatorStore) -> Result<(), ApiProblem> {
    if store.running_jobs(MOST_JOBS)?.len() < MOST_JOBS {
        return Ok(());
    }
    Err(ApiProblem::conflict(
        format!("{MOST_JOBS} jobs run already"),
        "wait for one to end, or cancel one: `hookweir jobs` lists them",
    ))
}

/// Writes a change to the log, as the record has it.
pub(super) fn log(entry: &AuditEntry) {
    tracing::info!(
        target: "hookweir::audit",
        caller = entry.caller,
        action = entry.action.word(),
        subject = entry.subject,
        count = entry.count,
        reason = entry.reason,
        "{}: {} by {}",
        entry.action.word(),
        entry.subject,
        entry.caller
    );
}

fn text(kept: &KeptChoice) -> Result<String, ApiProblem> {
    serde_json::to_string(kept).map_err(|error| {
        ApiProblem::unavailable(
            format!("the choice cannot be written: {error}"),
            "report this as a mistake of Hookweir",
        )
    })
}

/// Returns the error of a change that the store has not confirmed.
pub(super) fn not_stored(error: StoreError) -> ApiProblem {
    match error {
        StoreError::Ambiguous(_) => ApiProblem::perhaps_changed(format!(
            "the store has not confirmed the change, which may have been made: {error}"
        )),
        StoreError::Unavailable(_) | StoreError::Unfit(_) => ApiProblem::unavailable(
            format!("cannot store the change and its record, so that nothing is changed: {error}"),
            "look at /readyz for the state of the store, and ask again once it is ready",
        ),
    }
}

fn job_id(text: &str) -> Result<JobId, ApiProblem> {
    JobId::parse(text).ok_or_else(|| {
        ApiProblem::bad_question(
            format!("\"{}\" is no id of a job", text.escape_debug()),
            "`hookweir jobs` lists the jobs",
        )
    })
}

fn no_job(id: &str) -> ApiProblem {
    ApiProblem::not_found(
        format!("there is no job {}", id.escape_debug()),
        "`hookweir jobs` lists the jobs; they are kept for 400 days",
    )
}

/// Returns a job that has the id of the order, if it is what the order asks for.
fn same(job: &Job, order: &RepublishOrder, pace: u32) -> Result<JobView, ApiProblem> {
    let found = view(job);
    let asked = RepublishQuestion {
        after: None,
        ..order.choice.clone()
    };
    if (&found.choice, found.pace) == (&asked, pace) {
        return Ok(found);
    }
    Err(ApiProblem::conflict(
        format!(
            "job {} has another choice of events, or another pace: nothing was begun",
            found.id
        ),
        "`hookweir jobs show ID` shows it; give the same order again, or no id",
    ))
}

fn view(job: &Job) -> JobView {
    let kept = serde_json::from_str(&job.new.choice).ok();
    JobView {
        id: job.new.id.to_string(),
        state: job.state,
        caller: job.new.caller.clone(),
        choice: kept.map_or_else(RepublishQuestion::default, |kept: KeptChoice| kept.question),
        pace: job.new.pace,
        expected: job.new.expected,
        events: job.events,
        copies: job.copies,
        created_at: shown(job.created_at),
        changed_at: shown(job.changed_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_changed_is_said_only_if_the_store_knows_it() {
        let lost = not_stored(StoreError::Ambiguous("cut".into()));
        assert!(lost.detail.contains("may have been made"), "{lost}");
        assert!(lost.next.contains("`hookweir parked list`"), "{lost}");
        for known in [StoreError::Unavailable, StoreError::Unfit] {
            let problem = not_stored(known("gone".into()));
            assert_eq!((problem.status, lost.status), (503, 503));
            let text = "so that nothing is changed";
            assert!(problem.detail.contains(text), "{problem}");
        }
    }
}
