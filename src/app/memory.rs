//! The memory bound: what the configuration lets the process take at most, part by part.
//!
//! Each part is a product of options and of facts about the libraries, so that an operator sees which option to lower. It bounds the
//! worst case, in which every client is hostile at the same time; ordinary use stays far below.

use std::fmt;
use std::thread::available_parallelism;

use crate::admin::CONNECTIONS;
use crate::config::Config;
use crate::config::model::{Publisher, PublisherUrl, StoreUrl, TlsListener};
use crate::http::connection_bytes;
use crate::lakehouse;
use crate::operate::HELD_BYTES;
use crate::publish::sinks::KAFKA_CHANNELS;
use crate::quarantine::BATCH_BYTES;
use crate::runtime::certificate::SESSION_BYTES;
use crate::source::{CLIENT_BYTES, CLIENTS};
use crate::spool::EVENT_OVERHEAD;
use crate::store::catalog::PAGE;
use crate::telemetry::{log_queue, traces};
use hookweir_signatures::spec_of;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// A connection's own state, its write buffer and its socket, on top of what `http` reads from it.
const CONNECTION_STATE: u64 = 16 * KIB;
/// Bytes kept for a request besides its body and its headers.
const REQUEST_STATE: u64 = 8 * KIB;
/// A key and a digest in moka, with their entries in its order queues: measured with 500,000 of them.
const CACHE_ENTRY: u64 = 400;
/// A row and its event without body and headers.
const EVENT_STATE: u64 = KIB;
/// Rust's default; only what is touched becomes memory.
const THREAD_STACK: u64 = 2 * MIB;
/// Threads that are there whatever is configured: main, logs, the relay, settling, pruning, leases, the admin listener, signals, decompressing, jobs.
const FIXED_THREADS: u64 = 14;
/// A connection to a SQLite file: its page cache (16 MiB) and a statement's memory.
const SQLITE_CONNECTION: u64 = 20 * MIB;
/// libpq's buffers, besides what a statement carries.
const POSTGRES_CONNECTION: u64 = MIB;
/// Connections to PostgreSQL besides those of the writers: settling, the relay, the keeper's two, draining, learned secrets, fetched keys,
/// jobs.
const OTHER_POSTGRES_CONNECTIONS: u64 = 8;
/// A client of Kafka's library: its threads, buffers and metadata. An estimate: no run has measured it.
const KAFKA_CLIENT: u64 = 8 * MIB;
/// Clients of Kafka besides those of the channels: one watches the cluster, one creates and describes topics.
const OTHER_KAFKA_CLIENTS: u64 = 2;
/// Threads of a further sink: its actor, its connection, its relay and its confirm writer.
const SINK_THREADS: u64 = 4;
/// Connections to PostgreSQL of a further sink: its relay and its confirm writer.
const SINK_CONNECTIONS: u64 = 2;
/// Bytes of a source whose deliveries name keys: a stack, names that were seen, and fetched keys.
const NAMED_KEYS: u64 = MIB;
/// Bytes of memory for an event in the spool: an entry in a set for each of its keys.
const SPOOLED_KEYS: u64 = 3 * 20;
/// The program, its tables, TLS roots, metrics.
const BASE: u64 = 48 * MIB;

/// A connection to the admin API: its state, its buffers, and a request with events that are imported.
const ADMIN_CONNECTION: u64 = 64 * KIB + MIB;
/// An event in an answer of the admin API: as read, as values, and as text.
const ADMIN_EVENT: u64 = 8 * KIB;
/// Copies of the one body that the admin API hands out at a time: as read, and as sent.
const ADMIN_BODY_COPIES: u64 = 2;
/// Copies of the unrouted messages that one question holds: as taken, and as sent.
const UNROUTED_COPIES: u64 = 2;
/// Threads of the admin API besides those that answer questions: one accepts, one reads requests.
const ADMIN_THREADS: u64 = 2;

/// Copies of a commit's events: as read, as columns, and encoded.
const LAKEHOUSE_COPIES: u64 = 4;
/// Bytes of a known id, twice while they are sorted.
const KNOWN_ID: u64 = 16;
/// Row groups that a compaction reads and writes.
const COMPACTION: u64 = 64 * MIB;

