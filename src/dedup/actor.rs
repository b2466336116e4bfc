//! The dedup actor: verified deliveries come in here, from the verifier on its own thread. What the dedup actors know they share, in
//! `Dispatch`.

use std::sync::Arc;

use actix::{Actor, Context, Handler};

use super::Verified;
use super::dispatch::Dispatch;
use crate::runtime::mailbox::{Mail, Ping};
use crate::runtime::shutdown::Lifeline;

pub(super) struct DedupActor {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) _lifeline: Lifeline,
}

impl Actor for DedupActor {
    type Context = Context<Self>;
}

impl Handler<Mail<Verified>> for DedupActor {
    type Result = ();

    fn handle(&mut self, mail: Mail<Verified>, _: &mut Self::Context) {
        self.dispatch.offer(mail.open());
    }
}

impl Handler<Ping> for DedupActor {
    type Result = ();

    fn handle(&mut self, ping: Ping, _: &mut Self::Context) {
        // Nobody listens any more when the pinger has given up.
        let _ = ping.0.send(());
    }
}
