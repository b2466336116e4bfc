//! Rules on options that have to go together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::model::{Config, Publisher, PublisherUrl, RespondAfter, TlsListener};
use super::report::Report;

/// Reports options that do not fit each other. Options with a mistake are left out: it is reported
/// first.
pub(super) fn check(config: &Config, tables: usize, report: &mut Report) {
    let (server, limits) = (&config.server, &config.limits);
    if report.sound(&["server.listen", "server.admin_listen"])
        && collide(server.listen, server.admin_listen)
    {
        report.blame(
            "server.admin_listen",
            format!(
                "the same address as server.listen, {}: choose another port",
                server.listen
            ),
        );
    }
    if report.sound(&["limits.max_body_bytes", "limits.in_flight_bytes"])
        && limits.max_body_bytes > limits.in_flight_bytes
    {
        let message = "larger than limits.in_flight_bytes, so that no such body would ever be taken in: lower this or raise that";
        report.blame("limits.max_body_bytes", message);
    }
    room(config, report);
    tls_pairs(config, report);
    proxies(config, report);
    sinks(config, report);
    bursts(config, report);
    if report.sound(&["limits.deadline_ms", "spool.after_ms"])
        && config.spool.path.is_some()
        && config.spool.after >= limits.deadline
    {
        let message = "not shorter than limits.deadline_ms, so that senders would be answered 503 before the spool is tried: lower this or raise that";
        report.blame("spool.after_ms", message);
    }
    sources(config, report);
    plain_text(config, report);
    exposed(config, tables, report);
}

/// Reports a certificate without a key, and a key without a certificate.
fn tls_pairs(config: &Config, report: &mut Report) {
    for listener in TlsListener::ALL {
        let (certificate, key) = listener.options();
        let parts = config.tls.parts(listener);
        if parts.0.is_some() != parts.1.is_some() && report.sound(&[certificate, key]) {
            let (given, other) = match parts.0.is_some() {
                true => (certificate, key),
                false => (key, certificate),
            };
            report.blame(given, format!("TLS needs {other}, too"));
        }
    }
}

/// Reports the PROXY protocol without proxies that may speak it.
fn proxies(config: &Config, report: &mut Report) {
    let server = &config.server;
    if server.proxy_protocol
        && server.trusted_proxies.is_empty()
        && report.sound(&["server.trusted_proxies"])
    {
        let message = "server.trusted_proxies is empty, so that every connection would be closed: name the proxies there";
        report.blame("server.proxy_protocol", message);
    }
}

/// Reports options of a sink that do not fit each other.
fn sink(sink: &Publisher, report: &mut Report) {
    let key = |option: &str| sink.key(option);
    let sound = |report: &Report, options: [&str; 2]| {
        let keys = options.map(key);
        report.sound(&keys.each_ref().map(String::as_str))
    };
    if sound(report, ["window", "queue_events"]) && sink.window > sink.queue_events {
        let message = format!(
            "more events than {} lets the publisher hold: lower this or raise that",
            key("queue_events")
        );
        report.blame(&key("window"), message);
    }
    if sound(report, ["retry_min_ms", "retry_max_ms"]) && sink.retry_min > sink.retry_max {
        let message = format!("longer than {}", key("retry_max_ms"));
        report.blame(&key("retry_min_ms"), message);
    }
    let (certificate, private) = (&sink.rabbitmq.certificate_file, &sink.rabbitmq.key_file);
    if certificate.is_some() != private.is_some() {
        let (given, other) = match certificate.is_some() {
            true => ("certificate_file", "key_file"),
            false => ("key_file", "certificate_file"),
        };
        report.blame(&key(given), format!("useless without {}", key(other)));
    }
    if sound(report, ["queue", "unrouted_queue"])
        && sink.rabbitmq.queue.as_ref() == Some(&sink.rabbitmq.unrouted_queue)
    {
        let message = format!(
            "the same as {}; unrouted messages need a queue of their own",
            key("queue")
        );
        report.blame(&key("unrouted_queue"), message);
    }
}

/// Reports sinks that get in each other's way, and names of sinks that are not there.
fn sinks(config: &Config, report: &mut Report) {
    if let Some(name) = &config.lakehouse.sink
        && config.lakehouse_sink().name.as_str() != name
    {
        report.blame("lakehouse.sink", format!("no sink has the name \"{name}\""));
    }
    for (at, other) in config.sinks.iter().enumerate() {
        sink(other, report);
        if !other.ordered.is_none() && config.server.respond_after == RespondAfter::Published {
            report.blame(
                &other.key("ordered"),
                "senders cannot wait for an ordered sink: one instance publishes what all of them store, and events of a key wait for each \
                 other; write server.respond_after = \"stored\", or \"none\" here",
            );
        }
        let PublisherUrl::File(folder) = &other.url else {
            continue;
        };
        let mut before = config.sinks[..at].iter();
        if before.any(|sink| matches!(&sink.url, PublisherUrl::File(same) if same == folder)) {
            report.blame(
                &other.key("url"),
                "another sink writes to this folder; each needs one of its own",
            );
        }
    }
    for source in &config.sources {
        for name in &source.sinks {
            if !config.sinks.iter().any(|sink| sink.name == *name) {
                report.blame(
                    &format!("source.{}.sinks", source.name),
                    format!("there is no sink \"{name}\""),
                );
            }
        }
    }
}

