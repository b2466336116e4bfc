//! The dedup actor: verified deliveries come in here, and the clock ticks here.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler};

use super::dispatch::Dispatch;
use crate::mailbox::{Mail, Ping};
use crate::messages::Verified;
use crate::shutdown::Lifeline;

/// How often abandoned deliveries and overdue batches are looked for while no message comes.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct DedupActor {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) _lifeline: Lifeline,
}

impl Actor for DedupActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |this, _| this.dispatch.tick());
    }
}

impl Drop for DedupActor {
    fn drop(&mut self) {
        self.dispatch.close();
    }
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
