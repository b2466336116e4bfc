//! Ports for processes that tests start, stop and start again.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range that outgoing connections are given. In that range a client that keeps trying to reach a
/// stopped server can be given the server's own port, and talk to itself. The servers of `tests/servers` have the
/// ports from 10000 on.
const PORTS: Range<u16> = 20_000..30_000;

const COUNT: u16 = PORTS.end - PORTS.start;

/// Place of the next port in [`PORTS`]. Another process begins elsewhere.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..COUNT)));

/// A loopback address nobody listens on. The process gives no address twice before it has given all the others.
pub fn free_address() -> SocketAddr {
    // By connecting: a socket bound for a try would live on in any process that another test is just starting.
    let nobody_listens = |address: &SocketAddr| TcpStream::connect(address).is_err();
    (0..100)
        .map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, next())))
        .find(nobody_listens)
        .expect("a free port between 20000 and 30000")
}

fn next() -> u16 {
    let place = NEXT
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |place| {
            Some((place + 1) % COUNT)
        })
        .expect("each place has a next one");
    PORTS.start + place
}

#[cfg(test)]
mod tests {
    use super::free_address;

    #[test]
    fn two_services_that_start_at_once_are_given_ports_of_their_own() {
        let given: std::collections::HashSet<_> = (0..2_000).map(|_| free_address()).collect();
        assert_eq!(given.len(), 2_000);
    }
}