/// A part of the bound: its name with the options that make it, and its bytes.
type Part = (&'static str, u64);

/// Upper bound of the memory of the process, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryBound {
    /// Parts of the bound: name with the options that make it, and bytes.
    pub parts: Vec<(&'static str, u64)>,
    /// Sum of the parts.
    pub total: u64,
}

impl MemoryBound {
    /// Returns the bound of a configuration.
    pub fn of(config: &Config) -> Self {
        let cores = available_parallelism().map_or(1, |cores| cores.get() as u64);
        Self::on(config, cores)
    }

    fn on(config: &Config, cores: u64) -> Self {
        let mut parts = requests(config);
        parts.extend(publishing(config));
        parts.extend(lakehouse_writer(config));
        parts.extend(admin_api(config));
        parts.extend(admin_sessions(config));
        parts.extend(quarantine(config));
        parts.extend(process(config, cores));
        let sum = |parts: &[Part]| parts.iter().map(|(_, bytes)| bytes).sum();
        let in_use: u64 = sum(&parts);
        parts.push(("what the allocator keeps of it (a tenth)", in_use / 10));
        Self {
            total: sum(&parts),
            parts,
        }
    }
}

/// Returns the parts of the lakehouse's writer, if it runs in this process.
fn lakehouse_writer(config: &Config) -> Vec<Part> {
    if !lakehouse::runs_in_serve(config) {
        return Vec::new();
    }
    let lakehouse = &config.lakehouse;
    let batch = (lakehouse.commit_bytes as u64).max(largest_body(config));
    let mut parts = vec![
        (
            "a commit to the lakehouse: its events, as columns, and compressed (lakehouse.commit_bytes, largest body)",
            LAKEHOUSE_COPIES * batch,
        ),
        (
            "ids of the lakehouse's rows (lakehouse.known_ids)",
            lakehouse.known_ids as u64 * KNOWN_ID,
        ),
        ("compaction of the lakehouse", COMPACTION),
    ];
    match &config.lakehouse_sink().url {
        PublisherUrl::Kafka(_) => {
            let ahead = 2 * lakehouse::READ_AHEAD as u64;
            parts.push(("records that the lakehouse reads ahead", ahead));
        }
        PublisherUrl::Amqp(_) => {
            let ahead = lakehouse::held_bytes(&config.lakehouse) - config.lakehouse.commit_bytes;
            parts.push(("messages that the lakehouse reads ahead", ahead as u64));
        }
        PublisherUrl::File(_) => {}
    }
    parts
}

/// Returns the bytes of the largest body that any source takes.
fn largest_body(config: &Config) -> u64 {
    let sources = config.sources.iter();
    sources
        .filter_map(|source| source.max_body_bytes)
        .chain([config.limits.max_body_bytes])
        .max()
        .unwrap_or_default() as u64
}

/// Returns the bytes of the largest batch. A batch is copied twice to commit it: bound to its statement,
/// then into SQLite's record or libpq's buffer.
fn largest_batch(config: &Config) -> u64 {
    largest_body(config).max(config.dedup.batch_bytes as u64)
}

/// Returns the parts that grow with requests, up to the commit.
fn requests(config: &Config) -> Vec<Part> {
    let (limits, dedup) = (&config.limits, &config.dedup);
    let session = match config.tls.is_on(TlsListener::Ingest) {
        true => SESSION_BYTES,
        false => 0,
    };
    let sources = config.sources.iter();
    let limited = sources
        .filter(|source| source.client_rate_limit_per_sec.is_some())
        .count() as u64;
    let connection = (connection_bytes(limits) + session) as u64 + CONNECTION_STATE;
    vec![
        (
            "bodies in flight (limits.in_flight_bytes)",
            limits.in_flight_bytes as u64,
        ),
        (
            "requests in flight (limits.in_flight_requests, max_header_bytes)",
            limits.in_flight_requests as u64
                * (REQUEST_STATE + 2 * limits.max_header_bytes as u64 + EVENT_STATE),
        ),
        (
            "connections (server.max_connections)",
            config.server.max_connections as u64 * connection,
        ),
        (
            "batches being committed (dedup.writers, batch_bytes, largest body)",
            dedup.writers as u64 * 2 * largest_batch(config),
        ),
        (
            "keys in memory (dedup.cache_entries)",
            dedup.cache_entries * CACHE_ENTRY,
        ),
        (
            "addresses with a rate limit (sources with client_rate_limit_per_sec)",
            limited * (CLIENTS * CLIENT_BYTES) as u64,
        ),
    ]
}

/// Returns the parts of the publishers, each summed up over all sinks.
fn publishing(config: &Config) -> Vec<Part> {
    let (mut queues, mut read_back, mut sent, mut clients) = (0, 0, 0, 0);
    let (largest_body, headers) = (
        largest_body(config),
        config.limits.max_header_bytes as u64 / 4,
    );
    for sink in &config.sinks {
        // A message is copied for each channel that sends: into lapin's frames, or into a line of JSON. Base64
        // and escapes can make the line twice as long as its body. Kafka's library copies a body into its queue,
        // into a request, and compressed into another.
        let (channels, copies_sent) = match sink.url {
            PublisherUrl::Amqp(_) => (sink.channels, 1),
            PublisherUrl::File(_) => (sink.channels, 2),
            PublisherUrl::Kafka(_) => {
                let channels = sink.channels.min(KAFKA_CHANNELS);
                clients += channels as u64 + OTHER_KAFKA_CLIENTS;
                (channels, 3)
            }
        };
        queues += sink.queue_bytes as u64
            + largest_body
            + sink.queue_events as u64 * (EVENT_STATE + headers);
        read_back += sink.queue_bytes as u64 / 2 + largest_body;
        sent += channels as u64 * copies_sent * largest_body.max(4 * MIB);
    }
    vec![
        (
            "publisher's queue (publisher.queue_bytes, queue_events)",
            queues,
        ),
        ("rows being read back (publisher.queue_bytes)", read_back),
        (
            "messages being sent (publisher.channels, largest body)",
            sent,
        ),
        (
            "Kafka's clients (publisher.channels)",
            clients * KAFKA_CLIENT,
        ),
    ]
}

/// Returns the part of TLS at the admin listener, if it is on.
fn admin_sessions(config: &Config) -> Option<Part> {
    config.tls.is_on(TlsListener::Admin).then_some((
        "sessions under TLS at the admin listener (tls.admin_certificate)",
        (CONNECTIONS * SESSION_BYTES) as u64,
    ))
}

/// Returns the part of the admin API, if it is on.
fn admin_api(config: &Config) -> Option<Part> {
    let admin = &config.admin;
    admin.socket.as_ref()?;
    let questions = admin.database_connections as u64;
    let database = match config.store.url {
        StoreUrl::Sqlite(_) => 2 * SQLITE_CONNECTION,
        StoreUrl::Postgres(_) => questions * POSTGRES_CONNECTION,
    };
    let answers = questions * PAGE as u64 * ADMIN_EVENT + ADMIN_BODY_COPIES * largest_body(config);
    let has_unrouted = |sink: &Publisher| matches!(sink.url, PublisherUrl::Amqp(_));
    let unrouted = match config.sinks.iter().any(has_unrouted) {
        true => UNROUTED_COPIES * (HELD_BYTES as u64 + largest_body(config)),
        false => 0,
    };
    let threads = (questions + ADMIN_THREADS) * THREAD_STACK;
    let connections = admin.max_connections as u64 * ADMIN_CONNECTION;
    Some((
        "the admin API (admin.max_connections, database_connections, largest body)",
        database + answers + unrouted + threads + connections,
    ))
}

/// Returns the part of the quarantine, if it is on: its queue, a batch that is bound to its statement and in libpq's
/// buffer, its thread and its connection.
fn quarantine(config: &Config) -> Option<Part> {
    let options = &config.quarantine;
    let queue = options.queue_bytes as u64;
    let batch = queue.min(largest_body(config)).max(BATCH_BYTES as u64);
    let database = match config.store.url {
        StoreUrl::Sqlite(_) => 2 * SQLITE_CONNECTION,
        StoreUrl::Postgres(_) => POSTGRES_CONNECTION,
    };
    options.enabled.then_some((
        "the quarantine (quarantine.queue_bytes, largest body)",
        queue + 2 * batch + database + THREAD_STACK,
    ))
}

/// Returns the parts of databases, keys, threads and the program.
fn process(config: &Config, cores: u64) -> Vec<Part> {
    let or_cores = |count: usize| if count == 0 { cores } else { count as u64 };
    let (http, verifiers, writers) = (
        or_cores(config.server.workers),
        or_cores(config.verifier.actors),
        config.dedup.writers as u64,
    );
    let more_sinks = config.sinks.len().saturating_sub(1) as u64;
    let database = match config.store.url {
        // One writes, one reads, and one copies the log into the file.
        StoreUrl::Sqlite(_) => 3 * SQLITE_CONNECTION,
        StoreUrl::Postgres(_) => {
            (writers + OTHER_POSTGRES_CONNECTIONS + more_sinks * SINK_CONNECTIONS)
                * POSTGRES_CONNECTION
        }
    };
    // One connection writes and one reads. One batch is being written, and one is on its way to the store.
    let spool = config.spool.path.as_ref().map_or(0, |_| {
        2 * SQLITE_CONNECTION
            + 3 * largest_batch(config)
            + config.spool.max_bytes / EVENT_OVERHEAD * SPOOLED_KEYS
    });
    let sources = config.sources.iter();
    let fetching = sources
        .filter(|source| spec_of(&source.spec()).is_ok_and(|spec| spec.fetches()))
        .count() as u64;
    let spans = match config.traces.endpoint {
        Some(_) => (traces::QUEUE_SPANS * traces::SPAN_BYTES) as u64,
        None => 0,
    };
    vec![
        ("database connections (dedup.writers)", database),
        (
            "the spool (spool.max_bytes, dedup.batch_bytes, largest body)",
            spool,
        ),
        (
            "keys that deliveries name (sources that fetch them)",
            fetching * NAMED_KEYS,
        ),
        (
            "threads (server.workers, verifier.actors, dedup.writers)",
            (http + verifiers + writers + FIXED_THREADS + more_sinks * SINK_THREADS) * THREAD_STACK,
        ),
        (
            "lines of the log that wait for its reader",
            log_queue::BYTES as u64,
        ),
        ("spans that wait for the collector (traces.endpoint)", spans),
        ("the program", BASE),
    ]
}

impl fmt::Display for MemoryBound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (part, bytes) in self.parts.iter().filter(|(_, bytes)| *bytes > 0) {
            writeln!(f, "{:>8} MiB  {part}", bytes.div_ceil(MIB))?;
        }
        write!(f, "{:>8} MiB  at most", self.total.div_ceil(MIB))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(toml: &str) -> MemoryBound {
        MemoryBound::on(&Config::from_toml(toml).expect("valid"), 2)
    }

    #[test]
    fn the_bound_is_the_sum_of_its_parts_and_grows_with_each_option() {
        let base = bound("");
        assert_eq!(
            base.total,
            base.parts.iter().map(|(_, bytes)| bytes).sum::<u64>()
        );
        assert_eq!(base.parts[0].1, 128 * MIB);
        assert_eq!(base.parts[2].1, 4096 * (72 + 16) * KIB);
        assert_eq!(base.parts[4].1, 40_000_000);
        for more in [
            "limits.in_flight_bytes = 134217729",
            "limits.in_flight_requests = 2049",
            "limits.max_header_bytes = 16385",
            "limits.max_body_bytes = 26214401",
            "server.max_connections = 4097",
            "admin.max_connections = 17",
            "admin.database_connections = 3",
            "server.workers = 3",
            "verifier.actors = 3",
            "dedup.writers = 3",
            "dedup.cache_entries = 100001",
            "dedup.batch_bytes = 26214401",
            "publisher.queue_bytes = 67108865",
            "publisher.queue_events = 16385",
            "publisher.channels = 5",
            "quarantine.queue_bytes = 33554433",
            "[publisher]\nurl = \"file:///a\"\n[[sink]]\nname = \"b\"\nurl = \"file:///b\"",
            "[[source]]\nname = \"s\"\nprovider = \"none\"\nmax_body_bytes = 26214401",
            "store.url = \"postgres://h/d\"",
            "tls = { certificate = \"plain:c\", key = \"plain:k\" }",
            "tls = { admin_certificate = \"plain:c\", admin_key = \"plain:k\" }",
            "[[source]]\nname = \"s\"\nprovider = \"none\"\nclient_rate_limit_per_sec = 1",
            "[[source]]\nname = \"s\"\nprovider = \"aws-sns\"\nparams = { topic_arn = \"arn:aws:sns:us-east-1:1:t\" }",
        ] {
            assert!(bound(more).total > base.total, "{more}");
        }
        let postgres = |more: &str| bound(&format!("store.url = \"postgres://h/d\"\n{more}")).total;
        assert!(postgres("spool.max_bytes = 2147483648") > postgres(""));
        assert!(postgres("spool.path = \"\"") < postgres(""));
        let off = bound("quarantine.enabled = false");
        assert!(off.parts.len() < base.parts.len() && off.total < base.total);
    }
}
