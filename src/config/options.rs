//! Every option, once: its name, its kind and its bounds. What it means and trades is said in `config.toml`, which also holds the
//! defaults; a test compares the two.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::model::{
    Config, Dedup, Limits, Log, LogDeliveries, LogFormat, Migrate, Publisher, PublisherUrl,
    QueueType, RespondAfter, Server, Spool, Store, StoreUrl, Verifier,
};
use super::reader::Reader;
use super::rules;
use super::secret::Secret;

const MIB: i128 = 1024 * 1024;
const GIB: i128 = 1024 * MIB;
const HOUR_MS: i128 = 60 * 60 * 1000;
const DAY_SECS: i128 = 24 * 60 * 60;

/// Everything but the sources.
pub(super) fn all(r: &mut Reader<'_>) -> Config {
    let (server, store) = (server(r), store(r));
    let mut config = Config {
        spool: spool(r, &server, &store),
        server,
        limits: limits(r),
        verifier: verifier(r),
        dedup: dedup(r),
        store,
        publisher: publisher(r),
        drain: r.duration("shutdown.drain_secs", 1..=3600),
        log: log(r),
        sources: Vec::new(),
        warnings: Vec::new(),
        untried: Vec::new(),
        effective: Vec::new(),
        places: BTreeMap::new(),
    };
    config.store.longest_retry = config.publisher.retry_max;
    config
}

fn server(r: &mut Reader<'_>) -> Server {
    Server {
        listen: r.address("server.listen"),
        admin_listen: r.address("server.admin_listen"),
        workers: r.count("server.workers", 0..=1024),
        max_connections: r.count("server.max_connections", 1..=1_000_000),
        keep_alive: r.duration("server.keep_alive_secs", 1..=3600),
        head_timeout: r.duration("server.head_timeout_ms", 100..=60_000),
        respond_after: r
            .choice(
                "server.respond_after",
                &[
                    ("stored", RespondAfter::Stored),
                    ("published", RespondAfter::Published),
                ],
            )
            .unwrap_or(RespondAfter::Stored),
    }
}

fn limits(r: &mut Reader<'_>) -> Limits {
    Limits {
        in_flight_requests: r.count("limits.in_flight_requests", 1..=1_000_000),
        in_flight_bytes: r.count("limits.in_flight_bytes", 1024..=64 * GIB),
        max_body_bytes: r.count("limits.max_body_bytes", 1..=GIB),
        max_header_bytes: r.count("limits.max_header_bytes", 1024..=MIB),
        max_events_per_request: r.count("limits.max_events_per_request", 1..=100_000),
        deadline: r.duration("limits.deadline_ms", 100..=60_000),
        body_timeout: r.duration("limits.body_timeout_ms", 1000..=10 * 60_000),
        min_body_bytes_per_sec: r.count("limits.min_body_bytes_per_sec", 1..=GIB),
        retry_after_max_secs: r.count("limits.retry_after_max_secs", 1..=3600),
    }
}

fn verifier(r: &mut Reader<'_>) -> Verifier {
    Verifier {
        actors: r.count("verifier.actors", 0..=256),
        mailbox_capacity: r.count("verifier.mailbox_capacity", 1..=1_000_000),
    }
}

fn dedup(r: &mut Reader<'_>) -> Dedup {
    Dedup {
        mailbox_capacity: r.count("dedup.mailbox_capacity", 1..=1_000_000),
        cache_entries: r.count("dedup.cache_entries", 0..=1_000_000_000),
        cache_ttl: r.duration("dedup.cache_ttl_secs", 1..=366 * DAY_SECS),
        writers: r.count("dedup.writers", 1..=256),
        batch_events: r.count("dedup.batch_events", 1..=5000),
        batch_bytes: r.count("dedup.batch_bytes", 1024..=GIB),
        window: r.duration("dedup.window_days", 1..=366),
    }
}

fn store(r: &mut Reader<'_>) -> Store {
    Store {
        url: r
            .secret_url(
                "store.url",
                true,
                StoreUrl::Postgres(Secret::unread()),
                StoreUrl::parse,
            )
            .unwrap_or(StoreUrl::Sqlite(PathBuf::new())),
        migrate: r
            .choice(
                "store.migrate",
                &[("auto", Migrate::Auto), ("check", Migrate::Check)],
            )
            .unwrap_or(Migrate::Check),
        schema: r
            .text("store.schema", rules::schema_name)
            .unwrap_or_default(),
        connect_timeout: r.duration("store.connect_timeout_ms", 10..=HOUR_MS),
        statement_timeout: r.duration("store.statement_timeout_ms", 10..=HOUR_MS),
        allow_unsafe_durability: r.flag("store.allow_unsafe_durability"),
        keep_events: r.duration("store.keep_events_days", 0..=3660),
        keep_conflicts: r.duration("store.keep_conflicts_days", 0..=3660),
        prune_interval: r.duration("store.prune_interval_secs", 1..=DAY_SECS),
        prune_rows: r.count("store.prune_rows", 1..=1_000_000),
        lease: r.duration("store.lease_secs", 3..=3600),
        longest_retry: Duration::ZERO,
    }
}

