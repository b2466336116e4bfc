//! What a sender waits for where it is answered only after the queue has confirmed its events (`server.respond_after = "published"`).
//!
//! A delivery has a [`Receipt`] for each of its events. With the last one signed it gets its outcome; with the first one torn up it is
//! answered 503: its events are stored and will be published all the same, and a redelivery is told once they are.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::delivery::EventId;
use crate::domain::outcome::{FailReason, Outcome};
use crate::in_flight::Ticket;

/// Dropped without being signed, it is torn up.
#[derive(Debug)]
pub struct Receipt {
    delivery: Arc<Mutex<Option<Delivery>>>,
    signed: bool,
}

/// A delivery that is stored and waits for the queue.
#[derive(Debug)]
pub struct Delivery {
    /// Its claim to an outcome.
    pub ticket: Ticket,
    /// Its outcome once all of it is published.
    pub outcome: Outcome,
    /// The id of its first event.
    pub event_id: EventId,
    /// Receipts that are not signed yet.
    left: usize,
}

impl Delivery {
    /// One receipt for each of the `events` events that it waits for.
    pub fn receipts(
        ticket: Ticket,
        outcome: Outcome,
        event_id: EventId,
        events: usize,
    ) -> Vec<Receipt> {
        let delivery = Arc::new(Mutex::new(Some(Self {
            ticket,
            outcome,
            event_id,
            left: events,
        })));
        (0..events)
            .map(|_| Receipt {
                delivery: delivery.clone(),
                signed: false,
            })
            .collect()
    }
}

impl Receipt {
    /// The queue has confirmed the event.
    pub fn sign(mut self) {
        self.signed = true;
        let mut slot = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        let done = slot.take_if(|delivery| {
            delivery.left -= 1;
            delivery.left == 0
        });
        drop(slot);
        if let Some(Delivery {
            ticket,
            outcome,
            event_id,
            ..
        }) = done
        {
            ticket.resolve_event(outcome, &event_id);
        }
    }

    /// Nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        let slot = self.delivery.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .is_none_or(|delivery| delivery.ticket.is_abandoned())
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if self.signed {
            return;
        }
        let torn = self
            .delivery
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(Delivery {
            ticket, event_id, ..
        }) = torn
        {
            ticket.resolve_event(Outcome::Failed(FailReason::Unpublished), &event_id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::sync::oneshot::Receiver;

    use super::*;
    use crate::domain::delivery::{DedupKey, MessageKey, SourceName};
    use crate::in_flight::{Budget, RequestId};
    use crate::publish::in_hand::InHand;
    use crate::telemetry::Metrics;

    fn key(n: u8) -> MessageKey {
        MessageKey::of(&DedupKey::new(
            &SourceName::parse("s").expect("a name"),
            "id",
            &[&[n]],
        ))
    }

    /// A delivery that waits for `events` events.
    fn delivery(events: usize) -> (Vec<Receipt>, Receiver<Outcome>) {
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
            Delivery::receipts(ticket, accepted, EventId::new("e"), events),
            outcome,
        )
    }

    #[test]
    fn the_last_signature_answers_and_the_first_one_torn_up_fails() {
        let (receipts, mut outcome) = delivery(2);
        let mut receipts = receipts.into_iter();
        receipts.next().expect("two").sign();
        assert!(
            outcome.try_recv().is_err(),
            "one of two is not published yet"
        );
        receipts.next().expect("two").sign();
        assert!(matches!(outcome.try_recv(), Ok(Outcome::Accepted { .. })));

        let (mut receipts, mut outcome) = delivery(2);
        drop(receipts.pop());
        assert_eq!(
            outcome.try_recv(),
            Ok(Outcome::Failed(FailReason::Unpublished))
        );
        assert!(
            receipts.pop().is_some_and(|left| left.is_abandoned()),
            "there is nobody left to be told"
        );
    }

    #[test]
    fn receipts_wait_with_the_hold_of_their_event() {
        let in_hand = InHand::default();
        let expect = |n| {
            let (mut receipts, outcome) = delivery(1);
            in_hand.expect(&key(n), receipts.pop().expect("one"));
            outcome
        };
        let (first, second) = (
            in_hand.hold(key(1)).expect("free"),
            in_hand.hold(key(2)).expect("free"),
        );
        let (mut signed, mut torn, mut unknown) = (expect(1), expect(2), expect(3));
        assert_eq!(
            unknown.try_recv(),
            Ok(Outcome::Failed(FailReason::Unpublished)),
            "nobody has it in hand"
        );
        first.published();
        assert!(matches!(signed.try_recv(), Ok(Outcome::Accepted { .. })));
        assert!(
            matches!(expect(1).try_recv(), Ok(Outcome::Accepted { .. })),
            "confirmed, and on its way out of the outbox"
        );
        assert!(torn.try_recv().is_err());
        drop(second);
        assert_eq!(
            torn.try_recv(),
            Ok(Outcome::Failed(FailReason::Unpublished))
        );

        let third = in_hand.hold(key(4)).expect("free");
        let (mut stays, gone) = (expect(4), expect(4));
        drop(gone);
        in_hand.drop_abandoned();
        third.published();
        assert!(
            matches!(stays.try_recv(), Ok(Outcome::Accepted { .. })),
            "one who left takes nobody along"
        );
    }
}
