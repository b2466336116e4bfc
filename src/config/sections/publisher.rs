//! `[publisher]`

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use super::{FileSinkOptions, KafkaOptions, RabbitmqOptions, Source};
use crate::config::amqp_url::AmqpUrl;
use crate::config::define::{Description, Section, section};
use crate::config::kafka_url::KafkaUrl;
use crate::config::option::{
    Bytes, Count, GIB, HOUR_MS, HeaderNames, Millis, SecretUrl, Secs, TemplateKind, Text,
};
use crate::config::rules;
use crate::config::sink_kinds::{Order, TypePatterns};
use crate::domain::event_order::EventOrder;
use crate::domain::sink::{EventFilter, SinkName, TypePattern};

section! {
    /// Publishing to a sink: RabbitMQ, Kafka, or a folder of files. With a url, this is the sink "default".
    /// Each `[[sink]]` is one more, and takes from here the options that it does not name.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Publisher given {
        /// Name of the sink.
        pub name: SinkName;
        /// Section of the options: `publisher`, or `sink.NAME`.
        pub section: String;
        /// Options of RabbitMQ.
        pub rabbitmq: RabbitmqOptions;
        /// Options of Kafka.
        pub kafka: KafkaOptions;
        /// Options of the file sink.
        pub file: FileSinkOptions;
    } {
        /// Sink: "file://data/events" for a folder of JSON lines, "amqp://user:password@host:5672/vhost" for
        /// RabbitMQ, or "kafka://user:password@host:9092" for Kafka. "amqps://" and "kafkas://" use TLS.
        /// Nodes of a cluster stand with commas between: "amqp://user:password@a:5672,b:5672/vhost". To keep
        /// the password out of this file, name where the URL is: "env:NAME" or "credential:NAME" (systemd).
        pub url: PublisherUrl = "publisher.url", SecretUrl("`file://`, `amqp://`, `amqps://`, `kafka://` or `kafkas://` URL, or a reference to one"), "file://data/events";
        /// Batches that wait for the publisher. When full, a batch is dropped from memory, and the relay reads
        /// it from the outbox.
        pub mailbox_capacity: usize = "publisher.mailbox_capacity", Count(1..=1_000_000), 256;
        /// Events that the publisher holds in memory; others wait in the outbox. Higher values publish without
        /// reading rows back, lower values save memory.
        pub queue_events: usize = "publisher.queue_events", Count(1..=10_000_000), 16384;
        /// Bytes of bodies that the publisher holds in memory; others wait in the outbox.
        pub queue_bytes: usize = "publisher.queue_bytes", Bytes(1024..=64 * GIB), 67108864;
        /// Publish tasks, each with an AMQP channel or a Kafka producer, and one batch in flight. More of them
        /// hide the broker's latency. Kafka uses 2 at most.
        pub channels: usize = "publisher.channels", Count(1..=1024), 4;
        /// Most events in one batch, published and confirmed together. Larger batches raise throughput, and
        /// the number of copies after a fault.
        pub window: usize = "publisher.window", Count(1..=65_535), 256;
        /// Time to wait for the confirms of a batch. With Kafka, the batch goes on waiting, and the brokers are
        /// asked whether they are there.
        pub confirm_timeout: Duration = "publisher.confirm_timeout_ms", Millis(10..=HOUR_MS), 10000;
        /// Delay before an event without a confirm is published again, doubled each time up to retry_max_ms.
        pub retry_min: Duration = "publisher.retry_min_ms", Millis(10..=HOUR_MS), 500;
        /// Longest delay before an event is published again.
        pub retry_max: Duration = "publisher.retry_max_ms", Millis(10..=24 * HOUR_MS), 60000;
        /// Interval at which the relay looks for rows left over. If the publisher has room again, the relay
        /// looks at once.
        pub relay_interval: Duration = "publisher.relay_interval_ms", Millis(10..=HOUR_MS), 1000;
        /// Longest pause of publishing in a burst. While more than half of limits.in_flight_requests is in
        /// use, acceptance gets the machine; after a pause, publishing runs for at least as long. 0 is no
        /// pause. Not used with server.respond_after = "published".
        pub yield_longest: Duration = "publisher.yield_secs", Secs(0..=3600), 10;
        /// Routing key made of {source}, {type} and {id}. If the key exceeds 255 bytes, its parts are cut.
        pub routing_key: String = "publisher.routing_key", TemplateKind::RoutingKey, "{source}.{type}";
        /// Order of events: "none", "source" (of each source), or "{json:/data/customer}" (of each value there
        /// in the body). Events of one key are published one after the other, each after the confirm of the one
        /// before. One that fails holds the later ones of its key, and no others. See docs/guide/sinks.md.
        pub ordered: EventOrder = "publisher.ordered", Order, "none";
        /// Types of the events that go to this sink, such as "order.*"; [] is all. An event without a type is
        /// met by "*" only. A `[[sink]]` does not take filters from `[publisher]`.
        pub event_types: Vec<TypePattern> = "publisher.event_types", TypePatterns, [];
        /// Types of events that do not go to this sink.
        pub except_event_types: Vec<TypePattern> = "publisher.except_event_types", TypePatterns, [];
        /// Headers of the request that are passed on to the sink, for sinks that get others than the rest; []
        /// is forward_headers of the source.
        pub forward_headers: Vec<HeaderName> = "publisher.forward_headers", HeaderNames, [];
    }
}

/// `[[sink]]`: what it has besides the options of `[publisher]`.
pub const SINK: Section = Section {
    about: "One more sink, beside that of `[publisher]` if that has a url. It takes every option of `[publisher]` by\n\
            its own name; one that it leaves out is that of `[publisher]`, except url and filters. Each sink is at\n\
            least once by itself: one that is down keeps its events on disk, and leaves the others alone.",
    options: &[
        Description {
            key: "name",
            shown: "\"kafka\"",
            help: "Name in the outbox, metrics and logs: a-z, 0-9, \"_\" and \"-\". If the sink is renamed or taken out, its\n\
                   rows stay where they are: `hookweir sinks` moves them.",
            kind: &Text("name, unique", rules::anything),
        },
        Description {
            key: "url",
            shown: "\"kafka://localhost:9092\"",
            help: "Where the events go, as in publisher.url.",
            kind: &SecretUrl("URL, or a reference to one"),
        },
    ],
};

impl Publisher {
    /// Returns the name of one of the options as it is written: `publisher.url`, `sink.NAME.url`.
    pub fn key(&self, option: &str) -> String {
        format!("{}.{option}", self.section)
    }

    /// Returns the filter of the sink's events.
    pub fn filter(&self) -> EventFilter {
        EventFilter {
            only: self.event_types.clone(),
            except: self.except_event_types.clone(),
        }
    }

    /// Returns `true` if events of `source` go to the sink.
    pub fn gets(&self, source: &Source) -> bool {
        source.sinks.is_empty() || source.sinks.contains(&self.name)
    }
}

/// Sink of the events.
#[derive(Debug, Clone, PartialEq)]
pub enum PublisherUrl {
    /// A folder of JSON lines.
    File(PathBuf),
    /// A RabbitMQ broker, or the nodes of a cluster.
    Amqp(AmqpUrl),
    /// Brokers of a Kafka cluster, and a login.
    Kafka(KafkaUrl),
}
