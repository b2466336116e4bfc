//! Configuration as the stages use it: parsed, validated, with units. `config.toml` says what each option trades.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hookweir_signatures::SourceSpec;
use http::HeaderName;
use url::Url;

use super::error::ConfigError;
use super::reader::{Effective, Places};
use super::secret::Secret;
use crate::domain::delivery::SourceName;

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
    /// `[spool]`
    pub spool: Spool,
    /// `[publisher]`
    pub publisher: Publisher,
    /// `[shutdown]` `drain_secs`
    pub drain: Duration,
    /// `[log]`
    pub log: Log,
    /// `[[source]]`
    pub sources: Vec<Source>,
    /// What is allowed but deserves a word at start.
    pub warnings: Vec<String>,
    /// Secrets that this process could not read, and why. Never any where the service starts.
    pub untried: Vec<ConfigError>,
    /// Each option as it was written, and where.
    pub(super) effective: Vec<Effective>,
    pub(super) places: Places,
}

impl Config {
    /// The URL of a source as seen from this machine.
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

/// `[server]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Server {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub workers: usize,
    pub max_connections: usize,
    pub keep_alive: Duration,
    pub head_timeout: Duration,
    pub respond_after: RespondAfter,
}

/// When a sender is answered 200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RespondAfter {
    /// Its events are committed.
    Stored,
    /// The queue has confirmed them, too.
    Published,
}

/// `[limits]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Limits {
    pub in_flight_requests: usize,
    pub in_flight_bytes: usize,
    pub max_body_bytes: usize,
    pub max_header_bytes: usize,
    pub max_events_per_request: usize,
    pub deadline: Duration,
    pub body_timeout: Duration,
    pub min_body_bytes_per_sec: u64,
    pub retry_after_max_secs: u64,
}

/// `[verifier]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Verifier {
    pub actors: usize,
    pub mailbox_capacity: usize,
}

impl Verifier {
    /// Verifiers on threads of their own. One by default on a small machine, where two would only take the core from the HTTP threads.
    pub fn threads(&self) -> usize {
        match (
            self.actors,
            std::thread::available_parallelism().map_or(1, usize::from),
        ) {
            (0, 1 | 2) => 1,
            (0, cores) => cores,
            (actors, _) => actors,
        }
    }
}

/// `[dedup]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Dedup {
    pub mailbox_capacity: usize,
    pub cache_entries: u64,
    pub cache_ttl: Duration,
    pub writers: usize,
    pub batch_events: usize,
    pub batch_bytes: usize,
    pub window: Duration,
}

/// `[store]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Store {
    pub url: StoreUrl,
    pub migrate: Migrate,
    pub schema: String,
    pub connect_timeout: Duration,
    pub statement_timeout: Duration,
    pub allow_unsafe_durability: bool,
    pub keep_events: Duration,
    pub keep_conflicts: Duration,
    pub prune_interval: Duration,
    pub prune_rows: usize,
    pub lease: Duration,
    /// `publisher.retry_max_ms`: no row is due later than that.
    pub longest_retry: Duration,
}

/// Where events are stored.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// The database file.
    Sqlite(PathBuf),
    /// A libpq URL; it may hold a password.
    Postgres(Secret),
}

/// What to do at start with a schema that is not up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Migrate {
    /// Bring it up to date.
    Auto,
    /// Refuse to start.
    Check,
}

/// `[spool]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Spool {
    /// None where it is off, and where the store is not PostgreSQL.
    pub path: Option<PathBuf>,
    pub max_bytes: u64,
    pub max_age: Duration,
    pub after: Duration,
}

/// `[publisher]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Publisher {
    pub url: PublisherUrl,
    pub mailbox_capacity: usize,
    pub queue_events: usize,
    pub queue_bytes: usize,
    pub channels: usize,
    pub window: usize,
    pub max_message_bytes: usize,
    pub connect_timeout: Duration,
    pub confirm_timeout: Duration,
    pub heartbeat: Duration,
    pub retry_min: Duration,
    pub retry_max: Duration,
    pub relay_interval: Duration,
    pub yield_longest: Duration,
    pub exchange: String,
    pub routing_key: String,
    pub declare: bool,
    pub queue: Option<String>,
    pub queue_type: QueueType,
    pub unrouted_queue: String,
    pub file_max_bytes: u64,
    pub file_max_age: Duration,
    pub file_mode: u32,
    pub file_group: Option<String>,
}

/// Where events go.
#[derive(Debug, Clone)]
pub enum PublisherUrl {
    /// A folder of JSON lines.
    File(PathBuf),
    /// An AMQP URL; it may hold a password.
    Amqp(Secret),
}

/// RabbitMQ's kinds of queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "RabbitMQ's own names")]
pub enum QueueType {
    Quorum,
    Classic,
    Stream,
}

/// `[log]`
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Log {
    pub format: LogFormat,
    pub filter: String,
    pub deliveries: LogDeliveries,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub enum LogFormat {
    Auto,
    Pretty,
    Json,
    Journal,
}

/// Which deliveries get a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub enum LogDeliveries {
    All,
    Problems,
    None,
}

/// `[[source]]`: what the operator wrote, with its secrets read. The verifier compiles it.
#[derive(Clone)]
#[expect(missing_docs, reason = "each option is documented in config.toml")]
pub struct Source {
    pub name: SourceName,
    pub path: String,
    pub provider: Option<String>,
    pub secrets: Vec<Secret>,
    pub learn_secret: bool,
    pub public_keys: Vec<Secret>,
    pub jwks: Option<String>,
    pub public_url: Option<String>,
    pub params: BTreeMap<String, String>,
    pub forward_headers: Vec<HeaderName>,
    pub routing_key: Option<String>,
    /// None: as the provider's preset says.
    pub split: Option<bool>,
    /// How long equal bytes under another id are dropped; published with a mark where None.
    pub drop_same_bytes: Option<Duration>,
    pub max_body_bytes: Option<usize>,
    pub deadline: Option<Duration>,
    pub window: Option<Duration>,
    pub allow_unverified_public: bool,
    /// `[source.scheme]`, in the words of a preset.
    pub scheme: Option<toml::Table>,
}

impl Source {
    /// The key of a secret that stands for one that could not be read.
    pub fn unread(&self) -> Option<String> {
        let first = |list: &[Secret], key: &str| {
            list.iter()
                .position(Secret::is_unread)
                .map(|at| format!("{key}[{at}]"))
        };
        first(&self.secrets, "secrets").or_else(|| first(&self.public_keys, "public_keys"))
    }
}

impl Source {
    /// Scheme and keys, as the signature engine takes them.
    pub fn spec(&self) -> SourceSpec {
        SourceSpec {
            provider: self.provider.clone(),
            scheme: self.scheme.clone(),
            secrets: self.secrets.clone(),
            learn_secret: self.learn_secret,
            public_keys: self.public_keys.clone(),
            jwks: self.jwks.clone(),
            public_url: self.public_url.clone(),
            params: self.params.clone(),
            split: self.split,
            routes_by_type: self
                .routing_key
                .as_ref()
                .is_none_or(|key| key.contains("{type}")),
            max_body_bytes: self.max_body_bytes,
        }
    }
}

/// Shows only what names a source: `params`, `scheme` and URLs may hold what others must not see.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
