//! Configuration as the stages use it: parsed, validated, with units.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

use super::error::ConfigError;
use super::reader::Reader;
use super::report::{Effective, Places};
pub use super::sections::*;

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[limits]`
    pub limits: Limits,
    /// `[verifier]`
    pub verifier: Verifier,
    /// `[dedup]`
    pub dedup: Dedup,
    /// `[store]`
    pub store: Store,
    /// `[spool]`; its path is `None` if the spool is off.
    pub spool: Spool,
    /// `[publisher]`
    pub publisher: Publisher,
    /// `[lakehouse]`
    pub lakehouse: Lakehouse,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[log]`
    pub log: Log,
    /// `[[source]]`
    pub sources: Vec<Source>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Secrets that this process could not read, and why. None if the service starts.
    pub untried: Vec<ConfigError>,
    /// Each option as it was written, and where.
    pub(super) effective: Vec<Effective>,
    pub(super) places: Places,
}

impl Config {
    /// Reads all sections. Sources are read apart.
    pub(super) fn sections(r: &mut Reader<'_>) -> Self {
        let server = Server::read(r)();
        let limits = Limits::read(r)();
        let verifier = Verifier::read(r)();
        let dedup = Dedup::read(r)();
        let store = Store::read(r);
        let mut spool = Spool::read(r)();
        let publisher = Publisher::read(r);
        let rabbitmq = RabbitmqOptions::read(r)();
        let kafka = KafkaOptions::read(r)(limits.max_body_bytes);
        let publisher = publisher(rabbitmq, kafka, FileSinkOptions::read(r)());
        let store = store(publisher.retry_max);
        let spools = matches!(store.url, StoreUrl::Postgres(_))
            && server.respond_after == RespondAfter::Stored;
        spool.path = spool.path.filter(|_| spools);
        Self {
            server,
            limits,
            verifier,
            dedup,
            store,
            spool,
            publisher,
            lakehouse: Lakehouse::read(r)(),
            shutdown: Shutdown::read(r)(),
            log: Log::read(r)(),
            sources: Vec::new(),
            warnings: Vec::new(),
            untried: Vec::new(),
            effective: Vec::new(),
            places: Places::new(),
        }
    }

    /// Returns the URL of a source as seen from this machine.
    pub fn local_url(&self, source: &Source) -> Result<Url, String> {
        let listen = self.server.listen;
        let host = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let url = format!(
            "http://{}/ingest/{}",
            SocketAddr::new(host, listen.port()),
            source.path
        );
        Url::parse(&url).map_err(|error| format!("{url} is not a URL: {error}"))
    }
}
