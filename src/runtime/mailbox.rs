//! Bounded mailboxes of actors. No other file touches actix's addresses.
//!
//! actix bounds nothing under `send().await`, `do_send`, or `try_send` on a cloned `Addr` (a
//! capacity of 8 held 999 messages), so a [`Mailbox`] counts its messages itself: from the moment
//! one is sent until the actor opens it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use tokio::sync::oneshot;

/// Message in a mailbox, with the slot that it takes.
#[derive(Debug)]
pub struct Mail<M> {
    message: M,
    slot: Slot,
}

impl<M: Send + 'static> Message for Mail<M> {
    type Result = ();
}

impl<M> Mail<M> {
    /// Returns the message and frees its slot.
    pub fn open(self) -> M {
        drop(self.slot);
        self.message
    }
}

#[derive(Debug)]
struct Slot(Arc<MailboxGauge>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Depth and capacity of one mailbox.
#[derive(Debug)]
pub struct MailboxGauge {
    depth: AtomicUsize,
    high: AtomicUsize,
    capacity: usize,
}

impl MailboxGauge {
    /// Returns the number of messages that wait to be opened.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Returns the most messages that waited at once since the mark was last taken.
    pub fn high(&self) -> usize {
        self.high.load(Ordering::Relaxed).max(self.depth())
    }

    /// Returns the most messages that waited at once since the call before.
    pub fn take_high(&self) -> usize {
        let now = self.depth();
        self.high.swap(now, Ordering::Relaxed).max(now)
    }

    /// Notes that so many messages wait.
    fn rise_to(&self, depth: usize) {
        // Mostly a read: the mark is written only while it rises.
        if depth > self.high.load(Ordering::Relaxed) {
            self.high.fetch_max(depth, Ordering::Relaxed);
        }
    }

    /// Returns the most messages that may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// Message that was not taken, with the reason.
#[derive(Debug)]
pub enum Refused<M> {
    /// The mailbox is full.
    Full(M),
    /// The actor is gone; the process is about to end.
    Gone(M),
}

/// Sender of an actor's mailbox for messages of type `M`. Clones share the capacity.
pub struct Mailbox<M: Send + 'static> {
    recipient: Recipient<Mail<M>>,
    gauge: Arc<MailboxGauge>,
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            recipient: self.recipient.clone(),
            gauge: self.gauge.clone(),
        }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// Returns a mailbox of `capacity` messages for the actor at `addr`.
    pub fn new<A>(addr: &Addr<A>, capacity: usize) -> Self
    where
        A: Actor + Handler<Mail<M>>,
        A::Context: ToEnvelope<A, Mail<M>>,
    {
        let gauge = Arc::new(MailboxGauge {
            depth: AtomicUsize::new(0),
            high: AtomicUsize::new(0),
            capacity,
        });
        Self {
            recipient: addr.clone().recipient(),
            gauge,
        }
    }

    /// Sends `message` unless the mailbox is full or the actor gone. Never blocks.
    pub fn try_send(&self, message: M) -> Result<(), Refused<M>> {
        if !self.recipient.connected() {
            return Err(Refused::Gone(message));
        }
        let taken = self
            .gauge
            .depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < self.gauge.capacity).then_some(now + 1)
            });
        let Ok(before) = taken else {
            return Err(Refused::Full(message));
        };
        self.gauge.rise_to(before + 1);
        self.recipient.do_send(Mail {
            message,
            slot: Slot(self.gauge.clone()),
        });
        Ok(())
    }
}

/// Request for a sign of life, which goes through the queue of an actor's work.
#[derive(Debug)]
pub struct Ping(pub oneshot::Sender<()>);

impl Message for Ping {
    type Result = ();
}

/// Liveness check of an actor. Its `Ping` needs no slot in the mailbox; at most one is under way.
#[derive(Clone)]
pub struct Liveness(Recipient<Ping>);

impl Liveness {
    /// Returns the check of the actor at `addr`.
    pub fn new<A>(addr: &Addr<A>) -> Self
    where
        A: Actor + Handler<Ping>,
        A::Context: ToEnvelope<A, Ping>,
    {
        Self(addr.clone().recipient())
    }

