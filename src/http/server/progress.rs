//! Progress of one connection through its requests. Pure: time comes in as an argument.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// A body is read in steps of this many bytes, which bounds what actix holds of it.
pub(super) const STEP: usize = 32 * 1024;

/// Bytes of the next request that are read while one waits for its response. Some are needed,
/// because reading is how a reset is noticed.
pub(super) const AHEAD: usize = 4 * 1024;

/// Part of a request that a connection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// No request is open: the next bytes are a head.
    Head,
    /// A handler reads a body.
    Body,
    /// A handler waits for its outcome.
    Answer,
    /// The response was given before the body was read. The rest is read and dropped until the
    /// connection is closed.
    Closing,
}

/// Timeouts of a head.
#[derive(Clone, Copy, Default)]
pub(in crate::http) struct HeadTimeouts {
    /// Time for the first byte of a further request.
    pub(in crate::http) keep_alive: Duration,
    /// Time for the rest of a head, and for all of the first one.
    pub(in crate::http) head: Duration,
}

/// Client behind the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProxiedClient {
    /// The other end itself: no proxy speaks first.
    Direct,
    /// Address that a proxy has told.
    Told(SocketAddr),
    /// A proxy that speaks for itself, or does not know its client.
    Unknown,
}

/// State of a connection, shared between its socket and the handlers of its requests.
pub(super) struct Progress {
    stage: Cell<Stage>,
    /// Bytes that may be read before the stage changes.
    credit: Cell<usize>,
    /// End of the wait for a head, or for the rest of it.
    head_deadline: Cell<Option<Instant>>,
    /// A byte of the current head has come.
    head_begun: Cell<bool>,
    /// Begin of the stage, or of the current head.
    since: Cell<Instant>,
    /// Bytes read since then.
    read: Cell<u64>,
    /// A genuine delivery has come on this connection.
    trusted: Cell<bool>,
    /// Client, as a trusted proxy has told it at the start of the connection.
    proxied: Cell<ProxiedClient>,
    /// The connection is to be closed, to make room.
    expelled: Cell<bool>,
    /// The task that reads; woken when the connection is expelled.
    reader: Cell<Option<Waker>>,
    /// The task that reads, while it may not; woken when the stage changes.
    suspended: Cell<Option<Waker>>,
    /// Position among the open connections of the thread.
    pub(super) position: Cell<usize>,
    max_head: usize,
    timeouts: HeadTimeouts,
}

impl Progress {
    pub(super) fn new(max_head: usize, timeouts: HeadTimeouts, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::Head),
            credit: Cell::new(max_head),
            head_deadline: Cell::new(Some(now + timeouts.head)),
            head_begun: Cell::new(false),
            since: Cell::new(now),
            read: Cell::new(0),
            trusted: Cell::new(false),
            proxied: Cell::new(ProxiedClient::Direct),
            expelled: Cell::new(false),
            reader: Cell::new(None),
            suspended: Cell::new(None),
            position: Cell::new(usize::MAX),
            max_head,
            timeouts,
        })
    }

    pub(super) fn enter(&self, stage: Stage, now: Instant) {
        self.stage.set(stage);
        self.head_begun.set(false);
        self.since.set(now);
        self.read.set(0);
        self.head_deadline
            .set((stage == Stage::Head).then(|| now + self.timeouts.keep_alive));
        self.credit.set(match stage {
            Stage::Head => self.max_head,
            Stage::Body | Stage::Closing => STEP,
            Stage::Answer => AHEAD,
        });
        if let Some(reader) = self.suspended.take() {
            reader.wake();
        }
    }

    /// Counts `bytes` that were read. The first byte of a head starts its timeout; `now` is called
    /// for that only.
    pub(super) fn has_read(&self, bytes: usize, now: impl FnOnce() -> Instant) {
        self.credit.set(self.credit.get().saturating_sub(bytes));
        self.read.set(self.read.get() + bytes as u64);
        if self.stage.get() == Stage::Head && !self.head_begun.replace(true) {
            let now = now();
            self.since.set(now);
            self.head_deadline.set(Some(now + self.timeouts.head));
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(super) fn since(&self) -> Instant {
        self.since.get()
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.read.get()
    }

    pub(super) fn has_credit(&self) -> bool {
        self.credit.get() > 0
    }

    /// Lets the next step of a body be read.
    pub(super) fn renew_credit(&self) {
        self.credit.set(STEP);
    }

    pub(super) fn head_deadline(&self) -> Option<Instant> {
        self.head_deadline.get()
    }

    pub(super) fn head_has_begun(&self) -> bool {
        self.head_begun.get()
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.get()
    }

    pub(super) fn set_trusted(&self) {
        self.trusted.set(true);
    }

    /// Returns the client, as a proxy has told it.
    pub(super) fn proxied(&self) -> ProxiedClient {
        self.proxied.get()
    }

    pub(super) fn set_proxied(&self, client: Option<SocketAddr>) {
        self.proxied
            .set(client.map_or(ProxiedClient::Unknown, ProxiedClient::Told));
    }

    pub(super) fn is_expelled(&self) -> bool {
        self.expelled.get()
    }

    /// Closes the connection.
    pub(super) fn expel(&self) {
        self.expelled.set(true);
        for reader in [self.reader.take(), self.suspended.take()]
            .into_iter()
            .flatten()
        {
            reader.wake();
        }
    }

    /// Remembers the task that waits for bytes.
    pub(super) fn waits(&self, waker: &Waker) {
        let known = self.reader.take().filter(|known| known.will_wake(waker));
        self.reader
            .set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// Remembers the task that may read again when the stage changes.
    pub(super) fn suspend(&self, waker: &Waker) {
        self.suspended.set(Some(waker.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_credit_and_a_head_its_deadline() {
        let (start, secs) = (Instant::now(), Duration::from_secs);
        let timeouts = HeadTimeouts {
            keep_alive: secs(60),
            head: secs(5),
        };
        let progress = Progress::new(100, timeouts, start);
        assert_eq!(progress.head_deadline(), Some(start + secs(5)));
        progress.has_read(100, || start + secs(1));
        assert!(!progress.has_credit() && progress.head_has_begun());
        assert_eq!(progress.head_deadline(), Some(start + secs(6)));
        progress.enter(Stage::Answer, start);
        progress.has_read(AHEAD, || unreachable!("no head"));
        assert!(!progress.has_credit() && progress.head_deadline().is_none());
        progress.enter(Stage::Head, start + secs(2));
        assert_eq!(progress.head_deadline(), Some(start + secs(62)));
        assert!(progress.has_credit() && !progress.head_has_begun());
    }
}
