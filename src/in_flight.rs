//! What is in hand, bounded by count and bytes: a [`Budget`] hands out [`Permit`]s, and a [`Ticket`] holds one for as long as its
//! delivery is anywhere in the service.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::delivery::EventId;
use crate::outcome::{FailReason, Outcome, RejectReason, Rejection, ShedReason};
use crate::telemetry::{SourceMetrics, logs};

/// An upper bound on a number of things and on their bytes.
#[derive(Debug)]
pub struct Budget {
    max_count: usize,
    max_bytes: usize,
    count: AtomicUsize,
    bytes: AtomicUsize,
}

impl Budget {
    /// A budget of `max_count` things of `max_bytes` bytes in all.
    pub fn new(max_count: usize, max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { max_count, max_bytes, count: AtomicUsize::new(0), bytes: AtomicUsize::new(0) })
    }

    /// Room for `count` things of `bytes` bytes together, or which of the two bounds is reached.
    pub fn reserve(self: &Arc<Self>, count: usize, bytes: usize) -> Result<Permit, ShedReason> {
        if !take(&self.count, count, self.max_count) {
            return Err(ShedReason::Requests);
        }
        if !take(&self.bytes, bytes, self.max_bytes) {
            self.count.fetch_sub(count, Ordering::Relaxed);
            return Err(ShedReason::Bytes);
        }
        Ok(Permit { budget: self.clone(), count, bytes })
    }

    /// A permit for nothing yet, that grows as it is needed.
    pub fn empty_permit(self: &Arc<Self>) -> Permit {
        Permit { budget: self.clone(), count: 0, bytes: 0 }
    }

    /// How many things and bytes are in hand now.
    pub fn used(&self) -> (usize, usize) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }

    /// How many things and bytes there is room for now.
    pub fn room(&self) -> (usize, usize) {
        let (count, bytes) = self.used();
        (self.max_count.saturating_sub(count), self.max_bytes.saturating_sub(bytes))
    }
}

fn take(used: &AtomicUsize, want: usize, max: usize) -> bool {
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| now.checked_add(want).filter(|sum| *sum <= max)).is_ok()
}

/// A share of a [`Budget`], given back on drop.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    count: usize,
    bytes: usize,
}

impl Permit {
    /// Room for `more` bytes on top, if there is any.
    pub fn grow(&mut self, more: usize) -> Result<(), ShedReason> {
        if !take(&self.budget.bytes, more, self.budget.max_bytes) {
            return Err(ShedReason::Bytes);
        }
        self.bytes += more;
        Ok(())
    }

    /// Counts one thing more, if there is room for it.
    pub fn count_one(&mut self) -> Result<(), ShedReason> {
        if !take(&self.budget.count, 1, self.budget.max_count) {
            return Err(ShedReason::Requests);
        }
        self.count += 1;
        Ok(())
    }

    /// Splits off a permit for `count` things and `bytes` bytes of this one.
    #[must_use]
    pub fn split(&mut self, count: usize, bytes: usize) -> Permit {
        let (count, bytes) = (count.min(self.count), bytes.min(self.bytes));
        self.count -= count;
        self.bytes -= bytes;
        Permit { budget: self.budget.clone(), count, bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.count.fetch_sub(self.count, Ordering::Relaxed);
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

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
        let mut low = start.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9_7F4A_7C15));
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
        (Self { reply: Some(reply), permit, metrics, request_id, received, deadline, complete: false }, outcome)
    }

    /// The room this delivery takes.
    pub fn permit(&mut self) -> &mut Permit {
        &mut self.permit
    }

    /// From here on the whole request is in hand, so a drop is our failure and not the client's disconnect.
    pub fn request_is_complete(&mut self) {
        self.complete = true;
    }

    /// Nobody waits for the outcome any more: the client is gone, or was answered 503 at its deadline.
    pub fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_none_or(oneshot::Sender::is_closed) || Instant::now() >= self.deadline
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
        let Some(reply) = self.reply.take() else { return };
        settle(&self.metrics, self.request_id, event_id, &outcome, self.received);
        // The handler may be gone (client's reset, deadline); the outcome stands and was counted.
        let _ = reply.send(outcome);
    }
}

/// A delivery that there was no room for at the door: its one outcome, without a [`Ticket`].
pub fn turned_away(metrics: &SourceMetrics, request_id: RequestId, received: Instant, outcome: &Outcome) {
    metrics.received.inc();
    settle(metrics, request_id, None, outcome, received);
}

fn settle(metrics: &SourceMetrics, request_id: RequestId, event_id: Option<&EventId>, outcome: &Outcome, received: Instant) {
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

    #[test]
    fn a_budget_is_never_passed_and_all_of_it_comes_back() {
        let budget = Budget::new(2, 100);
        let mut a = budget.reserve(1, 60).expect("room");
        assert_eq!(budget.reserve(1, 41).expect_err("41 more bytes"), ShedReason::Bytes);
        assert_eq!(budget.used(), (1, 60), "a refusal takes nothing");
        assert_eq!(a.grow(41), Err(ShedReason::Bytes));
        a.grow(40).expect("room for 40");
        let b = budget.reserve(1, 0).expect("room");
        assert_eq!(budget.reserve(1, 0).expect_err("a third thing"), ShedReason::Requests);
        let c = a.split(1, 30);
        drop(a);
        assert_eq!(budget.used(), (2, 30));
        drop((b, c));
        assert_eq!(budget.used(), (0, 0));
    }
}
