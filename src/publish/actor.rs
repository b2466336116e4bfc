//! The publisher actor: a shell around [`Window`] that feeds the lanes and passes on what became of their batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use actix::{Actor, Context, Handler};
use tokio::sync::mpsc;

use super::Message;
use super::lanes::{MayPublish, Report};
use super::routing_key::RoutingKeys;
use super::unsettled::Unsettled;
use super::window::{Settlement, Window};
use crate::failpoint::failpoint;
use crate::mailbox::{Mail, Ping};
use crate::messages::Pending;
use crate::shutdown::Lifeline;

/// What the one who stops the publisher and the actor share.
#[derive(Debug, Default)]
pub(super) struct Halt {
    /// No batch goes out any more.
    pub(super) halted: AtomicBool,
    /// Batches that are out.
    pub(super) under_way: AtomicUsize,
}

/// The actor.
pub(super) struct PublisherActor {
    pub(super) window: Window,
    pub(super) keys: RoutingKeys,
    pub(super) lanes: Vec<mpsc::Sender<Vec<Message>>>,
    pub(super) unsettled: Unsettled,
    pub(super) halt: Arc<Halt>,
    pub(super) may_publish: MayPublish,
    pub(super) _lifeline: Lifeline,
}

impl PublisherActor {
    fn feed_lanes(&mut self) {
        if !(self.may_publish)() {
            self.window.give_up();
        }
        while !self.halt.halted.load(Ordering::Acquire)
            && let Some((lane, batch)) = self.window.next_batch(&self.keys)
        {
            // A free lane takes a batch; without lanes the publisher is ending, and the rows are in the outbox.
            let _ = self.lanes[lane].try_send(batch);
        }
        self.halt.under_way.store(self.window.busy_lanes(), Ordering::Release);
    }
}

impl Actor for PublisherActor {
    type Context = Context<Self>;
}

impl Handler<Mail<Pending>> for PublisherActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Pending>, _: &mut Self::Context) {
        failpoint!("publisher_pending");
        for event in mail.open().events {
            self.window.push(event);
        }
        self.feed_lanes();
    }
}

impl Handler<Mail<Report>> for PublisherActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Report>, _: &mut Self::Context) {
        let Report { lane, fates } = mail.open();
        failpoint!("publisher_reported");
        let settlement = match fates {
            Some(fates) => {
                let settlement = self.window.finished(lane, fates);
                settlement.confirmed.iter().for_each(|event| event.hold.published());
                settlement
            }
            None => {
                self.window.give_up_batch(lane);
                Settlement::default()
            }
        };
        if !settlement.is_empty() {
            self.unsettled.put(settlement);
        }
        self.feed_lanes();
    }
}

impl Handler<Ping> for PublisherActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // Nobody listens any more when the pinger has given up.
        let _ = ping.0.send(());
    }
}
