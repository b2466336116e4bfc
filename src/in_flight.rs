//! What is in hand, bounded by count and bytes: a [`Budget`] hands out [`Permit`]s, and a [`Ticket`] holds one for as long as its
//! delivery is anywhere in the service. A source has a [`Share`] of the bytes, so that none takes the room of the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tokio::sync::oneshot;

mod budget;

pub use budget::{Budget, Kind, Permit, SMALL, Share};

use crate::domain::delivery::EventId;
use crate::domain::outcome::{FailReason, Outcome, RejectReason, Rejection};
use crate::telemetry::{SourceMetrics, logs};

/// One delivery's claim to exactly one outcome. It travels with the delivery through the actors, so that what a client's disconnect
/// cannot undo (a batch under way) keeps its room until it is really done. Dropped without an outcome, it answers and counts
/// [`Outcome::Failed`].
#[derive(Debug)]
pub struct Ticket {
    reply: Option<oneshot::Sender<Outcome>>,
    permit: Permit,
    metrics: Arc<SourceMetrics>,
    /// Shown to the sender in `X-Request-Id`, and to the operator in every log line.
    pub request_id: RequestId,
    /// When the request's head had been read.
    pub received: Instant,
    /// When the handler stops waiting and answers 503.
    pub deadline: Instant,
    complete: bool,
}

/// Names one request in logs and in its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub uuid::Uuid);

impl RequestId {
    /// The next one: unique in this process, and most likely everywhere. A counter, stirred so that ids that follow each other do not
    /// look alike; no system call.
    pub fn next() -> Self {
        static PROCESS: LazyLock<(u64, u64)> = LazyLock::new(|| uuid::Uuid::now_v7().as_u64_pair());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, start) = *PROCESS;
        // The finalizer of splitmix64: a bijection, so that no two counts meet.
        let mut low = start.wrapping_add(
            COUNT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15),
        );
        low = (low ^ (low >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        low = (low ^ (low >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(uuid::Uuid::from_u64_pair(process, low ^ (low >> 31)))
    }

    /// A number from 0 to below `bound`, spread evenly over requests: good enough for jitter, not for secrets.
    pub fn spread(self, bound: u64) -> u64 {
        self.0.as_u64_pair().1 % bound.max(1)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl Ticket {
    /// A ticket for a request that was admitted, and where its outcome will arrive.
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
            },
            outcome,
        )
    }

    /// The room this delivery takes.
    pub fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// From here on the whole request is in hand, so a drop is our failure and not the client's disconnect. The time to answer it begins.
    pub fn request_is_complete(&mut self, deadline: Instant) {
        self.complete = true;
        self.deadline = deadline;
    }

    /// Nobody waits for the outcome any more: the client is gone, or was answered 503 at its deadline.
    pub fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
            || Instant::now() >= self.deadline
    }

    /// The one outcome.
    pub fn resolve(mut self, outcome: Outcome) {
        self.settle(outcome, None);
    }

    /// The one outcome, of a delivery whose event id is known.
    pub fn resolve_event(mut self, outcome: Outcome, event_id: &EventId) {
        self.settle(outcome, Some(event_id));
    }

    fn settle(&mut self, outcome: Outcome, event_id: Option<&EventId>) {
        let Some(reply) = self.reply.take() else {
            return;
        };
        settle(
            &self.metrics,
            self.request_id,
            event_id,
            &outcome,
            self.received,
        );
        // The handler may be gone (client's reset, deadline); the outcome stands and was counted.
        let _ = reply.send(outcome);
    }
}

/// A delivery that there was no room for at the door: its one outcome, without a [`Ticket`].
pub fn turned_away(
    metrics: &SourceMetrics,
    request_id: RequestId,
    received: Instant,
    outcome: &Outcome,
) {
    metrics.received.inc();
    settle(metrics, request_id, None, outcome, received);
}

fn settle(
    metrics: &SourceMetrics,
    request_id: RequestId,
    event_id: Option<&EventId>,
    outcome: &Outcome,
    received: Instant,
) {
    let took = received.elapsed();
    metrics.count(outcome, took);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_do_not_repeat_and_spread_over_a_range() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| RequestId::next()).collect();
        assert_eq!(ids.len(), 10_000);
        let mut hits = [0; 10];
        ids.iter().for_each(|id| hits[id.spread(10) as usize] += 1);
        assert!(hits.iter().all(|n| (700..1300).contains(n)), "{hits:?}");
    }
}