    /// Resolves when the actor has handled all messages that were in its mailbox before. Fails if
    /// the actor is gone.
    pub async fn check(&self) -> Result<(), oneshot::error::RecvError> {
        let (reply, answer) = oneshot::channel();
        self.0.do_send(Ping(reply));
        answer.await
    }
}

/// Actors of the service by name, for metrics and the watchdog. Each is added when it starts, on
/// any thread.
#[derive(Clone, Default)]
pub struct ActorRegistry(Arc<Mutex<Vec<ActorEntry>>>);

/// One actor.
#[derive(Clone)]
pub struct ActorEntry {
    /// Name in metrics.
    pub actor: String,
    /// Depth and capacity of its mailbox.
    pub gauge: Arc<MailboxGauge>,
    /// Check of its liveness.
    pub liveness: Liveness,
}

impl ActorRegistry {
    /// Adds the actor at `addr`, and returns a mailbox of `capacity` messages for it.
    pub fn mailbox<A, M>(
        &self,
        actor: impl Into<String>,
        addr: &Addr<A>,
        capacity: usize,
    ) -> Mailbox<M>
    where
        M: Send + 'static,
        A: Actor + Handler<Mail<M>> + Handler<Ping>,
        A::Context: ToEnvelope<A, Mail<M>> + ToEnvelope<A, Ping>,
    {
        let mailbox = Mailbox::new(addr, capacity);
        let entry = ActorEntry {
            actor: actor.into(),
            gauge: mailbox.gauge.clone(),
            liveness: Liveness::new(addr),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
        mailbox
    }

    /// Returns the actors that have started.
    pub fn entries(&self) -> Vec<ActorEntry> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use actix::{Arbiter, Context, System};

    use super::*;

    struct Slow(mpsc::Receiver<()>);

    impl Actor for Slow {
        type Context = Context<Self>;
    }

    impl Handler<Mail<u32>> for Slow {
        type Result = ();
        fn handle(&mut self, mail: Mail<u32>, _: &mut Self::Context) {
            let _ = self.0.recv();
            assert_ne!(mail.open(), 13, "unlucky");
        }
    }

    impl Handler<Ping> for Slow {
        type Result = ();
        fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
            let _ = ping.0.send(());
        }
    }

    #[test]
    fn a_mailbox_holds_its_capacity_and_no_more_whoever_sends() {
        System::new().block_on(async {
            let (go, gate) = mpsc::channel();
            let addr = Slow::start_in_arbiter(&Arbiter::new().handle(), |_| Slow(gate));
            let registry = ActorRegistry::default();
            let mailbox: Mailbox<u32> = registry.mailbox("slow", &addr, 8);
            let [
                ActorEntry {
                    actor,
                    gauge,
                    liveness,
                },
            ] = registry.entries().try_into().ok().expect("one actor");
            assert_eq!(actor, "slow");
            let mut full = 0;
            for n in 0..1000 {
                if matches!(mailbox.clone().try_send(n + 100), Err(Refused::Full(_))) {
                    full += 1;
                }
            }
            assert_eq!(full, 992);
            assert_eq!((gauge.depth(), gauge.capacity()), (8, 8));
            for _ in 0..8 {
                go.send(()).expect("the actor listens");
            }
            liveness.check().await.expect("alive");
            assert_eq!(gauge.depth(), 0);
            assert_eq!(gauge.high(), 8, "a look leaves the mark");
            let (before, after) = (gauge.take_high(), gauge.take_high());
            assert_eq!((before, after), (8, 0), "the mark is of one interval");

            mailbox.try_send(13).expect("room");
            go.send(()).expect("the actor listens");
            assert!(
                liveness.check().await.is_err(),
                "a panic kills an actor for good"
            );
            while !matches!(mailbox.try_send(1), Err(Refused::Gone(_))) {
                tokio::task::yield_now().await;
            }
        });
    }
}
