//! Lines about senders and their addresses. They are bounded: anybody can provoke them.

use std::net::{IpAddr, SocketAddr};

use crate::domain::request_id::RequestId;
use crate::domain::text::one_line;
use crate::telemetry::SourceMetrics;
use crate::telemetry::line_limit::{Admitted, LineLimit};

/// Logs a connection that was closed, since it is not from a proxy that may speak the PROXY protocol.
pub fn untrusted_proxy(peer: IpAddr) {
    static LINES: LineLimit = LineLimit::new();
    if let Admitted::Yes { left_out } = LINES.admit_now() {
        tracing::warn!(
            target: "hookweir::http",
            %peer,
            left_out,
            "closed a connection from {peer}: server.proxy_protocol is on, and the address is not in server.trusted_proxies; nothing was read from it"
        );
    }
}

/// Logs a delivery that was taken from an address that is not in `allow_from` of its source.
pub fn address_missed(source: &SourceMetrics, request_id: RequestId, address: &str) {
    if let Admitted::Yes { left_out } = source.lines.admit_now() {
        tracing::warn!(
            target: "hookweir::domain::delivery",
            source = %source.source(),
            %request_id,
            address,
            left_out,
            "{address} is not in allow_from of the source {}; its deliveries are taken, since allow_from_mode is \"observe\"",
            source.source()
        );
    }
}

/// Logs a handshake of TLS in which one of the two sides refused the other.
pub fn handshake_refused(listener: &str, peer: Option<SocketAddr>, cause: &str) {
    static LINES: LineLimit = LineLimit::new();
    if let Admitted::Yes { left_out } = LINES.admit_now() {
        let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        let cause = one_line(cause);
        tracing::info!(
            target: "hookweir::http",
            listener,
            peer,
            left_out,
            "no TLS session at the {listener} listener with {peer}: {cause}; if a client does not know the authority, the listener's certificate \
             lacks an intermediate"
        );
    }
}

/// Logs a connection of a trusted proxy that began with no header of the PROXY protocol.
pub fn proxy_header_refused(peer: Option<SocketAddr>, reason: &str) {
    static LINES: LineLimit = LineLimit::new();
    if let Admitted::Yes { left_out } = LINES.admit_now() {
        let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        tracing::warn!(
            target: "hookweir::http",
            peer,
            reason,
            left_out,
            "closed a connection of the proxy {peer}: its header of the PROXY protocol is {reason}; turn the protocol on there, or server.proxy_protocol off"
        );
    }
}
