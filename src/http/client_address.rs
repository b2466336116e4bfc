//! Address of the client behind the proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use actix_http::Request as Head;
use actix_http::header::{HeaderMap, HeaderName};

use super::server;
use crate::domain::network::Network;

/// Header in which a proxy appends the address that it was asked from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the address of the client: of the connection or, if that is a trusted proxy, the last one in
/// `X-Forwarded-For` that is none. Anybody may write the entries before it.
pub(super) fn client_address(head: &Head, trusted: &[Network]) -> Option<IpAddr> {
    let peer = server::peer(head)?;
    Some(behind(peer, head.head().headers(), trusted))
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let lines: Vec<&str> = headers
        .get_all(FORWARDED_FOR)
        .filter_map(|line| line.to_str().ok())
        .collect();
    let entries = lines.iter().rev().flat_map(|line| line.rsplit(','));
    for entry in entries {
        // A proxy that does not tell hides its own client.
        let Some(ip) = address_of(entry.trim()) else {
            break;
        };
        client = ip.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// Returns the address of an entry: `203.0.113.7`, `203.0.113.7:4711`, `[2001:db8::1]:4711`.
fn address_of(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let with_port = || entry.parse().ok().map(|of: SocketAddr| of.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn client(peer: &str, lines: &[&'static str]) -> String {
        let trusted = ["10.0.0.0/8", "::1"].map(|text| text.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_static(line));
        }
        behind(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn a_trusted_proxy_names_its_client_and_nobody_else_does() {
        assert_eq!(client("203.0.113.7", &["198.51.100.1"]), "203.0.113.7");
        assert_eq!(client("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            client("::ffff:10.0.0.1", &["198.51.100.1:4711"]),
            "198.51.100.1"
        );
        assert_eq!(client("::1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_writes_into_the_header_counts_for_nothing() {
        let forged = "3.18.12.63, 198.51.100.1, 10.0.0.2";
        assert_eq!(client("10.0.0.1", &[forged]), "198.51.100.1");
        assert_eq!(
            client("10.0.0.1", &["3.18.12.63", "198.51.100.1"]),
            "198.51.100.1"
        );
        assert_eq!(
            client("10.0.0.1", &["3.18.12.63, unknown, 10.0.0.2"]),
            "10.0.0.2"
        );
        assert_eq!(client("10.0.0.1", &["3.18.12.63, "]), "10.0.0.1");
    }
}