/// Reports bursts of rate limits that are none.
fn bursts(config: &Config, report: &mut Report) {
    for source in &config.sources {
        let client = (
            source.client_rate_limit_per_sec,
            source.client_rate_limit_burst,
        );
        let all = (source.rate_limit_per_sec, source.rate_limit_burst);
        for ((rate, burst), option) in [(all, "rate_limit"), (client, "client_rate_limit")] {
            if burst.is_some() && rate.is_none() {
                let key = format!("source.{}.{option}_burst", source.name);
                report.blame(
                    &key,
                    format!(
                        "without {option}_per_sec there is no limit: set it, too, or leave this out"
                    ),
                );
            }
        }
    }
}

/// Warns of listeners and a store that an operator opened to more than the default.
fn exposed(config: &Config, tables: usize, report: &mut Report) {
    let server = &config.server;
    let public = report.sound(&["server.listen"]) && !server.listen.ip().is_loopback();
    if public && tables == 0 {
        report.blame("server.listen", "a public address, but no source is configured: add a [[source]] (config.toml shows one)");
    }
    if report.sound(&["server.admin_listen"]) && !server.admin_listen.ip().is_loopback() {
        let warning = format!(
            "server.admin_listen {} is not on loopback, and health and metrics are shown without a login: let a firewall guard it",
            server.admin_listen
        );
        report.warnings.push(warning);
    }
    if config.store.allow_unsafe_durability {
        report.warnings.push(
            "store.allow_unsafe_durability: events that were answered 200 can be lost in a crash"
                .to_owned(),
        );
    }
}

/// Warns of a body that takes more of the room than one source is given, or than is left to large bodies.
fn room(config: &Config, report: &mut Report) {
    let limits = &config.limits;
    let largest = config
        .sources
        .iter()
        .filter_map(|source| source.max_body_bytes)
        .fold(limits.max_body_bytes, usize::max);
    let parts = if config.sources.len() > 1 { 4 } else { 2 };
    if report.sound(&["limits.max_body_bytes", "limits.in_flight_bytes"])
        && limits.in_flight_bytes / parts < largest
    {
        report.warnings.push(format!(
            "limits.in_flight_bytes is less than {parts} times the largest body ({largest} bytes): one such body takes room that is kept \
             for others, which are answered 503 meanwhile; raise it to {}, or lower max_body_bytes",
            largest.saturating_mul(parts)
        ));
    }
}

fn sources(config: &Config, report: &mut Report) {
    let public = report.sound(&["server.listen"]) && !config.server.listen.ip().is_loopback();
    let (mut names, mut paths) = (BTreeSet::new(), BTreeMap::new());
    for source in &config.sources {
        let key = |option: &str| format!("source.{}.{option}", source.name);
        // Said before, with both places.
        if !names.insert(&source.name) {
            continue;
        }
        if let Some(other) = paths.insert(&source.path, &source.name) {
            // The name stands in for a path that was left out.
            let written = report.places.contains_key(&key("path"));
            report.blame(
                &key(if written { "path" } else { "name" }),
                format!(
                    "/ingest/{} is the path of the source \"{other}\" too{}",
                    source.path,
                    report.place_of_path(other)
                ),
            );
        }
        if source
            .max_body_bytes
            .is_some_and(|bytes| bytes > config.limits.in_flight_bytes)
            && report.sound(&["limits.in_flight_bytes"])
        {
            report.blame(
                &key("max_body_bytes"),
                "larger than limits.in_flight_bytes, so that no such body would ever be taken in",
            );
        }
        if source.provider.as_deref() == Some("none") && public && !source.allow_unverified_public {
            report.blame(
                &key("provider"),
                format!(
                    "\"none\" accepts anything from anybody, and server.listen {} is a public address: name the provider, listen on \
                     loopback, or write allow_unverified_public = true",
                    config.server.listen
                ),
            );
        }
    }
}

/// Warns of unencrypted connections to other machines: they show events and passwords.
fn plain_text(config: &Config, report: &mut Report) {
    if let Some(host) = config.store.url.in_plain_text_to() {
        report.warnings.push(format!(
            "store.url: the connection to {host} may be unencrypted, so that events can be read and changed on the way: add \
             sslmode=verify-full to the URL (sslmode=require does not prove who answers)"
        ));
    }
    for sink in &config.sinks {
        let Some(host) = sink.url.in_plain_text_to() else {
            continue;
        };
        let key = sink.key("url");
        report.warnings.push(format!(
            "{key}: the connection to {host} is unencrypted, so that the password and events can be read on the way: use amqps:// or kafkas://"
        ));
    }
}

/// Returns true if two listeners want the same port of the same interface.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && a.port() != 0
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}
