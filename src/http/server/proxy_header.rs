//! The PROXY protocol: the header in which a proxy tells its client's address, in version 1 (text) or 2 (binary).
//! <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Start of a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Length of a header of version 2 before its addresses.
const FIXED: usize = 16;

/// Bytes that every header has, of either version.
const SHORTEST: usize = 13;

/// Longest header of version 1, with its end of line.
const LONGEST_LINE: usize = 107;

/// Longest header of version 2 that is taken: addresses, and what a proxy adds to them.
pub(super) const LONGEST: usize = FIXED + 2048;

/// Progress of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// So many bytes have to come, and no byte more may be read: the next one is the client's.
    Needs(usize),
    /// It is whole. None: the proxy speaks for itself, or does not know its client.
    Whole(Option<SocketAddr>),
    /// It is none.
    Malformed,
}

/// Judges the bytes that have come.
pub(super) fn judge(read: &[u8]) -> HeaderState {
    let is_v2 = SIGNATURE.starts_with(&read[..read.len().min(SIGNATURE.len())]);
    let is_v1 = b"PROXY ".starts_with(&read[..read.len().min(6)]);
    match (is_v1, is_v2) {
        (true, true) => HeaderState::Needs(SHORTEST),
        (_, true) => version_2(read),
        (true, false) => version_1(read),
        (false, false) => HeaderState::Malformed,
    }
}

fn version_1(read: &[u8]) -> HeaderState {
    if !read.ends_with(b"\r\n") {
        return match read.len() {
            length if length < SHORTEST => HeaderState::Needs(SHORTEST - length),
            length if length < LONGEST_LINE => HeaderState::Needs(1),
            _ => HeaderState::Malformed,
        };
    }
    let line = std::str::from_utf8(&read[..read.len() - 2]).unwrap_or_default();
    let parts: Vec<&str> = line.split(' ').collect();
    match parts[..] {
        ["PROXY", "UNKNOWN", ..] => HeaderState::Whole(None),
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            client,
            server,
            port,
            server_port,
        ] => {
            let address = |text: &str| {
                text.parse()
                    .ok()
                    .filter(|ip: &IpAddr| ip.is_ipv4() == (family == "TCP4"))
            };
            let number = |text: &str| text.parse::<u16>().ok();
            match (
                address(client),
                address(server),
                number(port),
                number(server_port),
            ) {
                (Some(client), Some(_), Some(port), Some(_)) => {
                    HeaderState::Whole(Some(SocketAddr::new(client, port)))
                }
                _ => HeaderState::Malformed,
            }
        }
        _ => HeaderState::Malformed,
    }
}

fn version_2(read: &[u8]) -> HeaderState {
    let Some(fixed) = read.first_chunk::<FIXED>() else {
        return HeaderState::Needs(FIXED - read.len());
    };
    let [.., version, family, high, low] = *fixed;
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if version >> 4 != 2 || FIXED + rest > LONGEST {
        return HeaderState::Malformed;
    }
    if read.len() < FIXED + rest {
        return HeaderState::Needs(FIXED + rest - read.len());
    }
    let addresses = &read[FIXED..];
    match (version & 0xf, family) {
        // Of the proxy itself, such as a look at our health.
        (0, _) => HeaderState::Whole(None),
        (1, 0x11) => match addresses.first_chunk::<12>() {
            Some(&[a, b, c, d, _, _, _, _, high, low, ..]) => {
                whole(Ipv4Addr::new(a, b, c, d).into(), [high, low])
            }
            None => HeaderState::Malformed,
        },
        (1, 0x21) => match (addresses.first_chunk::<16>(), addresses.get(32..34)) {
            (Some(client), Some(&[high, low])) => {
                whole(Ipv6Addr::from(*client).into(), [high, low])
            }
            _ => HeaderState::Malformed,
        },
        // Of another protocol than TCP over IP: the address is not known.
        (1, _) => HeaderState::Whole(None),
        _ => HeaderState::Malformed,
    }
}

