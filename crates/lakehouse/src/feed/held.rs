//! Messages that RabbitMQ has handed out, bounded by bytes.
//!
//! A broker bounds them by number only. Messages past the bound are let go as they arrive. They stay unacked, so the
//! broker hands them out again on the next connection.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lapin::ConsumerDelegate;
use lapin::message::{Delivery, DeliveryResult};
use tokio::sync::Notify;

/// Bytes of a message beside its body: headers, and its place in memory.
const BESIDE_BODY: usize = 1024;

/// Bounds of what is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeldLimits {
    /// Bytes of messages that are not acked, unless one message has more.
    pub(super) bytes: usize,
    /// Number of messages that are not acked.
    pub(super) messages: u16,
}

/// Messages of one channel that are not acked.
#[derive(Debug)]
pub(super) struct Held {
    limits: HeldLimits,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Messages that arrived and were not handed out, by their tags.
    waiting: BTreeMap<u64, Delivery>,
    /// Tags and sizes of messages that were handed out.
    out: VecDeque<(u64, usize)>,
    /// Tag that was handed out last. A channel counts its messages from 1 on.
    last: u64,
    /// Bytes of both.
    bytes: usize,
    /// Messages that the broker may hand out before an ack.
    allowed: u16,
    /// `true` while a larger number is asked for.
    grows: bool,
    /// Size of the messages on average, from the time at which the bytes did not suffice.
    too_large: Option<usize>,
    ended: Option<String>,
}

/// The next step of who takes messages.
#[derive(Debug)]
pub(super) enum Turn {
    /// A message.
    Message(Box<Delivery>),
    /// Nothing has arrived yet.
    Wait,
    /// The broker hands out nothing more before an ack. So many more messages have room.
    Grow(u16),
    /// Messages were let go, and all others are acked: connect again, with so many messages at first.
    Reconnect(u16),
    /// The broker hands out nothing any more, for this reason.
    Ended(String),
}

impl Held {
    /// Returns an empty holder, for a consumer that may have `allowed` messages.
    pub(super) fn new(limits: HeldLimits, allowed: u16) -> Arc<Self> {
        Arc::new(Self {
            limits,
            state: Mutex::new(State {
                allowed,
                ..State::default()
            }),
            arrived: Notify::new(),
        })
    }

    /// Waits until something has changed since the last [`Held::take`].
    pub(super) async fn changed(&self) {
        self.arrived.notified().await;
    }

    /// Returns the next message, or the reason for which there is none.
    pub(super) fn take(&self) -> Turn {
        let mut state = self.state();
        let next = state.last + 1;
        // In the order of the tags: an ack names all messages before it.
        if let Some(delivery) = state.waiting.remove(&next) {
            state.last = next;
            state.out.push_back((next, size(&delivery)));
            return Turn::Message(Box::new(delivery));
        }
        if let Some(reason) = &state.ended {
            return Turn::Ended(reason.clone());
        }
        match state.too_large {
            Some(average) if state.out.is_empty() => {
                Turn::Reconnect(number(self.limits.bytes / 2 / average.max(1)).max(1))
            }
            Some(_) => Turn::Wait,
            None => self.growth(&mut state),
        }
    }

    fn growth(&self, state: &mut State) -> Turn {
        let is_starved = state.out.len() >= usize::from(state.allowed);
        if !is_starved || state.grows {
            return Turn::Wait;
        }
        let average = (state.bytes / state.out.len().max(1)).max(1);
        let room = self.limits.bytes.saturating_sub(state.bytes) / average;
        let left = self.limits.messages.saturating_sub(state.allowed);
        let more = number(room).min(left).min(state.allowed);
        if more == 0 || more < state.allowed / 8 {
            return Turn::Wait;
        }
        state.grows = true;
        Turn::Grow(more)
    }

    /// Notes that the broker may hand out `more` messages before an ack.
    pub(super) fn grown(&self, more: u16) {
        let mut state = self.state();
        state.allowed = state.allowed.saturating_add(more);
        state.grows = false;
        drop(state);
        self.arrived.notify_one();
    }

    /// Forgets the messages up to `last`, which are acked.
    pub(super) fn acked(&self, last: u64) {
        let mut state = self.state();
        while let Some(&(tag, size)) = state.out.front()
            && tag <= last
        {
            state.out.pop_front();
            state.bytes = state.bytes.saturating_sub(size);
        }
    }