fn spool(r: &mut Reader<'_>, server: &Server, store: &Store) -> Spool {
    let path = r
        .text("spool.path", rules::anything)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    Spool {
        path: path.filter(|_| {
            matches!(store.url, StoreUrl::Postgres(_))
                && server.respond_after == RespondAfter::Stored
        }),
        max_bytes: r.count("spool.max_bytes", 1024 * 1024..=1024 * GIB),
        max_age: r.duration("spool.max_age_secs", 1..=366 * DAY_SECS),
        after: r.duration("spool.after_ms", 10..=60_000),
    }
}

fn publisher(r: &mut Reader<'_>) -> Publisher {
    Publisher {
        url: r
            .secret_url(
                "publisher.url",
                false,
                PublisherUrl::Amqp(Secret::unread()),
                PublisherUrl::parse,
            )
            .unwrap_or(PublisherUrl::File(PathBuf::new())),
        mailbox_capacity: r.count("publisher.mailbox_capacity", 1..=1_000_000),
        queue_events: r.count("publisher.queue_events", 1..=10_000_000),
        queue_bytes: r.count("publisher.queue_bytes", 1024..=64 * GIB),
        channels: r.count("publisher.channels", 1..=1024),
        window: r.count("publisher.window", 1..=65_535),
        max_message_bytes: r.count("publisher.max_message_bytes", 0..=GIB),
        connect_timeout: r.duration("publisher.connect_timeout_ms", 10..=HOUR_MS),
        confirm_timeout: r.duration("publisher.confirm_timeout_ms", 10..=HOUR_MS),
        heartbeat: r.duration("publisher.heartbeat_secs", 1..=3600),
        retry_min: r.duration("publisher.retry_min_ms", 10..=HOUR_MS),
        retry_max: r.duration("publisher.retry_max_ms", 10..=24 * HOUR_MS),
        relay_interval: r.duration("publisher.relay_interval_ms", 10..=HOUR_MS),
        yield_longest: r.duration("publisher.yield_secs", 0..=3600),
        exchange: r
            .text("publisher.exchange", rules::amqp_name)
            .unwrap_or_default(),
        routing_key: r.routing_key("publisher.routing_key").unwrap_or_default(),
        declare: r.flag("publisher.declare"),
        queue: r
            .text("publisher.queue", rules::amqp_name_or_none)
            .filter(|queue| !queue.is_empty()),
        queue_type: r
            .choice(
                "publisher.queue_type",
                &[
                    ("quorum", QueueType::Quorum),
                    ("classic", QueueType::Classic),
                    ("stream", QueueType::Stream),
                ],
            )
            .unwrap_or(QueueType::Quorum),
        unrouted_queue: r
            .text("publisher.unrouted_queue", rules::amqp_name)
            .unwrap_or_default(),
        file_max_bytes: r.count("publisher.file_max_bytes", 1024..=1024 * GIB),
        file_max_age: r.duration("publisher.file_max_age_secs", 1..=366 * DAY_SECS),
        file_mode: r
            .text("publisher.file_mode", rules::file_mode)
            .and_then(|mode| u32::from_str_radix(&mode, 8).ok())
            .unwrap_or(0o600),
        file_group: r
            .text("publisher.file_group", rules::anything)
            .filter(|group| !group.is_empty()),
    }
}

fn log(r: &mut Reader<'_>) -> Log {
    Log {
        format: r
            .choice(
                "log.format",
                &[
                    ("auto", LogFormat::Auto),
                    ("pretty", LogFormat::Pretty),
                    ("json", LogFormat::Json),
                    ("journal", LogFormat::Journal),
                ],
            )
            .unwrap_or(LogFormat::Auto),
        filter: r.text("log.filter", rules::log_filter).unwrap_or_default(),
        deliveries: r
            .choice(
                "log.deliveries",
                &[
                    ("all", LogDeliveries::All),
                    ("problems", LogDeliveries::Problems),
                    ("none", LogDeliveries::None),
                ],
            )
            .unwrap_or(LogDeliveries::Problems),
    }
}

/// The names of all options but those of sources.
#[cfg(test)]
pub(super) fn names() -> Vec<&'static str> {
    let (environment, mut report) = (
        super::secret::Environment::new(),
        super::reader::Report::default(),
    );
    let mut r = Reader::new(String::new(), Vec::new(), &environment, &mut report);
    all(&mut r);
    r.finish()
}
