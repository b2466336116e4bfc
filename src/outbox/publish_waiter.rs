//! Senders that are answered only after the sink has confirmed their events
//! (`server.respond_after = "published"`).
//!
//! A delivery has one [`PublishWaiter`] for each of its events. When the last one resolves, the
//! delivery gets its outcome. When the first one fails, the delivery is answered 503. Its events
//! are stored and will still be published; a later redelivery is answered once they are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::delivery::EventId;
use crate::domain::outcome::{FailReason, Outcome};
use crate::in_flight::Ticket;

/// A delivery's wait for one of its events. Dropping an unresolved waiter answers 503.
#[derive(Debug)]
pub struct PublishWaiter {
    delivery: Arc<Mutex<Option<WaitingDelivery>>>,
    resolved: bool,
}

/// A stored delivery that waits for the sink. None of its waiters has failed.
#[derive(Debug)]
struct WaitingDelivery {
    ticket: Ticket,
    /// The outcome after all waiters have resolved.
    outcome: Outcome,
    /// Id of the first event, for the log.
    event_id: EventId,
    /// Number of unresolved waiters.
    left: usize,
}

impl PublishWaiter {
    /// Returns one waiter for each of the `events` unpublished events of a delivery.
    pub fn for_delivery(
        mut ticket: Ticket,
        outcome: Outcome,
        event_id: EventId,
        events: usize,
    ) -> Vec<Self> {
        ticket.end_storing(&outcome, Some(&event_id));
        let delivery = Arc::new(Mutex::new(Some(WaitingDelivery {
            ticket,
            outcome,
            event_id,
            left: events,
        })));
        (0..events)
            .map(|_| Self {
                delivery: delivery.clone(),
                resolved: false,
            })
            .collect()
    }

    /// Records that the sink has confirmed the event. The last waiter answers the sender.
    pub fn resolve(mut self) {
        self.resolved = true;
        let mut slot = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let done = slot.take_if(|delivery| {
            delivery.left -= 1;
            delivery.left == 0
        });
        drop(slot);
        if let Some(WaitingDelivery {
            ticket,
            outcome,
            event_id,
            ..
        }) = done
        {
            ticket.resolve_event(outcome, &event_id);
        }
    }

    /// Returns `true` if the sender has gone away or was answered.
    pub fn is_abandoned(&self) -> bool {
        let slot = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .is_none_or(|delivery| delivery.ticket.is_abandoned())
    }

    /// Answers 503, unless the sender was answered.
    fn fail(&mut self) {
        let failed = self
            .delivery
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(WaitingDelivery {
            ticket, event_id, ..
        }) = failed
        {
            ticket.resolve_event(Outcome::Failed(FailReason::Unpublished), &event_id);
        }
    }
}

impl Drop for PublishWaiter {
    fn drop(&mut self) {
        if !self.resolved {
            self.fail();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot::Receiver;

    use super::*;
    use crate::domain::delivery::SourceName;
    use crate::domain::request_id::RequestId;
    use crate::in_flight::Budget;
    use crate::outbox::InFlightEvents;
    use crate::outbox::testing::key;
    use crate::telemetry::Metrics;

    /// A delivery that waits for `events` events.
    fn delivery(events: usize) -> (Vec<PublishWaiter>, Receiver<Outcome>) {
        let metrics = Metrics::new()
            .expect("metrics")
            .source(&SourceName::parse("s").expect("a name"));
        let now = Instant::now();
        let permit = Budget::new(1, 0).reserve(1, 0).expect("room");
        let (ticket, outcome) = Ticket::new(
            permit,
            metrics,
            RequestId::next(),
            now,
            now + Duration::from_secs(60),
        );
        let accepted = Outcome::Accepted {
            id: key(0).message_id(),
        };
        (
            PublishWaiter::for_delivery(ticket, accepted, EventId::new("e"), events),
            outcome,
        )
    }

    #[test]
    fn the_last_resolved_waiter_answers_and_the_first_failed_one_answers_503() {
        let (waiters, mut outcome) = delivery(2);
        let mut waiters = waiters.into_iter();
        waiters.next().expect("two").resolve();
        assert!(
            outcome.try_recv().is_err(),
            "one of two is not published yet"
        );
        waiters.next().expect("two").resolve();
        assert!(matches!(outcome.try_recv(), Ok(Outcome::Accepted { .. })));

        let (mut waiters, mut outcome) = delivery(2);
        drop(waiters.pop());
        assert_eq!(
            outcome.try_recv(),
            Ok(Outcome::Failed(FailReason::Unpublished))
        );
        assert!(
            waiters.pop().is_some_and(|left| left.is_abandoned()),
            "there is nobody left to be told"
        );
    }

    #[test]
    fn waiters_follow_the_guard_of_their_event() {
        let in_flight = InFlightEvents::default();
        let wait_for = |n| {
            let (mut waiters, outcome) = delivery(1);
            in_flight.add_waiter(&key(n), waiters.pop().expect("one"));
            outcome
        };
        let (first, second) = (
            in_flight.begin(key(1)).expect("free"),
            in_flight.begin(key(2)).expect("free"),
        );
        let (mut resolved, mut failed, mut unknown) = (wait_for(1), wait_for(2), wait_for(3));
        assert_eq!(
            unknown.try_recv(),
            Ok(Outcome::Failed(FailReason::Unpublished)),
            "it is not in flight here"
        );
        first.mark_published();
        assert!(matches!(resolved.try_recv(), Ok(Outcome::Accepted { .. })));
        assert!(
            matches!(wait_for(1).try_recv(), Ok(Outcome::Accepted { .. })),
            "confirmed, and on its way out of the outbox"
        );
        assert!(failed.try_recv().is_err());
        drop(second);
        assert_eq!(
            failed.try_recv(),
            Ok(Outcome::Failed(FailReason::Unpublished))
        );

        let third = in_flight.begin(key(4)).expect("free");
        let (mut stays, gone) = (wait_for(4), wait_for(4));
        drop(gone);
        in_flight.drop_abandoned();
        third.mark_published();
        assert!(
            matches!(stays.try_recv(), Ok(Outcome::Accepted { .. })),
            "one who left takes nobody along"
        );
    }
}
