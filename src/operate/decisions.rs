//! Decisions of an operator on parked events: they are put back or deleted.

use serde::{Deserialize, Serialize};

use super::republish::{log, not_stored};
use super::views::{Changed, ParkedList, ParkedView, shown};
use super::{ApiProblem, Operator, question};
use crate::domain::sink::SinkName;
use crate::store::catalog::PAGE;
use crate::store::{AuditAction, AuditEntry, Parked, Seq};

/// Number of entries in a page, unless the question says another.
const USUAL_PAGE: usize = 20;

/// Parameters of `GET /api/v1/parked` and `GET /api/v1/conflicts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParkedQuestion {
    /// Name of the sink that refused the events; by default the default sink. Not for conflicts.
    pub sink: Option<String>,
    /// Place to go on from: `next` of the page before.
    pub after: Option<String>,
    /// Number of entries wanted.
    pub limit: Option<usize>,
}

impl ParkedQuestion {
    /// Returns the parameters that are given, with their names.
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| limit.to_string());
        let all = [
            ("sink", &self.sink),
            ("after", &self.after),
            ("limit", &limit),
        ];
        let given = all.into_iter();
        given
            .filter_map(|(name, value)| Some((name, value.clone()?)))
            .collect()
    }

    pub(super) fn limit(&self) -> Result<usize, ApiProblem> {
        let limit = self.limit.unwrap_or(USUAL_PAGE);
        if (1..=PAGE).contains(&limit) {
            return Ok(limit);
        }
        let next = format!("ask for 1 to {PAGE} entries, and go on with `after`");
        Err(ApiProblem::bad_question(format!("limit is {limit}"), next))
    }
}

/// Decision on parked events or on conflicts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Decision {
    /// Sink that refused the events; by default the default sink.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sink: Option<String>,
    /// Numbers of parked events.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<i64>,
    /// Names of conflicts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Reason, for the record. A deletion needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Decision {
    fn rows(&self) -> Result<Vec<Seq>, ApiProblem> {
        check_count(self.numbers.len(), "numbers")?;
        Ok(self.numbers.iter().copied().map(Seq).collect())
    }

    pub(super) fn needs_reason(&self) -> Result<(), ApiProblem> {
        needs_reason(self.reason.as_deref())
    }
}

/// Checks the reason of a deletion.
pub(super) fn needs_reason(reason: Option<&str>) -> Result<(), ApiProblem> {
    match reason.map(str::trim) {
        None | Some("") => Err(ApiProblem::bad_question(
            "a deletion is for good, and `reason` is empty",
            "give a reason, for the record",
        )),
        Some(_) => Ok(()),
    }
}

/// Checks the number of entries of a decision.
pub(super) fn check_count(count: usize, name: &str) -> Result<(), ApiProblem> {
    if (1..=PAGE).contains(&count) {
        return Ok(());
    }
    Err(ApiProblem::bad_question(
        format!("{name} has {count} entries"),
        format!("give 1 to {PAGE} of them, and the rest afterwards"),
    ))
}

fn sink(name: Option<&str>) -> Result<SinkName, ApiProblem> {
    name.map_or_else(|| Ok(SinkName::default()), question::sink)
}

impl Operator {
    /// Returns a page of the events that are parked for a sink.
    pub fn parked(&self, asked: &ParkedQuestion) -> Result<ParkedList, ApiProblem> {
        let (limit, sink) = (asked.limit()?, sink(asked.sink.as_deref())?);
        let after = match asked.after.as_deref() {
            Some(place) => question::place("after", place)?,
            None => Seq(i64::MIN),
        };
        let found = self.archive.catalog()?.parked(&sink, after, limit)?;
        let last = found.last().map(|parked| parked.seq.0.to_string());
        Ok(ParkedList {
            next: last.filter(|_| found.len() == limit),
            parked: found.iter().map(parked_view).collect(),
        })
    }

    /// Puts parked events back into the outbox, and records `caller`.
    pub fn retry_parked(&self, decision: &Decision, caller: &str) -> Result<Changed, ApiProblem> {
        let (rows, sink) = (decision.rows()?, sink(decision.sink.as_deref())?);
        let subject = parked_subject(&sink, &rows);
        let entry = self.entry(caller, AuditAction::RetryParked, subject, decision);
        let store = self.archive.store()?;
        changed(store.put_back(&sink, &rows, &entry), entry)
    }

    /// Deletes parked events for good, and records `caller`.
    pub fn discard_parked(&self, decision: &Decision, caller: &str) -> Result<Changed, ApiProblem> {
        decision.needs_reason()?;
        let (rows, sink) = (decision.rows()?, sink(decision.sink.as_deref())?);
        let subject = parked_subject(&sink, &rows);
        let entry = self.entry(caller, AuditAction::DiscardParked, subject, decision);
        let store = self.archive.store()?;
        changed(store.give_up(&sink, &rows, &entry), entry)
    }

    pub(super) fn entry(
        &self,
        caller: &str,
        action: AuditAction,
        subject: String,
        decision: &Decision,
    ) -> AuditEntry {
        AuditEntry {
            instance: self.instance,
            caller: caller.to_owned(),
            action,
            subject,
            count: 0,
            reason: decision.reason.clone(),
        }
    }
}

/// Returns the answer of a change, and logs what was changed.
pub(super) fn changed(
    count: Result<u64, crate::store::StoreError>,
    entry: AuditEntry,
) -> Result<Changed, ApiProblem> {
    let count = count.map_err(not_stored)?;
    if count > 0 {
        log(&AuditEntry { count, ..entry });
    }
    Ok(Changed { count })
}

/// Returns parked rows as the record has them.
fn parked_subject(sink: &SinkName, rows: &[Seq]) -> String {
    let numbers: Vec<String> = rows.iter().map(|row| row.0.to_string()).collect();
    format!("parked for sink {sink}: {}", numbers.join(", "))
}

fn parked_view(parked: &Parked) -> ParkedView {
    ParkedView {
        number: parked.seq.0,
        sink: parked.sink.to_string(),
        reason: parked.reason.clone(),
        at: shown(parked.at),
        message_id: parked.message_id.to_string(),
        source: parked.source.clone(),
        event_id: parked.event_id.clone(),
        event_type: parked.event_type.clone(),
        bytes: parked.bytes,
    }
}
