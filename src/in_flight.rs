//! Deliveries in flight, bounded by number and bytes. A [`Budget`] gives out [`Permit`]s; a
//! [`Ticket`] holds one while its delivery is in the service. Each source has a [`Share`] of the
//! bytes, so that no source takes the room of the others.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

mod budget;

pub use budget::{BodyKind, Budget, Permit, SMALL, Share};

use crate::domain::delivery::EventId;
use crate::domain::outcome::{FailReason, Outcome, RejectReason, Rejection};
use crate::domain::request_id::RequestId;
use crate::domain::trace_context::TraceContext;
use crate::telemetry::traces::{OpenSpan, SpanKind};
use crate::telemetry::{SourceMetrics, logs};

/// Claim of one delivery to exactly one outcome. It travels with the delivery through the actors:
/// work that a client's disconnect cannot undo, such as an open batch, keeps its room until it is
/// done. If it is dropped without an outcome, it answers and counts [`Outcome::Failed`].
#[derive(Debug)]
pub struct Ticket {
    reply: Option<oneshot::Sender<Outcome>>,
    permit: Permit,
    metrics: Arc<SourceMetrics>,
    /// Shown to the sender in `X-Request-Id`, and to the operator in every log line.
    pub request_id: RequestId,
    /// Time at which the request's head was read.
    pub received: Instant,
    /// Time at which the handler stops waiting and answers 503.
    pub deadline: Instant,
    complete: bool,
    /// The provider's type of its first event, while somebody watches.
    event_type: Option<Box<str>>,
    /// Span of its POST, if its trace is sampled.
    pub trace: Option<TraceContext>,
    /// Span of its way through dedup and store.
    storing: Option<OpenSpan>,
}

impl Ticket {
    /// Returns the ticket of an admitted request, and the receiver of its outcome.
    pub fn new(
        permit: Permit,
        metrics: Arc<SourceMetrics>,
        request_id: RequestId,
        received: Instant,
        deadline: Instant,
    ) -> (Self, oneshot::Receiver<Outcome>) {
        let (reply, outcome) = oneshot::channel();
        metrics.received.inc();
        (
            Self {
                reply: Some(reply),
                permit,
                metrics,
                request_id,
                received,
                deadline,
                complete: false,
                event_type: None,
                trace: None,
                storing: None,
            },
            outcome,
        )
    }

    /// Returns the permit of this delivery.
    pub fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// Marks the request as read to its end, and starts the time to answer it. From now on a drop
    /// counts as our failure, and no longer as the client's disconnect.
    pub fn request_is_complete(&mut self, deadline: Instant) {
        self.complete = true;
        self.deadline = deadline;
    }

    /// Keeps the type of the first proven event, if somebody watches outcomes.
    pub fn has_type(&mut self, event_type: Option<&str>) {
        if self.metrics.is_watched() {
            self.event_type = event_type.map(Into::into);
        }
    }

    /// Begins the span of dedup and store.
    pub fn begin_storing(&mut self) {
        self.storing = OpenSpan::within(self.trace, "store", SpanKind::Internal);
    }

    /// Ends the span of dedup and store: the outcome is known.
    pub fn end_storing(&mut self, outcome: &Outcome, event_id: Option<&EventId>) {
        if let Some(mut span) = self.storing.take() {
            span.set_outcome(outcome);
            if let Some(id) = event_id {
                span.set("hookweir.event_id", id.as_str().to_owned());
            }
        }
    }

    /// Returns `true` if no handler waits for the outcome: the client has left, or was answered 503
    /// at its deadline.
    pub fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
            || Instant::now() >= self.deadline
    }

    /// Resolves the delivery.
    pub fn resolve(mut self, outcome: Outcome) {
        self.settle(outcome, None);
    }

    /// Resolves a delivery with a known event id.
    pub fn resolve_event(mut self, outcome: Outcome, event_id: &EventId) {
        self.settle(outcome, Some(event_id));
    }

    fn settle(&mut self, outcome: Outcome, event_id: Option<&EventId>) {
        let is_late = self.is_abandoned();
        self.end_storing(&outcome, event_id);
        let Some(reply) = self.reply.take() else {
            return;
        };
        settle(
            &self.metrics,
            self.request_id,
            (event_id, self.event_type.as_deref()),
            (&outcome, is_late),
            self.received,
        );
        // The handler may have ended (client's reset, deadline). The outcome is counted in any
        // case.
        let _ = reply.send(outcome);
    }
}

/// Counts and logs the outcome of a delivery that got no [`Ticket`].
pub fn turned_away(
    metrics: &SourceMetrics,
    request_id: RequestId,
    received: Instant,
    outcome: &Outcome,
) {
    metrics.received.inc();
    let answered = (outcome, false);
    settle(metrics, request_id, (None, None), answered, received);
}

/// Counts and logs an outcome. A late one comes after the sender has left, or was answered 503.
fn settle(
    metrics: &SourceMetrics,
    request_id: RequestId,
    (event_id, event_type): (Option<&EventId>, Option<&str>),
    (outcome, is_late): (&Outcome, bool),
    received: Instant,
) {
    let took = received.elapsed();
    metrics.count(outcome, took, is_late);
    metrics.show((event_id, event_type), outcome, took);
    logs::delivery(metrics, request_id, event_id, outcome, took);
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let outcome = if self.complete {
            Outcome::Failed(FailReason::Dropped)
        } else {
            Outcome::Rejected(Rejection::new(
                RejectReason::Disconnected,
                "the client closed the connection before its request was complete",
            ))
        };
        self.settle(outcome, None);
    }
}
