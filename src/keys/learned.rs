//! Secrets that providers hand over in a handshake. One thread stores them, and swaps in schemes
//! with the secrets in the store. The thread is started only if a source has `learn_secret = true`.

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

/// Time between two readings of the store for secrets that other instances learned or an operator
/// deleted.
const REFRESH: Duration = Duration::from_secs(1);
/// Most handshakes that wait. Anybody can send one while a source has no secret.
const ROOM: usize = 16;

/// Handshake with a secret, to be answered after the secret is stored: the message from a verifier.
#[derive(Debug)]
pub struct Learn {
    /// Source of the handshake.
    pub source: Arc<Source>,
    /// Secret that the provider handed over.
    pub secret: Secret,
    /// Answer that the provider expects.
    pub answer: Answer,
    /// Claim of the handshake to exactly one outcome.
    pub ticket: Ticket,
}

/// Sender of handshakes to the thread.
#[derive(Clone, Debug)]
pub(super) struct Learning(Sender<Learn>);

impl Learning {
    /// Passes a handshake on. If too many wait, the handshake is shed.
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
    let keeper = Keeper {
        sources,
        store,
        failing: false,
    };
    let thread = thread::Builder::new().name("learned-secrets".into());
    lifeline.spawn("learned-secrets", thread, move || keeper.run(&receiver))?;
    Ok(Some(Learning(sender)))
}

/// Text about a stored secret that the scheme does not take.
const NOT_OF_THE_SCHEME: &str = "the learned secret in the store does not fit the scheme of this source; deliveries are verified as before; \
     delete the secret with `hookweir learned NAME --forget`, and repeat the handshake";

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
                    tracing::info!(source = %source.name, "secret learned from a handshake and stored; a handshake with another secret is refused until `hookweir learned NAME --forget`");
                    Outcome::Challenge(answer)
                }
                Err(error) => {
                    tracing::error!(source = %source.name, %error, "{NOT_OF_THE_SCHEME}");
                    Outcome::Failed(FailReason::Keys)
                }
            },
            Ok(Learned::Another) => Outcome::Rejected(another_secret().into()),
            Ok(Learned::NotYet) => Outcome::Failed(FailReason::Keys),
            Err(error) => {
                tracing::warn!(source = %source.name, %error, "cannot store the secret of a handshake; the handshake is answered 503, repeat it at the provider");
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
                    tracing::warn!(%error, "cannot read learned secrets from the store; deliveries that the known secrets do not verify are answered 503, next attempt in 1 s");
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
                tracing::error!(source = %source.name, %error, "{NOT_OF_THE_SCHEME}");
            }
        }
    }
}