fn whole(client: IpAddr, port: [u8; 2]) -> HeaderState {
    HeaderState::Whole(Some(SocketAddr::new(client, u16::from_be_bytes(port))))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds bytes as a socket would, never more than are asked for. Returns the verdict and the bytes that were read.
    fn feed(bytes: &[u8]) -> (HeaderState, usize) {
        let mut read = 0;
        loop {
            match judge(&bytes[..read]) {
                HeaderState::Needs(more) if read + more <= bytes.len() => read += more,
                state => return (state, read),
            }
        }
    }

    fn v2(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).expect("short").to_be_bytes();
        [SIGNATURE, &[0x20 | command, family][..], &length, addresses].concat()
    }

    #[test]
    fn both_versions_are_read_to_their_last_byte_and_not_beyond() {
        let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\nPOST / HTTP/1.1\r\n";
        let client = "203.0.113.7:4711".parse().ok();
        assert_eq!(feed(line), (HeaderState::Whole(client), 43));
        let line = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n\r\n";
        let client = "[2001:db8::7]:4711".parse().ok();
        assert_eq!(feed(line), (HeaderState::Whole(client), 45));
        let unknown = b"PROXY UNKNOWN\r\nPOST / HTTP/1.1\r\n";
        assert_eq!(feed(unknown), (HeaderState::Whole(None), 15));

        let v4 = [203, 0, 113, 7, 192, 0, 2, 1, 0x12, 0x67, 1, 187];
        let more = [&v2(1, 0x11, &v4)[..], b"POST"].concat();
        let client = "203.0.113.7:4711".parse().ok();
        assert_eq!(feed(&more), (HeaderState::Whole(client), 28));
        let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
        assert_eq!(
            feed(&v2(1, 0x11, &with_tlv)),
            (HeaderState::Whole(client), 32)
        );
        let v6: Vec<u8> = [
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).octets(),
            Ipv6Addr::LOCALHOST.octets(),
        ]
        .concat();
        let v6 = [&v6[..], &[0x12, 0x67, 1, 187]].concat();
        let client = "[2001:db8::7]:4711".parse().ok();
        assert_eq!(feed(&v2(1, 0x21, &v6)), (HeaderState::Whole(client), 52));
        assert_eq!(
            feed(&v2(0, 0, &[])),
            (HeaderState::Whole(None), 16),
            "of the proxy itself"
        );
        assert_eq!(
            feed(&v2(1, 0x31, &[0; 216])),
            (HeaderState::Whole(None), 232),
            "a Unix socket"
        );
    }

    #[test]
    fn what_is_no_header_is_told_as_early_as_it_can_be() {
        for wrong in [
            &b"POST /ingest/github HTTP/1.1\r\n"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00",
            b"PROXY TCP4 2001:db8::7 192.0.2.1 4711 443\r\n",
            b"PROXY TCP4 203.0.113.7 192.0.2.1 99999 443\r\n",
            b"PROXY TCP4 203.0.113.7\r\n",
            b"PROXY TCP9 203.0.113.7 192.0.2.1 1 2\r\n",
            b"PROXY\tTCP4 203.0.113.7 192.0.2.1 1 2\r\n",
            &[b"PROXY TCP4 ", &[b'1'; 200][..]].concat(),
            &v2(1, 0x11, &[1, 2, 3]),
            &v2(1, 0x21, &[0; 33]),
            &v2(2, 0x11, &[0; 12]),
            &v2(1, 0x11, &[0; 4000]),
        ] {
            let (state, read) = feed(wrong);
            assert_eq!(state, HeaderState::Malformed, "{}", wrong.escape_ascii());
            assert!(read <= LONGEST, "{read}");
        }
        assert_eq!(judge(b""), HeaderState::Needs(SHORTEST));
        assert_eq!(judge(b"PROXY TCP4 2"), HeaderState::Needs(1));
    }
}
