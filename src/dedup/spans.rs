//! Spans of commits.

use std::sync::Arc;

use super::router::Destination;
use crate::store::{Inserted, NewEvent, StoreError};
use crate::telemetry::traces::{self, OpenSpan, SpanKind};

/// Spans of the sampled events of a batch, each with its place in the batch.
pub(super) type Commits = Vec<(usize, OpenSpan)>;

/// Begins a span for each sampled event of a batch.
pub(super) fn begin(events: &[Arc<NewEvent>], destination: Destination) -> Commits {
    if !traces::is_on() {
        return Commits::new();
    }
    let destination = match destination {
        Destination::Store => "store",
        Destination::Spool => "spool",
    };
    let spans = events.iter().enumerate().filter_map(|(place, event)| {
        let mut span = OpenSpan::within(event.trace(), "commit", SpanKind::Internal)?;
        span.set("hookweir.destination", destination);
        span.set("hookweir.events", events.len());
        // Taken back by the commit.
        span.fail("the commit did not end");
        Some((place, span))
    });
    spans.collect()
}

/// Ends the spans with the result of the batch.
pub(super) fn end(commits: Commits, result: &Result<Vec<Inserted>, StoreError>) {
    for (place, mut span) in commits {
        span.succeed();
        match result {
            Ok(inserted) => {
                let label = inserted.get(place).map_or("unknown", label);
                span.set("hookweir.result", label);
                if let Some(Inserted::Refused(_)) = inserted.get(place) {
                    span.fail("the store refuses the event");
                }
            }
            Err(error) => span.fail(error.to_string()),
        }
    }
}

fn label(inserted: &Inserted) -> &'static str {
    match inserted {
        Inserted::Accepted(_) => "accepted",
        Inserted::Duplicate(_) => "duplicate",
        Inserted::Unpublished(_) => "unpublished",
        Inserted::Conflict(_) => "conflict",
        Inserted::Doubtful(_) => "doubtful",
        Inserted::Refused(_) => "refused",
    }
}