    /// Notes that nothing arrives any more.
    pub(super) fn end(&self, reason: String) {
        self.state().ended.get_or_insert(reason);
        self.arrived.notify_one();
    }

    fn arrive(&self, delivery: Delivery) {
        let mut state = self.state();
        let size = size(&delivery);
        if state.too_large.is_some() {
            return;
        }
        if state.bytes > 0 && state.bytes + size > self.limits.bytes {
            let count = state.waiting.len() + state.out.len();
            state.too_large = Some((state.bytes + size) / (count + 1));
        } else {
            state.bytes += size;
            state.waiting.insert(delivery.delivery_tag, delivery);
        }
        drop(state);
        self.arrived.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Receiver of what a consumer is handed out.
pub(super) struct Arrivals(pub(super) Arc<Held>);

impl ConsumerDelegate for Arrivals {
    /// Takes the message before it returns: the futures may run in any order.
    fn on_new_delivery(
        &self,
        delivery: DeliveryResult,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match delivery {
            Ok(Some(delivery)) => self.0.arrive(delivery),
            Ok(None) => self.0.end("the broker ended it".to_owned()),
            Err(error) => self.0.end(error.to_string()),
        }
        Box::pin(std::future::ready(()))
    }
}

fn size(delivery: &Delivery) -> usize {
    delivery.data.len() + BESIDE_BODY
}

fn number(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeldLimits = HeldLimits {
        bytes: 100 * BESIDE_BODY,
        messages: 1000,
    };

    fn arrive(held: &Held, tags: std::ops::RangeInclusive<u64>, body: usize) {
        for tag in tags {
            let body = vec![0; body];
            held.arrive(Delivery::mock(tag, "e".into(), "k".into(), false, body));
        }
    }

    /// Takes all messages that are there. Returns their tags, and the turn after them.
    fn take(held: &Held) -> (Vec<u64>, Turn) {
        let mut tags = Vec::new();
        loop {
            match held.take() {
                Turn::Message(delivery) => tags.push(delivery.delivery_tag),
                turn => return (tags, turn),
            }
        }
    }

    #[test]
    fn messages_past_the_bytes_are_let_go_and_asked_for_again_once_the_others_are_acked() {
        let held = Held::new(LIMITS, 256);
        arrive(&held, 1..=256, 9 * BESIDE_BODY);
        assert_eq!(held.state().bytes, 100 * BESIDE_BODY);
        let (tags, turn) = take(&held);
        assert_eq!(tags, Vec::from_iter(1..=10));
        assert!(matches!(turn, Turn::Wait), "{turn:?}");
        held.acked(10);
        // One that was on its way: the broker hands it out again.
        arrive(&held, 257..=257, 0);
        let turn = held.take();
        assert!(matches!(turn, Turn::Reconnect(5)), "{turn:?}");
    }

    #[test]
    fn one_message_larger_than_all_bytes_is_handed_out() {
        let held = Held::new(LIMITS, 256);
        arrive(&held, 1..=2, 200 * BESIDE_BODY);
        assert_eq!(take(&held).0, [1]);
        held.acked(1);
        let turn = held.take();
        assert!(matches!(turn, Turn::Reconnect(1)), "{turn:?}");
    }

    #[test]
    fn a_batch_of_small_messages_may_grow_until_the_bytes_are_held() {
        let held = Held::new(LIMITS, 16);
        let (mut last, mut allowed) = (0, 16);
        for more in [16, 32, 36] {
            arrive(&held, last + 1..=allowed, 0);
            let (tags, turn) = take(&held);
            assert_eq!(tags.len() as u64, allowed - last);
            assert!(
                matches!(turn, Turn::Grow(grown) if grown == more),
                "{turn:?}"
            );
            assert!(matches!(held.take(), Turn::Wait), "it grows already");
            held.grown(more);
            last = allowed;
            allowed += u64::from(more);
        }
        arrive(&held, last + 1..=allowed, 0);
        let (tags, turn) = take(&held);
        assert_eq!((tags.len(), allowed), (36, 100));
        assert!(matches!(turn, Turn::Wait), "{turn:?}");
    }

    /// An ack names all messages before it, so none may be passed over.
    #[test]
    fn messages_are_handed_out_in_the_order_of_their_tags() {
        let held = Held::new(LIMITS, 16);
        arrive(&held, 3..=4, 0);
        assert!(take(&held).0.is_empty());
        arrive(&held, 1..=2, 0);
        assert_eq!(take(&held).0, [1, 2, 3, 4]);
    }
}
