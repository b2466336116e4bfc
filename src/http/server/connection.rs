//! A client's connection under the bounds that actix does not keep.
//!
//! actix times only the first head on a connection, buffers heads up to 128 KB, reads ahead as much
//! while a request waits for its response, and has no write timeout. [`Connection`] stands between
//! actix and the socket and bounds all four. [`Progress`] tells it which part of a request is open.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::connections::Connections;
use super::progress::{AHEAD, Progress, STEP, Stage};
use super::transport::Transport;
use super::{Handler, HeadFault};
use crate::config::model::Limits;

/// Room for the request line, and for separators between names and values, on top of
/// `limits.max_header_bytes`.
pub(super) const REQUEST_LINE: usize = 8 * 1024;

/// Write timeout: time in which a client has to take a byte of its response.
const STALL: Duration = Duration::from_secs(10);

/// Time for which a closing connection is still read. Without it, the client would see a reset
/// instead of its response.
pub(in crate::http) const LINGER: Duration = Duration::from_secs(1);

/// Returns the most memory that a connection takes besides a body: head, bytes read ahead, and
/// responses.
pub fn connection_bytes(limits: &Limits) -> usize {
    2 * STEP.max(limits.max_header_bytes + REQUEST_LINE) + 2 * AHEAD
}

/// A client's connection.
pub(super) struct Connection<H> {
    socket: Transport,
    progress: Rc<Progress>,
    handler: Rc<H>,
    /// actix was given the chance to find a whole head in the bytes read.
    offered: bool,
    timer: Option<Pin<Box<Sleep>>>,
    stall_timer: Option<Pin<Box<Sleep>>>,
    farewell: Option<Farewell>,
    connections: Rc<Connections>,
    _counted: Counted,
}

/// Last response on a connection whose request could not be read.
struct Farewell {
    response: Vec<u8>,
    written: usize,
    timeout: Pin<Box<Sleep>>,
}

/// One open connection in the metrics.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl<H: Handler> Connection<H> {
    pub(super) fn new(
        socket: Transport,
        progress: Rc<Progress>,
        connections: Rc<Connections>,
        gauge: IntGauge,
        handler: Rc<H>,
    ) -> Self {
        Self {
            socket,
            progress,
            handler,
            offered: false,
            timer: None,
            stall_timer: None,
            farewell: None,
            connections,
            _counted: Counted::new(gauge),
        }
    }

    pub(super) fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }

    /// Returns `true` if the wait for a head has timed out. The timer is not reset for each
    /// request: when it fires, it is set to the rest.
    fn has_timed_out(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(end) = self.progress.head_deadline() {
            if Instant::now() >= end {
                return true;
            }
            // A timer that fires after `end` is too late. Only the wait for the rest of a head is
            // shorter than the one before.
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

    /// Returns the result of a write, or an error if the client takes no byte for [`STALL`].
    fn within_stall<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall_timer = None;
            return written;
        }
        let timer = self
            .stall_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn refuse(&mut self, fault: Option<HeadFault>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let response = fault
            .map(|fault| self.handler.refuse_head(fault))
            .unwrap_or_default();
        self.farewell = Some(Farewell {
            response,
            written: 0,
            timeout: Box::pin(tokio::time::sleep(LINGER)),
        });
        self.poll_farewell(cx)
    }

    /// Writes the last response, then waits until the client has closed or [`LINGER`] is over.
    /// actix sees the end of the stream.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(Ok(()));
        };
        if farewell.response.is_empty() || farewell.timeout.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while farewell.written < farewell.response.len() {
            farewell.written += ready!(
                Pin::new(&mut self.socket).poll_write(cx, &farewell.response[farewell.written..])
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

impl<H> Drop for Connection<H> {
    fn drop(&mut self) {
        self.connections.remove(&self.progress);
    }
}

impl<H: Handler> AsyncRead for Connection<H> {
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
        if progress.is_expelled() {
            return this.refuse(None, cx);
        }
        if !progress.has_credit() {
            match progress.stage() {
                Stage::Head if this.offered => {
                    return this.refuse(Some(HeadFault::TooLarge), cx);
                }
                Stage::Head => this.offered = true,
                Stage::Body | Stage::Closing => progress.renew_credit(),
                Stage::Answer => {
                    progress.suspend(cx.waker());
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }

        let before = buf.filled().len();
        progress.waits(cx.waker());
        let opened = this.socket.poll_open(&progress, cx);
        if opened.is_pending() || Pin::new(&mut this.socket).poll_read(cx, buf)?.is_pending() {
            if progress.stage() == Stage::Head && this.has_timed_out(cx) {
                this.socket.times_out();
                // Close without a response if the client sent no bytes.
                return this.refuse(progress.head_has_begun().then_some(HeadFault::TooSlow), cx);
            }
            return Poll::Pending;
        }
        let read = buf.filled().len() - before;
        progress.has_read(read, Instant::now);
        this.offered = false;
        Poll::Ready(Ok(()))
    }
}

impl<H: Handler> AsyncWrite for Connection<H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.farewell.is_some() {
            return Poll::Ready(Ok(buf.len()));
        }
        if this.progress.is_expelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, buf);
        // A session under TLS takes bytes that the socket has not taken: a flush tells if it does.
        if written.is_ready() && this.socket.keeps_bytes() {
            return written;
        }
        this.within_stall(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.progress.is_expelled() && this.socket.keeps_bytes() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let flushed = Pin::new(&mut this.socket).poll_flush(cx);
        if flushed.is_ready() && this.stall_timer.is_none() {
            return flushed;
        }
        this.within_stall(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.progress.is_expelled() && this.socket.keeps_bytes() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        // Under TLS a goodbye has to be written first.
        let closed = Pin::new(&mut this.socket).poll_shutdown(cx);
        this.within_stall(cx, closed)
    }
}
