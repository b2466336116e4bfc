//! Jobs in the trace of an event.

use super::republish::{LISTED, stored_choice};
use super::views::{TraceJob, shown};
use super::{ApiProblem, Operator};
use crate::domain::sink::SinkName;
use crate::store::catalog::EventSummary;

impl Operator {
    /// Returns the jobs that have published an event again.
    pub(super) fn republished(&self, event: &EventSummary) -> Result<Vec<TraceJob>, ApiProblem> {
        let jobs = self.archive.store()?.jobs(LISTED)?;
        let jobs = jobs.iter().filter(|job| job.reached >= event.seq);
        let of_event = jobs.filter_map(|job| {
            let choice = stored_choice(job).filter(|choice| choice.has(event))?;
            Some(TraceJob {
                id: job.new.id.to_string(),
                caller: job.new.caller.clone(),
                created_at: shown(job.created_at),
                only_to: choice.to.as_ref().map(SinkName::to_string),
                certain: choice.query.state.is_none() && choice.query.sink.is_none(),
            })
        });
        Ok(of_event.collect())
    }
}
