//! Jobs in the trace of an event.

use super::Operator;
use super::republish::{LISTED, stored_choice};
use super::views::{TraceJob, shown};
use crate::domain::sink::SinkName;
use crate::store::catalog::EventSummary;

impl Operator {
    /// Returns the jobs whose choice has an event, and that have passed it. None if the login may not read
    /// jobs: the rest of a trace does without them.
    pub(super) fn chosen_by(&self, event: &EventSummary) -> Option<Vec<TraceJob>> {
        let jobs = self.archive.store().ok()?.jobs(LISTED);
        let jobs = jobs.inspect_err(|error| {
            tracing::warn!("cannot read the table republish_job, so a trace has no jobs: {error}");
        });
        let jobs = jobs.ok()?;
        let jobs = jobs.iter().filter(|job| job.reached >= event.seq);
        let of_event = jobs.filter_map(|job| {
            let choice = stored_choice(job).filter(|choice| choice.has(event))?;
            Some(TraceJob {
                id: job.new.id.to_string(),
                caller: job.new.caller.clone(),
                created_at: shown(job.created_at),
                only_to: choice.to.as_ref().map(SinkName::to_string),
                by_state: choice.query.state.is_some() || choice.query.sink.is_some(),
            })
        });
        Some(of_event.collect())
    }
}
