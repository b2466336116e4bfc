//! `[server]`

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::define::{section, words};
use crate::config::option::{Address, Count, Flag, Millis, Networks, Secs, one_of};
use crate::domain::network::Network;

section! {
    /// Listeners and their connections.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Server {
        /// Address for providers, as host:port. On a public address, Hookweir refuses a source without
        /// verification, and has no demo source.
        pub listen: SocketAddr = "server.listen", Address, "127.0.0.1:8420";
        /// Address for health and metrics, as host:port. Both are shown without a login: keep the address
        /// on loopback or on a private network. With admin.tokens, the admin API is there, too.
        pub admin_listen: SocketAddr = "server.admin_listen", Address, "127.0.0.1:8421";
        /// Proxies whose word counts for a client's address: X-Forwarded-For, and the PROXY protocol. The address
        /// stands in the quarantine, and is compared with allow_from and client_rate_limit_per_sec of a source.
        pub trusted_proxies: Vec<Network> = "server.trusted_proxies", Networks, [];
        /// true demands the PROXY protocol (1 or 2) at the start of each connection to server.listen, before TLS.
        /// A connection from elsewhere than trusted_proxies is closed.
        pub proxy_protocol: bool = "server.proxy_protocol", Flag, false;
        /// Number of HTTP threads; 0 is one per core. More threads help only while cores are idle.
        pub workers: usize = "server.workers", Count(0..=1024), 0;
        /// Connections open at once. When full, new connections wait in the kernel; above 80 %, the
        /// longest idle ones are closed. An idle connection takes about 10 KB, a hostile one up to 90 KB, and 96 KB more under TLS.
        /// If the limit of file descriptors allows fewer, that limit holds, and the log says so.
        pub max_connections: usize = "server.max_connections", Count(1..=1_000_000), 4096;
        /// Time that an idle connection is kept for the next request. Higher values save providers a
        /// handshake, lower values save connections.
        pub keep_alive: Duration = "server.keep_alive_secs", Secs(1..=3600), 75;
        /// Time to send a request's head. Lower values disconnect silent clients sooner.
        pub head_timeout: Duration = "server.head_timeout_ms", Millis(100..=60_000), 5000;
        /// Condition for a 200. "stored": the event is on disk, and will reach the queue. "published": the
        /// queue has confirmed it, too. Without a confirm by the deadline the sender gets 503, and its
        /// redelivery gets 200 after the confirm. "published" adds the latency of the queue, and passes its
        /// outages on to the senders: the spool is off, and each redelivery asks the database.
        pub respond_after: RespondAfter = "server.respond_after", one_of::<RespondAfter>(), "stored";
    }
}

words! {
    /// Moment at which a sender is answered 200.
    pub enum RespondAfter {
        /// Its events are committed.
        Stored = "stored",
        /// The queue has confirmed them, too.
        Published = "published",
    }
}
