//! Configuration as the stages use it: parsed, validated, with units.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Url;

use super::error::ConfigError;
use super::reader::Reader;
use super::report::{Effective, Places};
pub use super::sections::*;
use super::sinks;
use crate::domain::delivery::SourceName;
use crate::domain::sink::{SinkName, Sinks};

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[tls]`
    pub tls: Tls,
    /// `[admin]`; its socket is `None` if the admin API is off.
    pub admin: AdminApi,
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
    /// `[quarantine]`
    pub quarantine: Quarantine,
    /// `[publisher]`, if it has a URL or is alone, and each `[[sink]]`. At least one, if there is no
    /// mistake.
    pub sinks: Vec<Publisher>,
    /// The first sink.
    pub first_sink: Publisher,
    /// `[lakehouse]`
    pub lakehouse: Lakehouse,
    /// `[shutdown]`
    pub shutdown: Shutdown,
    /// `[log]`
    pub log: Log,
    /// `[traces]`
    pub traces: Traces,
    /// `[[source]]`
    pub sources: Vec<Source>,
    /// Files that it was read from.
    pub files: Vec<String>,
    /// Warnings for the operator.
    pub warnings: Vec<String>,
    /// Secrets that this process could not read, and why. None if the service starts.
    pub untried: Vec<ConfigError>,
    /// Each option as it was written, and where.
    pub(super) effective: Vec<Effective>,
    pub(super) places: Places,
    /// Sources that a reload has removed, and whose topic, key or size Kafka sinks know until a restart.
    pub(super) known_to_kafka: Vec<SourceName>,
}

impl Config {
    /// Reads all sections. Returns `[publisher]` beside them. Sinks and sources are read apart.
    pub(super) fn sections(r: &mut Reader<'_>) -> (Self, Publisher) {
        let server = Server::read(r)();
        let tls = Tls::read(r)();
        let admin = AdminApi::read(r)();
        let limits = Limits::read(r)();
        let verifier = Verifier::read(r)();
        let dedup = Dedup::read(r)();
        let store = Store::read(r);
        let mut spool = Spool::read(r)();
        let quarantine = Quarantine::read(r)();
        let name = (SinkName::default(), "publisher".to_owned());
        let publisher = sinks::publisher(r, name, limits.max_body_bytes);
        let store = store(publisher.retry_max, quarantine.keep);
        let spools = matches!(store.url, StoreUrl::Postgres(_))
            && server.respond_after == RespondAfter::Stored;
        spool.path = spool.path.filter(|_| spools);
        let config = Self {
            server,
            tls,
            admin,
            limits,
            verifier,
            dedup,
            store,
            spool,
            quarantine,
            sinks: Vec::new(),
            first_sink: publisher.clone(),
            lakehouse: Lakehouse::read(r)(),
            shutdown: Shutdown::read(r)(),
            log: Log::read(r)(),
            traces: Traces::read(r)(),
            sources: Vec::new(),
            files: Vec::new(),
            warnings: Vec::new(),
            untried: Vec::new(),
            effective: Vec::new(),
            places: Places::new(),
            known_to_kafka: Vec::new(),
        };
        (config, publisher)
    }

    /// Adds the sinks, which were read after the sections.
    pub(super) fn add_sinks(&mut self, sinks: Vec<Publisher>) {
        let longest = sinks.iter().map(|sink| sink.retry_max).max();
        self.store.longest_retry = longest.unwrap_or(self.store.longest_retry);
        if let Some(first) = sinks.first() {
            self.first_sink = first.clone();
        }
        self.sinks = sinks;
    }

    /// Collects the headers that each source has to store. Call it after a source was added.
    pub fn collect_headers(&mut self) {
        for source in &mut self.sources {
            let mut headers = source.forward_headers.clone();
            let sinks = self.sinks.iter().filter(|sink| sink.gets(source));
            for header in sinks.flat_map(|sink| &sink.forward_headers) {
                if !headers.contains(header) {
                    headers.push(header.clone());
                }
            }
            source.stored_headers = headers;
        }
    }

    /// Returns the sink that the lakehouse reads.
    pub fn lakehouse_sink(&self) -> &Publisher {
        let name = self.lakehouse.sink.as_deref();
        let named = self.sinks.iter().find(|s| Some(s.name.as_str()) == name);
        named.unwrap_or(&self.first_sink)
    }

    /// Returns the names of the sinks, with the events that go to each.
    pub fn routes(&self) -> Result<Sinks, String> {
        let sinks = self
            .sinks
            .iter()
            .map(|sink| (sink.name.clone(), sink.filter()));
        let sources = self.sources.iter();
        let routes = sources.map(|source| (source.name.clone(), source.route()));
        let orders = self.sinks.iter().map(|sink| sink.ordered.clone()).collect();
        Ok(Sinks::routed(sinks.collect(), routes.collect())?.with_orders(orders))
    }

    /// Returns the URL of a source as seen from this machine.
    pub fn local_url(&self, source: &Source) -> Result<Url, String> {
        let scheme = self.scheme(TlsListener::Ingest);
        let listen = from_here(self.server.listen);
        let url = format!("{scheme}://{listen}/ingest/{}", source.path);
        Url::parse(&url).map_err(|error| format!("{url} is not a URL: {error}"))
    }

    /// Returns the URL of `/readyz` as seen from this machine.
    pub fn local_health_url(&self) -> String {
        let scheme = self.scheme(TlsListener::Admin);
        format!("{scheme}://{}/readyz", from_here(self.server.admin_listen))
    }

    /// Returns the scheme of a listener's URLs.
    pub fn scheme(&self, listener: TlsListener) -> &'static str {
        match self.tls.is_on(listener) {
            true => "https",
            false => "http",
        }
    }
}

/// Returns the address at which this machine reaches a listener.
fn from_here(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(host, listen.port())
}
