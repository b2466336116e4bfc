//! Topics at the cluster: created on wish, and compared with what the sources accept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::ClientContext;
use rdkafka::types::RDKafkaErrorCode as Code;

use super::KafkaConfig;
use super::verdict::text;

/// Facts about a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Topic {
    /// Partitions, and the smallest number of copies of one. None: the topic is missing, or not shown.
    pub(super) layout: Option<(usize, usize)>,
    /// Smallest number of in-sync copies of a partition.
    pub(super) in_sync: Option<usize>,
    /// Code of the topic in the metadata, if the brokers do not show it.
    pub(super) error: Option<Code>,
    /// `max.message.bytes`, if the user may read it.
    pub(super) limit: Option<usize>,
    /// `min.insync.replicas`, if the user may read it.
    pub(super) min_isr: Option<usize>,
    /// `cleanup.policy`, if the user may read it.
    pub(super) cleanup: Option<String>,
}

impl Topic {
    pub(super) fn is_missing(&self) -> bool {
        matches!(
            self.error,
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic)
        )
    }
}

/// Creates topics. Returns a sentence for each that could not be created.
pub(super) async fn create<C: ClientContext>(
    admin: &AdminClient<C>,
    config: &KafkaConfig,
    names: &BTreeSet<&str>,
) -> Vec<String> {
    let or_default = |number: u16| if number == 0 { -1 } else { i32::from(number) };
    let topics: Vec<NewTopic<'_>> = names
        .iter()
        .map(|name| {
            let copies = TopicReplication::Fixed(or_default(config.replication));
            NewTopic::new(name, or_default(config.partitions), copies)
        })
        .collect();
    match admin
        .create_topics(&topics, &options(config.connect_timeout))
        .await
    {
        Ok(results) => results
            .into_iter()
            .filter_map(|result| match result {
                Ok(_) | Err((_, Code::TopicAlreadyExists)) => None,
                Err((name, code)) => Some(format!(
                    "topic \"{name}\" cannot be created: {}; create it, or grant the user CREATE",
                    text(code)
                )),
            })
            .collect(),
        Err(error) => vec![format!("topics cannot be created: {error}")],
    }
}

/// Adds the settings of topics, as far as the user may read them.
pub(super) async fn read_settings<C: ClientContext>(
    admin: &AdminClient<C>,
    topics: &mut BTreeMap<String, Topic>,
    limit: Duration,
) {
    let names: Vec<String> = topics
        .iter()
        .filter(|(_, topic)| topic.layout.is_some())
        .map(|(name, _)| name.clone())
        .collect();
    if names.is_empty() {
        return;
    }
    let wanted: Vec<ResourceSpecifier<'_>> = names
        .iter()
        .map(|name| ResourceSpecifier::Topic(name))
        .collect();
    // Without the right DESCRIBE_CONFIGS, the limits stay unknown.
    let Ok(found) = admin.describe_configs(&wanted, &options(limit)).await else {
        return;
    };
    for (name, resource) in names.iter().zip(found) {
        if let (Some(topic), Ok(resource)) = (topics.get_mut(name), resource) {
            topic.limit = value(&resource, "max.message.bytes").and_then(|v| v.parse().ok());
            topic.min_isr = value(&resource, "min.insync.replicas").and_then(|v| v.parse().ok());
            topic.cleanup = value(&resource, "cleanup.policy");
        }
    }
}

fn value(resource: &ConfigResource, name: &str) -> Option<String> {
    resource.get(name).and_then(|entry| entry.value.clone())
}

fn options(limit: Duration) -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(limit))
        .operation_timeout(Some(limit))
}

/// Returns the known numbers of in-sync copies that topics need.
pub(super) fn needed_copies(topics: &BTreeMap<String, Topic>) -> HashMap<String, usize> {
    let topics = topics.iter();
    let needed = topics.filter_map(|(name, topic)| Some((name.clone(), topic.min_isr?)));
    needed.collect()
}

