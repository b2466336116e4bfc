//! Address of the client behind the proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use actix_http::Request as Head;
use actix_http::header::{HeaderMap, HeaderName, HeaderValue};

use super::server;
use crate::domain::network::Network;

/// Header in which a proxy appends the address that it was asked from.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Returns the address of the client: of the connection or, if that is a trusted proxy, the last one in
/// `X-Forwarded-For` that is none. Anybody may write the entries before it. None: a proxy does not tell.
pub(super) fn client_address(head: &Head, trusted: &[Network]) -> Option<IpAddr> {
    behind(server::peer(head)?, head.head().headers(), trusted)
}

fn behind(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(ip));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return Some(client);
    }
    let lines: Vec<&HeaderValue> = headers.get_all(FORWARDED_FOR).collect();
    let lines = lines.iter().rev().map(|line| line.as_bytes());
    for entry in lines.flat_map(|line| line.rsplit(|byte| *byte == b',')) {
        let entry = std::str::from_utf8(entry).ok()?;
        client = address_of(entry.trim())?.to_canonical();
        if !is_trusted(client) {
            break;
        }
    }
    Some(client)
}

/// Returns the address of an entry: `203.0.113.7`, `203.0.113.7:4711`, `[2001:db8::1]:4711`.
fn address_of(entry: &str) -> Option<IpAddr> {
    let bare = entry.trim_start_matches('[').trim_end_matches(']');
    let with_port = || entry.parse().ok().map(|of: SocketAddr| of.ip());
    bare.parse().ok().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(peer: &str, lines: &[&[u8]]) -> Option<String> {
        let trusted = ["10.0.0.0/8", "::1"].map(|text| text.parse().expect("a network"));
        let mut headers = HeaderMap::new();
        for line in lines {
            let line = HeaderValue::from_bytes(line).expect("a value");
            headers.append(FORWARDED_FOR, line);
        }
        let client = behind(peer.parse().expect("an address"), &headers, &trusted);
        client.map(|ip| ip.to_string())
    }

    fn client(peer: &str, lines: &[&[u8]]) -> String {
        client_of(peer, lines).expect("an address")
    }

    #[test]
    fn a_trusted_proxy_names_its_client_and_nobody_else_does() {
        assert_eq!(
            client("203.0.113.7", &[&b"198.51.100.1"[..]]),
            "203.0.113.7"
        );
        assert_eq!(client("10.0.0.1", &[&b"198.51.100.1"[..]]), "198.51.100.1");
        let mapped = client("::ffff:10.0.0.1", &[&b"198.51.100.1:4711"[..]]);
        assert_eq!(mapped, "198.51.100.1");
        assert_eq!(client("::1", &[&b"[2001:db8::1]:443"[..]]), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_client_writes_into_the_header_counts_for_nothing() {
        let forged = b"3.18.12.63, 198.51.100.1, 10.0.0.2";
        assert_eq!(client("10.0.0.1", &[&forged[..]]), "198.51.100.1");
        let two_lines: [&[u8]; 2] = [b"3.18.12.63", b"198.51.100.1"];
        assert_eq!(client("10.0.0.1", &two_lines), "198.51.100.1");
        let bytes: [&[u8]; 2] = [b"3.18.12.63", b"\xff, 198.51.100.1"];
        assert_eq!(client("10.0.0.1", &bytes), "198.51.100.1");
    }

    #[test]
    fn a_proxy_that_does_not_tell_leaves_its_client_unknown() {
        for line in [
            &b"3.18.12.63, unknown, 10.0.0.2"[..],
            b"3.18.12.63, ",
            b"3.18.12.63, \xff",
        ] {
            assert_eq!(
                client_of("10.0.0.1", &[line]),
                None,
                "{}",
                line.escape_ascii()
            );
        }
    }
}
