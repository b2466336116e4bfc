//! Takes secrets that providers hand over in a handshake to the store, and swaps in the schemes with the secrets that are there. One
//! thread, away from every delivery; it is started only if a source has `learn_secret = true`.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use crate::config::secret::Secret;
use crate::domain::delivery::wall_clock;
use crate::domain::outcome::{Answer, FailReason, Outcome, ShedReason};
use crate::in_flight::Ticket;
use crate::runtime::shutdown::CriticalTask;
use crate::source::{Source, Sources};
use crate::store::{Learned, Secrets};
use hookweir_signatures::another_secret;

/// Time between two readings of the store for secrets that other instances learned, or an operator had forgotten.
const REFRESH: Duration = Duration::from_secs(1);
/// Handshakes that wait; anybody can send one while a source has no secret yet.
const ROOM: usize = 16;

/// verifier → here: a handshake with a secret, to be answered when that is in the store.
#[derive(Debug)]
pub struct Learn {
    /// Source of the handshake.
    pub source: Arc<Source>,
    /// The secret.
    pub secret: Secret,
    /// Answer that the provider expects.
    pub answer: Answer,
    /// The handshake's claim to an outcome.
    pub ticket: Ticket,
}

/// Way of handshakes with a secret.
#[derive(Clone, Debug)]
pub(super) struct Learning(Sender<Learn>);

impl Learning {
    /// Passes a handshake on; without room for it, it is shed.
    pub(super) fn pass_on(&self, learn: Learn) {
        match self.0.try_send(learn) {
            Ok(()) => {}
            Err(TrySendError::Full(learn)) => learn
                .ticket
                .resolve(Outcome::Shed(ShedReason::VerifierMailbox)),
            Err(TrySendError::Disconnected(learn)) => {
                learn.ticket.resolve(Outcome::Failed(FailReason::Dropped))
            }
        }
    }
}

/// Starts the thread, if any source needs it. Uses one connection of the store.
pub(super) fn start(
    sources: &Sources,
    store: Arc<dyn Secrets>,
    lifeline: &CriticalTask,
) -> io::Result<Option<Learning>> {
    let sources: Vec<_> = sources
        .iter()
        .filter(|source| source.scheme.learns())
        .cloned()
        .collect();
    if sources.is_empty() {
        return Ok(None);
    }
    let (sender, receiver) = bounded(ROOM);
    let lifeline = lifeline.of("learned-secrets");
    let keeper = Keeper {
        sources,
        store,
        failing: false,
    };
    thread::Builder::new()
        .name("learned-secrets".into())
        .spawn(move || {
            let _lifeline = lifeline;
            keeper.run(&receiver);
        })?;
    Ok(Some(Learning(sender)))
}

struct Keeper {
    sources: Vec<Arc<Source>>,
    store: Arc<dyn Secrets>,
    failing: bool,
}

impl Keeper {
    fn run(mut self, handshakes: &Receiver<Learn>) {
        let mut refresh_at = Instant::now();
        loop {
            match handshakes.recv_deadline(refresh_at) {
                Ok(learn) => self.learn(learn),
                Err(RecvTimeoutError::Timeout) => {
                    self.refresh();
                    refresh_at = Instant::now() + REFRESH;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn learn(&self, learn: Learn) {
        let Learn {
            source,
            secret,
            answer,
            ticket,
        } = learn;
        let read_at = wall_clock();
        ticket.resolve(match self.store.learn(&source.name, &secret) {
            Ok(Learned::Kept) => match source.keys.set_learned(Some(&secret), read_at) {
                Ok(()) => {
                    tracing::info!(source = %source.name, "the provider has handed its secret over; it is in the store, and no other is taken");
                    Outcome::Challenge(answer)
                }
                Err(_) => Outcome::Failed(FailReason::Keys),
            },
            Ok(Learned::Another) => Outcome::Rejected(another_secret().into()),
            Ok(Learned::NotYet) => Outcome::Failed(FailReason::Keys),
            Err(error) => {
                tracing::warn!(source = %source.name, %error, "a secret was handed over and could not be stored; the provider has to try again");
                Outcome::Failed(FailReason::Store)
            }
        });
    }

    fn refresh(&mut self) {
        let read_at = wall_clock();
        let learned = match self.store.learned() {
            Ok(learned) => learned,
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, "learned secrets cannot be read; what the known ones do not verify is answered 503");
                }
                return;
            }
        };
        self.failing = false;
        for source in &self.sources {
            let secret = learned
                .iter()
                .find(|known| known.source == source.name.as_str())
                .and_then(|known| known.secret.as_ref());
            if let Err(error) = source.keys.set_learned(secret, read_at) {
                tracing::error!(source = %source.name, %error, "the secret in the store is none of this scheme's");
            }
        }
    }
}
