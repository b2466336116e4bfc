//! Bytes between HTTP and the socket: plain or under TLS, perhaps behind a proxy that tells its client first.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prometheus::IntCounterVec;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::Accept;
use tokio_rustls::server::TlsStream;

use super::progress::Progress;
use super::proxy_header::{self, HeaderState, LONGEST};
use crate::config::model::TlsListener;
use crate::domain::network::Network;
use crate::runtime::certificate::CertificateInForce;
use crate::runtime::tls::HandshakeFault;
use crate::telemetry::logs;

/// Reason for which what a proxy sent is no header, in metrics and logs.
const MALFORMED: &str = "malformed";

/// TLS of the ingest listener.
#[derive(Clone)]
pub(in crate::http) struct TlsTransport {
    /// Certificate in force.
    pub(in crate::http) certificate: Arc<CertificateInForce>,
    /// Connections without a session, by listener and reason.
    pub(in crate::http) failures: IntCounterVec,
}

/// Proxies that open each connection with the PROXY protocol.
#[derive(Clone)]
pub(in crate::http) struct ProxyGate {
    /// `server.trusted_proxies`.
    pub(in crate::http) trusted: Arc<[Network]>,
    /// Connections that were closed for the protocol, by reason.
    pub(in crate::http) failures: IntCounterVec,
}

impl ProxyGate {
    /// Returns `true` if the other end is a trusted proxy. A refusal is counted and, sparingly, logged.
    fn admits(&self, peer: Option<SocketAddr>) -> bool {
        let Some(peer) = peer else { return false };
        let mut trusted = self.trusted.iter();
        let admits = trusted.any(|network| network.contains(peer.ip()));
        if !admits {
            self.count("untrusted");
            logs::untrusted_proxy(peer.ip());
        }
        admits
    }

    fn count(&self, reason: &str) {
        self.failures.with_label_values(&[reason]).inc();
    }
}

/// Header of the PROXY protocol that is on its way.
pub(super) struct ProxyHeader {
    socket: TcpStream,
    peer: Option<SocketAddr>,
    read: Vec<u8>,
    gate: ProxyGate,
    tls: Option<TlsTransport>,
}

/// Handshake that is not over.
pub(super) struct PendingHandshake {
    accept: Accept<TcpStream>,
    peer: Option<SocketAddr>,
    failures: IntCounterVec,
}

impl PendingHandshake {
    fn fails(&self, fault: HandshakeFault, cause: &str) {
        let listener = TlsListener::Ingest.label();
        self.failures
            .with_label_values(&[listener, fault.label()])
            .inc();
        if fault == HandshakeFault::Refused {
            logs::handshake_refused(listener, self.peer, cause);
        }
    }
}

/// Way of the bytes of one connection.
pub(super) enum Transport {
    /// The socket itself.
    Plain(TcpStream),
    /// A proxy has to tell its client first.
    Proxied(Box<ProxyHeader>),
    /// A handshake that is not over.
    Handshake(Box<PendingHandshake>),
    /// A session.
    Tls(Box<TlsStream<TcpStream>>),
    /// Nothing can be read or written: the connection is no client's.
    Closed,
}

impl Transport {
    /// Takes a new socket. The proxy speaks first, then comes TLS.
    pub(super) fn new(
        socket: TcpStream,
        peer: Option<SocketAddr>,
        (proxies, tls): (Option<&ProxyGate>, Option<&TlsTransport>),
    ) -> Self {
        match proxies {
            None => Self::unwrapped(socket, peer, tls),
            Some(gate) if gate.admits(peer) => Self::Proxied(Box::new(ProxyHeader {
                socket,
                peer,
                read: Vec::new(),
                gate: gate.clone(),
                tls: tls.cloned(),
            })),
            Some(_) => Self::Closed,
        }
    }

    fn unwrapped(socket: TcpStream, peer: Option<SocketAddr>, tls: Option<&TlsTransport>) -> Self {
        match tls {
            None => Self::Plain(socket),
            Some(tls) => Self::Handshake(Box::new(PendingHandshake {
                accept: tls.certificate.accept(socket),
                peer,
                failures: tls.failures.clone(),
            })),
        }
    }

    /// Returns `true` if what was written may not have reached the socket.
    pub(super) fn keeps_bytes(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Counts what was not over in time: the header of a proxy, or a handshake.
    pub(super) fn times_out(&mut self) {
        match self {
            Self::Proxied(header) => header.gate.count("timeout"),
            Self::Handshake(handshake) => handshake.fails(HandshakeFault::Timeout, ""),
            Self::Plain(_) | Self::Tls(_) | Self::Closed => return,
        }
        *self = Self::Closed;
    }

    /// Goes on with what comes before the first request, until it is over or has failed. Stores the client that a
    /// proxy tells.
    pub(super) fn poll_open(&mut self, progress: &Progress, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Proxied(header) = self {
            let whole = ready!(header.poll_whole(cx));
            let Self::Proxied(header) = std::mem::replace(self, Self::Closed) else {
                return Poll::Ready(());
            };
            match whole {
                Ok(client) => {
                    progress.set_proxied(client);
                    let client = client.or(header.peer);
                    *self = Self::unwrapped(header.socket, client, header.tls.as_ref());
                }
                Err(reason) => {
                    header.gate.count(reason);
                    // A look at our health opens a connection and closes it.
                    if reason == MALFORMED {
                        logs::proxy_header_refused(header.peer, reason);
                    }
                }
            }
        }
        if let Self::Handshake(handshake) = self {
            *self = match ready!(Pin::new(&mut handshake.accept).poll(cx)) {
                Ok(session) => Self::Tls(Box::new(session)),
                Err(error) => {
                    handshake.fails(HandshakeFault::of(&error), &error.to_string());
                    Self::Closed
                }
            };
        }
        Poll::Ready(())
    }
}

impl ProxyHeader {
    /// Reads the header, and no byte of the client's after it. Returns the client, or the reason for which there is none.
    fn poll_whole(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<SocketAddr>, &'static str>> {
        let mut room = [0; LONGEST];
        loop {
            let more = match proxy_header::judge(&self.read) {
                HeaderState::Whole(client) => return Poll::Ready(Ok(client)),
                HeaderState::Malformed => return Poll::Ready(Err(MALFORMED)),
                HeaderState::Needs(more) => more,
            };
            let mut part = ReadBuf::new(&mut room[..more.min(LONGEST)]);
            let read = ready!(Pin::new(&mut self.socket).poll_read(cx, &mut part));
            if read.is_err() || part.filled().is_empty() {
                return Poll::Ready(Err("disconnected"));
            }
            self.read.extend_from_slice(part.filled());
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Tls(session) => match ready!(Pin::new(session).poll_read(cx, buf)) {
                // Closed without TLS's goodbye, as many clients do. HTTP knows the length of each body.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                read => Poll::Ready(read),
            },
            Self::Proxied(_) | Self::Handshake(..) | Self::Closed => Poll::Ready(Ok(())),
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
            Self::Proxied(_) | Self::Handshake(..) | Self::Closed => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(cx),
            Self::Tls(session) => Pin::new(session).poll_flush(cx),
            Self::Proxied(_) | Self::Handshake(..) | Self::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(session) => Pin::new(session).poll_shutdown(cx),
            Self::Proxied(_) | Self::Handshake(..) | Self::Closed => Poll::Ready(Ok(())),
        }
    }
}
