//! The only file that touches actix's addresses: it makes `mailbox_capacity` true.
//!
//! actix bounds nothing under `send().await`, `do_send`, or `try_send` on a cloned `Addr` (a capacity of 8 held 999 messages), so a
//! [`Mailbox`] counts its messages itself: from the moment one is sent until the actor opens it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use tokio::sync::oneshot;

/// A message on its way, together with its place in the mailbox.
#[derive(Debug)]
pub struct Mail<M> {
    message: M,
    place: Place,
}

impl<M: Send + 'static> Message for Mail<M> {
    type Result = ();
}

impl<M> Mail<M> {
    /// The message; its place in the mailbox is free from here on.
    pub fn open(self) -> M {
        drop(self.place);
        self.message
    }
}

#[derive(Debug)]
struct Place(Arc<Meter>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.depth.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Depth and capacity of one mailbox, for metrics.
#[derive(Debug)]
pub struct Meter {
    depth: AtomicUsize,
    capacity: usize,
}

impl Meter {
    /// Messages that wait to be opened.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// How many may wait.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
}

/// Why a message was not taken; it comes back.
#[derive(Debug)]
pub enum Refused<M> {
    /// As many messages wait as the capacity allows.
    Full(M),
    /// The actor is gone; the process is about to end.
    Gone(M),
}

/// The sending side of an actor's mailbox for messages of type `M`. Clones share the capacity.
pub struct Mailbox<M: Send + 'static> {
    recipient: Recipient<Mail<M>>,
    meter: Arc<Meter>,
}

impl<M: Send + 'static> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Self {
            recipient: self.recipient.clone(),
            meter: self.meter.clone(),
        }
    }
}

impl<M: Send + 'static> Mailbox<M> {
    /// A mailbox of `capacity` messages in front of the actor at `addr`.
    pub fn new<A>(addr: &Addr<A>, capacity: usize) -> Self
    where
        A: Actor + Handler<Mail<M>>,
        A::Context: ToEnvelope<A, Mail<M>>,
    {
        let meter = Arc::new(Meter {
            depth: AtomicUsize::new(0),
            capacity,
        });
        Self {
            recipient: addr.clone().recipient(),
            meter,
        }
    }

    /// Sends `message` unless the mailbox is full or the actor gone. Never blocks.
    pub fn try_send(&self, message: M) -> Result<(), Refused<M>> {
        if !self.recipient.connected() {
            return Err(Refused::Gone(message));
        }
        let free = self
            .meter
            .depth
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < self.meter.capacity).then_some(now + 1)
            });
        if free.is_err() {
            return Err(Refused::Full(message));
        }
        self.recipient.do_send(Mail {
            message,
            place: Place(self.meter.clone()),
        });
        Ok(())
    }
}

/// Asks an actor to answer, by way of the queue that its work takes: proof that it still works.
#[derive(Debug)]
pub struct Ping(pub oneshot::Sender<()>);

impl Message for Ping {
    type Result = ();
}

/// Sends `Ping`s to an actor past its capacity: at most one is under way at a time.
#[derive(Clone)]
pub struct Pulse(Recipient<Ping>);

impl Pulse {
    /// The pulse of the actor at `addr`.
    pub fn new<A>(addr: &Addr<A>) -> Self
    where
        A: Actor + Handler<Ping>,
        A::Context: ToEnvelope<A, Ping>,
    {
        Self(addr.clone().recipient())
    }

    /// Resolves when the actor has worked off all that was in its mailbox before; an error if it is gone.
    pub async fn beat(&self) -> Result<(), oneshot::error::RecvError> {
        let (reply, answer) = oneshot::channel();
        self.0.do_send(Ping(reply));
        answer.await
    }
}

/// The service's actors by name, for metrics and the watchdog. Each enters when it starts, on whichever thread that is.
#[derive(Clone, Default)]
pub struct Roster(Arc<Mutex<Vec<Entry>>>);

/// One actor.
#[derive(Clone)]
pub struct Entry {
    /// Its name in metrics.
    pub actor: String,
    /// Depth and capacity of its mailbox.
    pub meter: Arc<Meter>,
    /// Whether it works.
    pub pulse: Pulse,
}

impl Roster {
    /// A mailbox of `capacity` messages in front of the actor at `addr`, which is on the roster from here on.
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
        let entry = Entry {
            actor: actor.into(),
            meter: mailbox.meter.clone(),
            pulse: Pulse::new(addr),
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
        mailbox
    }

    /// Those that have started.
    pub fn entries(&self) -> Vec<Entry> {
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
            let roster = Roster::default();
            let mailbox: Mailbox<u32> = roster.mailbox("slow", &addr, 8);
            let [
                Entry {
                    actor,
                    meter,
                    pulse,
                },
            ] = roster.entries().try_into().ok().expect("one actor");
            assert_eq!(actor, "slow");
            let mut full = 0;
            for n in 0..1000 {
                if matches!(mailbox.clone().try_send(n + 100), Err(Refused::Full(_))) {
                    full += 1;
                }
            }
            assert_eq!(full, 992);
            assert_eq!((meter.depth(), meter.capacity()), (8, 8));
            for _ in 0..8 {
                go.send(()).expect("the actor listens");
            }
            pulse.beat().await.expect("alive");
            assert_eq!(meter.depth(), 0);

            mailbox.try_send(13).expect("room");
            go.send(()).expect("the actor listens");
            assert!(
                pulse.beat().await.is_err(),
                "a panic kills an actor for good"
            );
            while !matches!(mailbox.try_send(1), Err(Refused::Gone(_))) {
                tokio::task::yield_now().await;
            }
        });
    }
}
