//! Bytes between HTTP and the socket: plain, or under TLS.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

use crate::runtime::certificate::CertificateInForce;
use crate::runtime::tls::HandshakeFault;

/// TLS of the ingest listener.
#[derive(Clone)]
pub(in crate::http) struct TlsTransport {
    /// Certificate in force.
    pub(in crate::http) certificate: Arc<CertificateInForce>,
    /// Connections without a session, by listener and reason.
    pub(in crate::http) failures: IntCounterVec,
}

/// Way of the bytes of one connection.
pub(super) enum Transport {
    /// The socket itself.
    Plain(TcpStream),
    /// A handshake that is not over, and the counter of its failure.
    Handshake(Box<Accept<TcpStream>>, IntCounterVec),
    /// A session.
    Tls(Box<TlsStream<TcpStream>>),
    /// Nothing can be read or written: the handshake has failed.
    Closed,
}

impl Transport {
    /// Takes a new socket.
    pub(super) fn new(socket: TcpStream, tls: Option<&TlsTransport>) -> Self {
        match tls {
            None => Self::Plain(socket),
            Some(tls) => Self::Handshake(
                Box::new(tls.certificate.accept(socket)),
                tls.failures.clone(),
            ),
        }
    }

    /// Counts a handshake that was not over in time.
    pub(super) fn times_out(&mut self) {
        if let Self::Handshake(_, failures) = self {
            count(failures, HandshakeFault::Timeout);
            *self = Self::Closed;
        }
    }

    /// Goes on with a handshake until it is over or has failed.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Handshake(accept, failures) = self {
            *self = match ready!(Pin::new(accept).poll(cx)) {
                Ok(session) => Self::Tls(Box::new(session)),
                Err(error) => {
                    count(failures, HandshakeFault::of(&error));
                    Self::Closed
                }
            };
        }
        Poll::Ready(())
    }
}

fn count(failures: &IntCounterVec, fault: HandshakeFault) {
    failures.with_label_values(&["ingest", fault.label()]).inc();
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_handshake(cx));
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(session) => match ready!(Pin::new(session).poll_read(cx, buf)) {
                // Closed without TLS's goodbye, as many clients do. HTTP knows the length of each body.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
            Self::Handshake(..) | Self::Closed => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Tls(session) => Pin::new(session).poll_write(cx, buf),
            Self::Handshake(..) | Self::Closed => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(session) => Pin::new(session).poll_flush(cx),
            Self::Handshake(..) | Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(session) => Pin::new(session).poll_shutdown(cx),
            Self::Handshake(..) | Self::Closed => Poll::Ready(Ok(())),
        }
    }
}
