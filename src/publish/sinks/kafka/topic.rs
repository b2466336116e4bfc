//! Topics and keys of records: templates, filled in for each event. Pure.

use std::collections::{BTreeSet, HashMap};

use super::KafkaConfig;
use crate::domain::delivery::SourceName;
use crate::domain::event_order::EventOrder;
use crate::domain::text::cut;
use crate::publish::envelope::{Message, UNTYPED};
use crate::publish::template::{self, Placeholder, Template, Values};

/// Longest name of a topic, in bytes.
const MAX_TOPIC: usize = 249;
/// Longest key, in bytes.
const MAX_KEY: usize = 1024;

/// Topics of a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicNames {
    /// One topic.
    One(String),
    /// One for each type of event; all their names start so.
    StartingWith(String),
}

/// Compiled templates of topics and keys.
#[derive(Clone, Debug)]
pub(super) struct Naming {
    default: Names,
    order: EventOrder,
    own: HashMap<SourceName, Names>,
}

/// Compiled templates of one source.
#[derive(Clone, Debug)]
struct Names {
    topic: Template,
    key: Template,
}

impl Naming {
    /// Compiles the templates of the configuration.
    pub(super) fn new(config: &KafkaConfig) -> Result<Self, String> {
        let default = Names {
            topic: template::topic(&config.topic)?,
            key: template::record_key(&config.key)?,
        };
        let mut own = HashMap::new();
        for source in &config.sources {
            let of_source = |why: String| format!("source {}: {why}", source.name);
            let topic = source.topic.as_deref().map(template::topic).transpose();
            let key = source.key.as_deref().map(template::record_key).transpose();
            let names = Names {
                topic: topic.map_err(of_source)?.unwrap_or(default.topic.clone()),
                key: key.map_err(of_source)?.unwrap_or(default.key.clone()),
            };
            own.insert(source.name.clone(), names);
        }
        Ok(Self {
            default,
            order: config.ordered.clone(),
            own,
        })
    }

    fn of(&self, source: &SourceName) -> &Names {
        self.own.get(source).unwrap_or(&self.default)
    }

    /// Returns the topic of a message.
    pub(super) fn topic(&self, message: &Message) -> String {
        let names = self.of(&message.event.source);
        with_values(message, |values| topic(&names.topic, values))
    }

    /// Returns the key of a message. None: it has none. At an ordered sink, `{message_id}` alone stands for
    /// the key of the order: a consumer sees the order within a partition only.
    pub(super) fn key(&self, message: &Message) -> Option<String> {
        let names = self.of(&message.event.source);
        if names.key.is_empty() {
            return None;
        }
        if names.key.is_only(Placeholder::MessageId) {
            let event = &*message.event;
            if let Some(value) = self.order.value(&event.source, &event.body) {
                return Some(cut(&value, MAX_KEY).to_owned());
            }
        }
        Some(with_values(message, |values| {
            names.key.render(values, MAX_KEY)
        }))
    }

    /// Returns all topics of the configured sources. Fails if the topics of one cannot be told from those of
    /// others.
    pub(super) fn all_topics(&self) -> Result<BTreeSet<TopicNames>, String> {
        let named = |(source, names): (&SourceName, &Names)| {
            let name = |event_type| {
                let values = Values {
                    source: source.as_str(),
                    event_type,
                    id: "",
                    message_id: "",
                };
                topic(&names.topic, &values)
            };
            if !names.topic.has(Placeholder::Type) {
                return Ok(TopicNames::One(name("")));
            }
            let start = common_start(&name("a"), &name("b"));
            if start.is_empty() {
                return Err(format!(
                    "source {source}: its topic begins with {{type}}, so that its topics cannot be told from others; \
                     begin it with a fixed text or with {{source}}"
                ));
            }
            Ok(TopicNames::StartingWith(start))
        };
        self.own.iter().map(named).collect()
    }

    /// Returns the topics of the sources that the configuration alone decides: those without `{type}`.
    pub(super) fn of_sources(&self) -> BTreeSet<String> {
        self.own
            .iter()
            .filter_map(|(source, names)| {
                let template = &names.topic;
                let values = Values {
                    source: source.as_str(),
                    event_type: "",
                    id: "",
                    message_id: "",
                };
                (!template.has(Placeholder::Type)).then(|| topic(template, &values))
            })
            .collect()
    }
}

fn with_values<T>(message: &Message, work: impl FnOnce(&Values<'_>) -> T) -> T {
    let event = &*message.event;
    work(&Values {
        source: event.source.as_str(),
        event_type: event.event_type.as_deref().unwrap_or(UNTYPED),
        id: event.event_id.as_str(),
        message_id: &message.id.to_string(),
    })
}

/// Returns the name of a topic. Kafka takes letters, digits, ".", "_" and "-", and neither "." nor "..".
fn topic(template: &Template, values: &Values<'_>) -> String {
    let name: String = template
        .render(values, MAX_TOPIC)
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect();
    match &*name {
        "" | "." | ".." => "-".to_owned(),
        _ => name,
    }
}

/// Returns what two names start with. A topic is ASCII.
fn common_start(a: &str, b: &str) -> String {
    let both = a.chars().zip(b.chars());
    both.take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(template: &str, event_type: &str) -> Result<String, String> {
        let values = Values {
            source: "stripe",
            event_type,
            id: "evt_1",
            message_id: "id",
        };
        template::topic(template).map(|template| topic(&template, &values))
    }

    #[test]
    fn a_topic_has_only_what_kafka_takes() {
        assert_eq!(
            render("hookweir.{source}", "x").as_deref(),
            Ok("hookweir.stripe")
        );
        assert_eq!(
            render("{source}/{type}", "invoice.paid é").as_deref(),
            Ok("stripe-invoice.paid--")
        );
        assert_eq!(render("{type}", "..").as_deref(), Ok("-"));
        for wrong in ["", "{id}", "{message_id}", "a{", "{topic}"] {
            assert!(render(wrong, "x").is_err(), "{wrong:?} was accepted");
        }
        assert!(template::record_key("").is_ok_and(|key| key.is_empty()));
    }

    #[test]
    fn a_reader_finds_all_topics_of_a_source() {
        let topics = |template: &str| {
            let config = KafkaConfig {
                topic: template.to_owned(),
                sources: vec![super::super::KafkaSource {
                    name: SourceName::parse("gh").expect("a name"),
                    topic: None,
                    key: None,
                }],
                ..super::super::testing::config("kafka://localhost")
            };
            Naming::new(&config).expect("valid").all_topics()
        };
        let one = |name: &str| Ok(BTreeSet::from([TopicNames::One(name.to_owned())]));
        let start = |name: &str| Ok(BTreeSet::from([TopicNames::StartingWith(name.to_owned())]));
        assert_eq!(topics("hookweir.{source}"), one("hookweir.gh"));
        assert_eq!(topics("{source}.{type}.x"), start("gh."));
        assert_eq!(topics("a/{type}"), start("a-"));
        assert!(topics("{type}").is_err_and(|why| why.contains("source gh")));
    }

    proptest! {
        #[test]
        fn every_topic_is_one_that_kafka_takes(template in "(\\{source\\}|\\{type\\}|[a-z/.é]{0,9}){1,9}", kind in "\\PC{0,400}") {
            if let Ok(topic) = render(&template, &kind) {
                prop_assert!((1..=MAX_TOPIC).contains(&topic.len()));
                prop_assert!(topic != "." && topic != "..");
                prop_assert!(topic.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)));
            }
        }
    }
}
