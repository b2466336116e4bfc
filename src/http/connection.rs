//! A connection under the bounds that actix does not keep.
//!
//! actix times only the first head on a connection, buffers heads up to 128 KB, reads ahead as much while a request waits for its
//! answer, and waits for ever for a client that does not take its answer. [`Connection`] stands between actix and the socket and keeps
//! all four within bounds; [`Progress`] tells it where the request in hand is.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use actix_http::Request;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::Edge;
use super::answer::{self, Problem};
use super::crowd::Crowd;
use crate::config::model::Limits;

/// Room for the request line, and for what stands between names and values, on top of `limits.max_header_bytes`.
const REQUEST_LINE: usize = 8 * 1024;

/// A body is read in steps of this many bytes, so that what actix holds of it stays small.
const STEP: usize = 32 * 1024;

/// What is read of the next request while one waits for its answer. Some is, because reading is how a reset is noticed.
const AHEAD: usize = 4 * 1024;

/// How long a client may take no byte of its answer.
const STALL: Duration = Duration::from_secs(10);

/// How long a connection that is to be closed is read on, so that its client sees the answer and not a reset.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// The memory that a connection takes at most, on top of the body in hand: what is read of a head, what is read ahead, and answers.
pub fn connection_bytes(limits: &Limits) -> usize {
    2 * STEP.max(limits.max_header_bytes + REQUEST_LINE) + 2 * AHEAD
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    /// Nothing in hand: the next bytes are a head.
    Head,
    /// A handler reads a body.
    Body,
    /// A handler waits for its outcome.
    Answer,
    /// The answer was given before the body was read; the rest is read and dropped until the connection is closed.
    Closing,
}

/// Where a connection is; shared between its socket and the handlers of its requests.
pub(super) struct Progress {
    stage: Cell<Stage>,
    /// Bytes that may be read before the stage changes.
    credit: Cell<usize>,
    /// When waiting for a head, or for the rest of it, ends.
    patience_ends: Cell<Option<Instant>>,
    /// A byte of the head under way has come.
    head_begun: Cell<bool>,
    /// When the stage, or the head under way, began; and what was read since.
    since: Cell<Instant>,
    read: Cell<u64>,
    /// Brought a genuine delivery, the last time it brought one.
    trusted: Cell<bool>,
    /// Is to be closed, to make room.
    expelled: Cell<bool>,
    /// The task that reads, woken to be told so.
    reader: Cell<Option<Waker>>,
    /// Where its [`Crowd`] has it.
    pub(super) place: Cell<usize>,
    /// Reads again when the stage changes.
    suspended: Cell<Option<Waker>>,
    max_head: usize,
    patience: Patience,
}

/// How long a connection is waited for.
#[derive(Clone, Copy, Default)]
pub(super) struct Patience {
    /// For the first byte of a further request.
    pub(super) keep_alive: Duration,
    /// For the rest of a head; also for all of the first one.
    pub(super) head: Duration,
}

impl Progress {
    pub(super) fn new(max_head: usize, patience: Patience) -> Rc<Self> {
        Rc::new(Self {
            stage: Cell::new(Stage::Head),
            credit: Cell::new(max_head),
            patience_ends: Cell::new(Some(Instant::now() + patience.head)),
            head_begun: Cell::new(false),
            since: Cell::new(Instant::now()),
            read: Cell::new(0),
            trusted: Cell::new(false),
            expelled: Cell::new(false),
            reader: Cell::new(None),
            place: Cell::new(usize::MAX),
            suspended: Cell::new(None),
            max_head,
            patience,
        })
    }

    /// That of the connection on which this request came.
    pub(super) fn of(request: &Request) -> Rc<Self> {
        // `serve` gives each connection one; without, there would be nothing to tell of it.
        request
            .conn_data::<Rc<Self>>()
            .cloned()
            .unwrap_or_else(|| Self::new(0, Patience::default()))
    }

    fn enter(&self, stage: Stage) {
        let now = Instant::now();
        self.stage.set(stage);
        self.head_begun.set(false);
        self.since.set(now);
        self.read.set(0);
        self.patience_ends
            .set((stage == Stage::Head).then(|| now + self.patience.keep_alive));
        self.credit.set(match stage {
            Stage::Head => self.max_head,
            Stage::Body | Stage::Closing => STEP,
            Stage::Answer => AHEAD,
        });
        if let Some(reader) = self.suspended.take() {
            reader.wake();
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

    pub(super) fn head_has_begun(&self) -> bool {
        self.head_begun.get()
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.trusted.get()
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

    /// Something is to be read, and has not come yet.
    fn waits(&self, waker: &Waker) {
        let known = self.reader.take().filter(|known| known.will_wake(waker));
        self.reader
            .set(Some(known.unwrap_or_else(|| waker.clone())));
    }

    /// A handler has a request in hand, until it drops this.
    pub(super) fn begin(self: Rc<Self>) -> InHand {
        self.enter(Stage::Body);
        InHand {
            progress: self,
            whole: false,
        }
    }
}

/// A request in a handler's hands.
pub(super) struct InHand {
    progress: Rc<Progress>,
    whole: bool,
}

impl InHand {
    /// Nothing of the request is left to be read, so its connection can be used again.
    pub(super) fn set_whole(&mut self) {
        self.whole = true;
        self.progress.enter(Stage::Answer);
    }

    /// The request was a genuine delivery.
    pub(super) fn set_trusted(&self) {
        self.progress.trusted.set(true);
    }

    /// Nothing of the request is left to be read.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.progress.enter(if self.whole {
            Stage::Head
        } else {
            Stage::Closing
        });
    }
}

