//! The guarded transport: HTTP/1.1 on a socket under bounds that actix does not keep. Knows neither
//! sources nor outcomes.
//!
//! The bounds: connections, a timeout and a size for each head, a rate and a size for each body,
//! bytes read ahead, and a timeout for a client that takes no byte of its response. The product is
//! a [`Handler`] on each thread.

mod body;
mod connection;
mod connections;
mod descriptors;
mod listen;
mod progress;
mod proxy_header;
mod request_guard;
mod transport;

use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;

use actix_http::body::{BoxBody, MessageBody};
use actix_http::{Request, Response};

use self::progress::{Progress, ProxiedClient};

pub(super) use body::{BodyFault, Claim, Rate, Size, read, skip};
pub(super) use connection::LINGER;
pub use connection::connection_bytes;
pub use descriptors::check as check_descriptors;
pub(super) use listen::{Bounds, serve};
pub(super) use progress::HeadTimeouts;
pub(super) use request_guard::RequestGuard;
pub(super) use transport::{ProxyGate, TlsTransport};

/// Reason why no request could be read on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum HeadFault {
    /// The head did not come in time.
    TooSlow,
    /// The head is larger than its limit.
    TooLarge,
}

/// Returns the address of the other end of a request's connection: the one that the PROXY protocol has told, or the
/// socket's. None: a proxy has not told its client.
pub(super) fn peer(request: &Request) -> Option<IpAddr> {
    let progress = request.conn_data::<Rc<Progress>>();
    match progress.map_or(ProxiedClient::Direct, |progress| progress.proxied()) {
        ProxiedClient::Direct => request.peer_addr().map(|peer| peer.ip()),
        ProxiedClient::Told(client) => Some(client.ip()),
        ProxiedClient::Unknown => None,
    }
}

/// The product behind the transport, one on each HTTP thread.
pub(super) trait Handler: 'static {
    /// Body of a response.
    type Body: MessageBody + 'static;

    /// Returns the head if a client that waits for "100 Continue" is to send its body, else the
    /// refusal.
    fn before_continue(&self, head: Request) -> Result<Request, Response<BoxBody>>;

    /// Answers one request.
    fn handle(
        self: Rc<Self>,
        request: Request,
    ) -> impl Future<Output = Result<Response<Self::Body>, Infallible>>;

    /// Returns a whole response, as bytes, for a connection on which no request could be read.
    fn refuse_head(&self, fault: HeadFault) -> Vec<u8>;
}