/// Returns a sentence about the topics that take no records, because too few copies are in sync. Pure.
pub(super) fn shortage(
    topics: &BTreeMap<String, Topic>,
    needed: &HashMap<String, usize>,
) -> Option<String> {
    let short = topics.iter().filter_map(|(name, topic)| {
        let (in_sync, needed) = (topic.in_sync?, *needed.get(name)?);
        let text = format!(
            "topic \"{name}\" has a partition with {in_sync} in-sync replicas, and needs {needed}"
        );
        (in_sync < needed).then_some(text)
    });
    let short: Vec<String> = short.collect();
    let next = "start the brokers that are missing; do not lower min.insync.replicas";
    (!short.is_empty()).then(|| format!("{}: {next}", short.join("; ")))
}

/// Returns the known limits of topics.
pub(super) fn limits(topics: &BTreeMap<String, Topic>) -> HashMap<String, usize> {
    topics
        .iter()
        .filter_map(|(name, topic)| Some((name.clone(), topic.limit?)))
        .collect()
}

/// Returns sentences about topics that will lose, copy or refuse messages. Pure.
pub(super) fn warnings(topics: &BTreeMap<String, Topic>, config: &KafkaConfig) -> Vec<String> {
    let mut found = Vec::new();
    for (name, topic) in topics {
        if topic.is_missing() {
            found.push(format!(
                "topic \"{name}\" is missing; its events wait in the outbox: create it, or set publisher.declare = true"
            ));
        } else if let Some(code) = topic.error {
            found.push(format!("topic \"{name}\": {}", text(code)));
        }
        if let Some(limit) = topic.limit.filter(|limit| *limit < config.largest_body) {
            found.push(format!(
                "topic \"{name}\" takes at most {limit} bytes, and sources accept bodies of up to {} bytes; larger ones are parked: raise \
                 max.message.bytes of the topic, or lower limits.max_body_bytes",
                config.largest_body
            ));
        }
        let copies = topic.layout.map(|(_, copies)| copies);
        if copies == Some(1) {
            found.push(format!(
                "topic \"{name}\" has one copy of each partition: its events are lost with the disk of one broker"
            ));
        } else if copies > Some(1) && topic.min_isr == Some(1) {
            found.push(format!(
                "topic \"{name}\" has min.insync.replicas = 1: a confirmed event may be on one broker only; set it to 2"
            ));
        }
        if topic
            .cleanup
            .as_deref()
            .is_some_and(|policy| policy.contains("compact"))
        {
            found.push(format!(
                "topic \"{name}\" is compacted: of events with the same key only the newest stays"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_with_too_few_in_sync_replicas_is_named_with_both_numbers() {
        let topic = |in_sync| Topic {
            in_sync: Some(in_sync),
            ..Topic::default()
        };
        let needed = HashMap::from([("t".to_owned(), 2)]);
        let of = |topic| shortage(&BTreeMap::from([("t".to_owned(), topic)]), &needed);
        assert_eq!(of(topic(2)), None);
        assert_eq!(of(Topic::default()), None, "the brokers do not tell");
        let found = of(topic(1)).expect("one is missing");
        assert!(
            found.contains("with 1 in-sync replicas, and needs 2"),
            "{found}"
        );
    }

    #[test]
    fn a_topic_that_takes_less_than_the_sources_is_named_with_both_sizes() {
        let topic = Topic {
            layout: Some((3, 3)),
            limit: Some(1_048_588),
            min_isr: Some(2),
            ..Topic::default()
        };
        let config = |largest_body| KafkaConfig {
            largest_body,
            ..super::super::testing::config("kafka://localhost")
        };
        let topics = BTreeMap::from([("t".to_owned(), topic)]);
        assert_eq!(warnings(&topics, &config(1_000_000)), [""; 0]);
        let found = warnings(&topics, &config(25_000_000));
        assert!(
            matches!(&found[..], [one] if one.contains("1048588") && one.contains("25000000")),
            "{found:?}"
        );
    }
}
