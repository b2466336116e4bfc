//! Client of a consumer group. Its calls block, except the wait for records.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::util::AsyncRuntime;

use super::{KafkaOptions, Topics};

/// Time without a heartbeat after which the partitions of a dead writer go to another one.
const SESSION_MS: &str = "10000";
/// Longest time between two looks at the feed. A commit with its upkeep takes less.
const POLL_MS: &str = "900000";
/// Topic that is asked for. It may be missing, and is not created by the question.
const ASKED: &str = "hookweir";

/// Consumer that is a member of the group.
pub(super) type Client = StreamConsumer<Logs, Tokio>;

/// Log of the client library.
pub(super) struct Logs;

impl ClientContext for Logs {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, text: &str) {
        tracing::debug!(target: "librdkafka", "{facility}: {text}");
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", "{reason}");
    }
}

impl ConsumerContext for Logs {}

/// The runtime that the feed runs on.
pub(super) struct Tokio;

impl AsyncRuntime for Tokio {
    type Delay = tokio::time::Sleep;

    fn spawn<T: Future<Output = ()> + Send + 'static>(task: T) {
        tokio::spawn(task);
    }

    fn delay_for(duration: Duration) -> Self::Delay {
        tokio::time::sleep(duration)
    }
}

/// Joins the group and subscribes to its topics. The brokers must answer.
pub(super) fn join(options: &KafkaOptions) -> Result<Client, String> {
    let client: Client = config(options).create_with_context(Logs).map_err(why)?;
    ask(&client, options.timeout)?;
    let names: Vec<String> = options.topics.iter().map(Topics::subscription).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    client.subscribe(&names).map_err(why)?;
    Ok(client)
}

/// Asks the brokers if they are there.
pub(super) fn ask<C: ConsumerContext>(
    client: &impl Consumer<C>,
    limit: Duration,
) -> Result<(), String> {
    let found = client.fetch_metadata(Some(ASKED), limit).map_err(why)?;
    if found.brokers().is_empty() {
        return Err("the cluster has no broker now".to_owned());
    }
    Ok(())
}

/// Returns the number of records that the group has not committed.
pub(super) fn backlog(options: &KafkaOptions) -> Result<u64, String> {
    let limit = options.timeout;
    let client: BaseConsumer<Logs> = config(options).create_with_context(Logs).map_err(why)?;
    let metadata = client.fetch_metadata(None, limit).map_err(why)?;
    let partitions = partitions(&metadata, &options.topics);
    let committed = client.committed_offsets(partitions, limit).map_err(why)?;
    let mut waiting = 0;
    for partition in committed.elements() {
        let place = (partition.topic(), partition.partition());
        let ends = client.fetch_watermarks(place.0, place.1, limit);
        let (low, high) = ends.map_err(why)?;
        let begin = match partition.offset() {
            Offset::Offset(offset) => offset.clamp(low, high),
            _ => low,
        };
        waiting += u64::try_from(high - begin).unwrap_or(0);
    }
    Ok(waiting)
}

/// Returns the partitions of `topics`.
fn partitions(metadata: &Metadata, topics: &[Topics]) -> TopicPartitionList {
    let mut found = TopicPartitionList::new();
    for topic in metadata.topics() {
        if topics.iter().any(|topics| topics.have(topic.name())) {
            for partition in topic.partitions() {
                found.add_partition(topic.name(), partition.id());
            }
        }
    }
    found
}

impl Topics {
    /// Returns the topics as the client library subscribes to them: a name, or an expression.
    fn subscription(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            // Of the characters of a topic only the dot means something in an expression.
            Self::StartingWith(start) => format!("^{}.*", start.replace('.', "\\.")),
        }
    }

    fn have(&self, topic: &str) -> bool {
        match self {
            Self::Named(name) => name == topic,
            Self::StartingWith(start) => topic.starts_with(start),
        }
    }
}

fn config(options: &KafkaOptions) -> ClientConfig {
    let mut config = ClientConfig::new();
    let fixed = [
        ("group.id", options.group.as_str()),
        // Offsets are committed after the table's commit, and never by the library.
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        // A group without offsets reads everything. What the table has is known by its ids.
        ("auto.offset.reset", "earliest"),
        ("max.poll.interval.ms", POLL_MS),
        // A full queue is looked at again soon.
        ("fetch.queue.backoff.ms", "100"),
    ];
    let ahead = [
        ("queued.max.messages.kbytes", options.read_ahead / 1024),
        ("fetch.max.bytes", options.read_ahead),
    ];
    config.set("session.timeout.ms", SESSION_MS);
    // The bound on what a producer sends. A consumer would refuse it above its bound on one answer, which is no bound on a record.
    let properties = options.properties.iter();
    for (name, value) in properties.filter(|(name, _)| name.as_str() != "message.max.bytes") {
        config.set(name, value);
    }
    for (name, value) in fixed {
        config.set(name, value);
    }
    for (name, value) in ahead {
        config.set(name, value.to_string());
    }
    config
}

/// Drops a client on a thread of its own: it leaves its group first, which blocks.
pub(super) fn off_the_runtime(client: Arc<Client>) {
    // Without a thread it is dropped here.
    let _ = std::thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || drop(client));
}

/// Returns `true` if the client library goes on by itself after this error.
pub(super) fn mends_itself(code: Code) -> bool {
    matches!(
        code,
        // One broker, or one connection of several.
        Code::BrokerTransportFailure
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            // A topic whose source had no event yet.
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            // It joins the group again.
            | Code::PollExceeded
    ) || is_a_rebalance(code)
}

/// Returns `true` if the error means that the group has changed.
pub(super) fn is_a_rebalance(code: Code) -> bool {
    matches!(
        code,
        Code::RebalanceInProgress
            | Code::IllegalGeneration
            | Code::UnknownMemberId
            | Code::AssignmentLost
    )
}

/// Returns the library's sentence for a code.
pub(super) fn text(code: Code) -> String {
    let text = code.to_string();
    // "Name (sentence)"
    let sentence = text
        .split_once(" (")
        .and_then(|(_, rest)| rest.strip_suffix(')'));
    sentence.unwrap_or(&text).to_owned()
}

/// Returns the reason of an error, without the value of a property: it may be a password.
fn why(error: KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _) => {
            format!("the client does not take the value of property \"{name}\"")
        }
        KafkaError::ClientCreation(why) => why.replace('\n', " "),
        error => match error.rdkafka_error_code() {
            Some(Code::BrokerTransportFailure | Code::OperationTimedOut) => {
                "no answer from the brokers in time".to_owned()
            }
            Some(code) => text(code),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_with_a_start_are_an_expression_that_takes_nothing_else() {
        let start = Topics::StartingWith("hookweir.gh.".to_owned());
        assert_eq!(start.subscription(), r"^hookweir\.gh\..*");
        assert!(start.have("hookweir.gh.push") && !start.have("hookweir-gh.push"));
        let named = Topics::Named("a.b".to_owned());
        assert_eq!(named.subscription(), "a.b");
        assert!(named.have("a.b") && !named.have("a.bc"));
    }

    #[test]
    fn a_sink_whose_messages_may_be_larger_than_one_answer_is_read() {
        let pairs = [
            ("bootstrap.servers", "127.0.0.1:1"),
            ("message.max.bytes", "33554432"),
        ];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = KafkaOptions {
            properties: pairs.into(),
            topics: Vec::new(),
            group: "g".to_owned(),
            read_ahead: 16 << 20,
            timeout: Duration::from_secs(1),
        };
        let consumer = config(&options).create::<BaseConsumer>();
        assert!(consumer.is_ok(), "{:?}", consumer.err());
    }
}
