//! Properties of Kafka's client: ours, and the operator's as far as they keep the promise. Pure.

use rdkafka::ClientConfig;

use super::KafkaConfig;
use super::config::{compression_name, mechanism_name};
use crate::faults::mutants::Mutant;

/// Bytes of a record besides its body: key, headers and framing.
pub(super) const RECORD_OVERHEAD: usize = 64 * 1024;
/// Largest record batch, uncompressed. A topic with a lower limit lowers it.
const BATCH_SIZE: usize = 1_000_000;
/// Messages that a producer takes: more than the largest `publisher.window`.
const QUEUE: usize = 100_000;
/// Largest message that librdkafka can be set to.
const MAX_MESSAGE: usize = 1_000_000_000;

/// Properties that the operator may not set, and the reason.
const REFUSED: [(&[&str], &str); 5] = [
    (
        &[
            "acks",
            "request.required.acks",
            "enable.idempotence",
            "enable.gapless.guarantee",
            "transactional.id",
            "transaction.timeout.ms",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "retries",
            "message.send.max.retries",
            "message.timeout.ms",
            "delivery.timeout.ms",
            "request.timeout.ms",
        ],
        "it decides whether an event can be lost or copied",
    ),
    (
        &[
            "bootstrap.servers",
            "metadata.broker.list",
            "security.protocol",
            "sasl.username",
            "sasl.password",
        ],
        "it is a part of publisher.url",
    ),
    (
        &[
            "sasl.mechanism",
            "sasl.mechanisms",
            "ssl.ca.location",
            "compression.codec",
            "compression.type",
        ],
        "it is an option of [publisher]",
    ),
    (
        &["allow.auto.create.topics"],
        "a topic is never made by the words of a sender: create it, or set publisher.declare",
    ),
    (
        &[
            "plugin.library.paths",
            "queue.buffering.max.messages",
            "queue.buffering.max.kbytes",
            "queue.buffering.backpressure.threshold",
            "statistics.interval.ms",
            "delivery.report.only.error",
            "produce.offset.report",
            "enable.random.seed",
            "enabled_events",
            "log.queue",
            "opaque",
        ],
        "Hookweir sets it by itself",
    ),
];

/// Checks a further property. Returns the reason against it.
pub fn check_property(name: &str, value: &str) -> Result<(), String> {
    let found = REFUSED.iter().find(|(names, _)| names.contains(&name));
    if let Some((_, why)) = found {
        return Err(format!("property \"{name}\" cannot be set: {why}"));
    }
    if is_of_oauthbearer(name) {
        return Err(format!(
            "property \"{name}\" cannot be set: OAUTHBEARER is not in this build, since librdkafka fetches tokens by libcurl; use SCRAM or \
             PLAIN (sasl_mechanism), or a certificate of your own (certificate_file and key_file)"
        ));
    }
    if matches!(name, "linger.ms" | "queue.buffering.max.ms")
        && value.trim().parse::<f64>().is_ok_and(|ms| ms <= 0.0)
    {
        return Err(format!(
            "property \"{name}\" is at least 1: with 0 the client is busy all the time while a broker is silent"
        ));
    }
    Ok(())
}

/// Returns `true` if a property has a meaning for OAUTHBEARER only.
fn is_of_oauthbearer(name: &str) -> bool {
    name == "enable.sasl.oauthbearer.unsecure.jwt" || name.starts_with("sasl.oauthbearer.")
}

/// Returns the properties of every client of the cluster.
pub(super) fn client(config: &KafkaConfig) -> ClientConfig {
    let address = &config.url;
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", address.bootstrap_servers())
        .set("client.id", "hookweir")
        .set("allow.auto.create.topics", "false")
        // A broker that vanished holds its partitions for so long. A retry makes no copy.
        .set("socket.timeout.ms", "10000")
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "1000")
        // Azure closes an idle connection after 240 s.
        .set("connections.max.idle.ms", "180000")
        // A missing topic is noticed soon, and so is one that was made.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("topic.metadata.propagation.max.ms", "2000")
        .set("enable.metrics.push", "false")
        .set("log.connection.close", "false");
    let security = match (address.tls, &address.login) {
        (false, None) => "PLAINTEXT",
        (true, None) => "SSL",
        (false, Some(_)) => "SASL_PLAINTEXT",
        (true, Some(_)) => "SASL_SSL",
    };
    client.set("security.protocol", security);
    if address.tls {
        match &config.ca_file {
            Some(file) => client.set("ssl.ca.location", file.display().to_string()),
            // The bundled OpenSSL has no place of its own for certificates.
            None => client.set("ssl.ca.location", "probe"),
        };
        if let Some((certificate, key)) = &config.client_pair {
            client
                .set(
                    "ssl.certificate.location",
                    certificate.display().to_string(),
                )
                .set("ssl.key.location", key.display().to_string());
        }
    }
    if let Some((user, password)) = &address.login {
        client
            .set("sasl.mechanism", mechanism_name(config.sasl_mechanism))
            .set("sasl.username", user)
            .set("sasl.password", String::from_utf8_lossy(password.expose()));
    }
    for (name, value) in &config.properties {
        client.set(name, value);
    }
    client
}

/// Returns the properties of the producer of a channel. `topic_limit` is the smallest size of a record
/// batch that one of the topics takes.
pub(super) fn producer(config: &KafkaConfig, topic_limit: Option<usize>) -> ClientConfig {
    let mut producer = client(config);
    let mut default = |name: &str, value: String| {
        if !config.properties.contains_key(name) {
            producer.set(name, value);
        }
    };
    // A batch above the limit of its topic would be refused with all its messages.
    let batch_size = topic_limit.map_or(BATCH_SIZE, |limit| limit.min(BATCH_SIZE));
    default("batch.size", batch_size.to_string());
    // The topic decides what is too large. With the library's default, a message of 1 MB would never be
    // sent to a topic that takes 25 MB.
    let largest = (config.largest_body + RECORD_OVERHEAD).clamp(BATCH_SIZE, MAX_MESSAGE);
    default("message.max.bytes", largest.to_string());
    // With 0, a thread of the library is busy all the time while a broker is silent.
    default("linger.ms", "1".to_owned());
    // As Java's clients do: the same key lands in the same partition, from any client.
    default("partitioner", "murmur2_random".to_owned());
    let acks = acks();
    let idempotent = acks == "all" && !Mutant::NotIdempotent.is_on();
    producer
        .set("acks", acks)
        .set("enable.idempotence", idempotent.to_string())
        // Never: what follows a time limit of ours would be a copy.
        .set("message.timeout.ms", "0")
        .set("compression.codec", compression_name(config.compression))
        // They say when the library has forgotten all brokers.
        .set("statistics.interval.ms", "5000")
        // The publisher has one batch of `window` messages under way. More would be refused one by one.
        .set("queue.buffering.max.messages", QUEUE.to_string());
    producer
}

/// Returns the replicas that must have a record before it is confirmed.
fn acks() -> &'static str {
    if Mutant::ZeroAcks.is_on() {
        "0"
    } else if Mutant::OneAck.is_on() {
        "1"
    } else {
        "all"
    }
}
