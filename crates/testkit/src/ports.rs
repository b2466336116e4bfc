//! Ports for processes that tests start, stop and start again.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

/// A loopback address nobody listens on, with a port from below the range that outgoing connections are given. (In that range a client
/// that keeps trying to reach a stopped server can be given the server's own port, and talk to itself.)
pub fn free_address() -> SocketAddr {
    // By connecting: a socket bound for a try would live on in any process that another test is just starting.
    let nobody_listens = |address: &SocketAddr| TcpStream::connect(address).is_err();
    let mut candidates =
        (0..100).map(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(10_000..30_000))));
    candidates
        .find(nobody_listens)
        .expect("a free port between 10000 and 30000")
}
