//! The dedup actor: takes verified deliveries from the verifier on its thread. All dedup actors
//! share one `Dispatch`.

use std::sync::Arc;

use actix::{Actor, Context, Handler};

use super::Verified;
use super::dispatch::Dispatch;
use crate::runtime::mailbox::{Mail, Ping};
use crate::runtime::shutdown::CriticalTask;

pub(super) struct DedupActor {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) _lifeline: CriticalTask,
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
        // The pinger may have given up.
        let _ = ping.0.send(());
    }
}