/// A client's connection.
pub(super) struct Connection {
    socket: TcpStream,
    progress: Rc<Progress>,
    edge: Arc<Edge>,
    /// actix was given the chance to find a whole head in what was read.
    offered: bool,
    timer: Option<Pin<Box<Sleep>>>,
    stall_timer: Option<Pin<Box<Sleep>>>,
    farewell: Option<Farewell>,
    crowd: Rc<Crowd>,
    _counted: Counted,
}

/// The last words on a connection whose request could not be read.
struct Farewell {
    words: Vec<u8>,
    written: usize,
    patience: Pin<Box<Sleep>>,
}

/// One open connection in the metrics.
struct Counted(IntGauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        edge: Arc<Edge>,
        crowd: Rc<Crowd>,
        patience: Patience,
    ) -> Self {
        edge.metrics.connections.inc();
        let progress = Progress::new(edge.limits.max_header_bytes + REQUEST_LINE, patience);
        crowd.welcome(&progress);
        Self {
            socket,
            progress,
            crowd,
            offered: false,
            timer: None,
            stall_timer: None,
            farewell: None,
            _counted: Counted(edge.metrics.connections.clone()),
            edge,
        }
    }

    pub(super) fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }

    /// Whether the wait for a head is over. The timer is not set anew for each request: it fires, looks, and goes on.
    fn is_out_of_patience(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(end) = self.progress.patience_ends.get() {
            if Instant::now() >= end {
                return true;
            }
            // One that fires after `end` would be too late; only the wait for the rest of a head is shorter than the one before.
            if self
                .timer
                .as_ref()
                .is_some_and(|timer| timer.deadline() > end.into())
            {
                self.timer = None;
            }
            let timer = self
                .timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end.into())));
            if timer.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.timer = None;
        }
        false
    }

    fn refuse(&mut self, problem: Option<Problem>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let words = problem
            .map(|problem| answer::last_words(problem, &self.edge))
            .unwrap_or_default();
        self.farewell = Some(Farewell {
            words,
            written: 0,
            patience: Box::pin(tokio::time::sleep(LINGER)),
        });
        self.poll_farewell(cx)
    }

    /// Writes the last words, then waits until the client has closed or [`LINGER`] is over. actix sees the end of the stream.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(Ok(()));
        };
        if farewell.words.is_empty() || farewell.patience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while farewell.written < farewell.words.len() {
            farewell.written += ready!(
                Pin::new(&mut self.socket).poll_write(cx, &farewell.words[farewell.written..])
            )?;
        }
        ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        let mut scrap = [0; 4096];
        for _ in 0..16 {
            let mut scrap = ReadBuf::new(&mut scrap);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut scrap))?;
            if scrap.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.crowd.leave(&self.progress);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return this.poll_farewell(cx);
        }
        let progress = this.progress.clone();
        if progress.expelled.get() {
            return this.refuse(None, cx);
        }
        if progress.credit.get() == 0 {
            match progress.stage.get() {
                Stage::Head if this.offered => {
                    return this.refuse(Some(Problem::HEADERS_TOO_LARGE), cx);
                }
                Stage::Head => this.offered = true,
                Stage::Body | Stage::Closing => progress.credit.set(STEP),
                Stage::Answer => {
                    progress.suspended.set(Some(cx.waker().clone()));
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }

        let before = buf.filled().len();
        progress.waits(cx.waker());
        if Pin::new(&mut this.socket).poll_read(cx, buf)?.is_pending() {
            if progress.stage.get() == Stage::Head && this.is_out_of_patience(cx) {
                // Who said nothing is told nothing.
                return this.refuse(
                    progress.head_begun.get().then_some(Problem::HEAD_TOO_SLOW),
                    cx,
                );
            }
            return Poll::Pending;
        }
        let read = buf.filled().len() - before;
        progress
            .credit
            .set(progress.credit.get().saturating_sub(read));
        progress.read.set(progress.read.get() + read as u64);
        this.offered = false;
        if progress.stage.get() == Stage::Head && !progress.head_begun.replace(true) {
            let now = Instant::now();
            progress.since.set(now);
            progress
                .patience_ends
                .set(Some(now + progress.patience.head));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        if this.progress.expelled.get() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        if written.is_ready() {
            this.stall_timer = None;
            return written;
        }
        let timer = this
            .stall_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
