//! One producer of one publish task.
//!
//! The library puts the records of a producer into one record batch for each partition, and a broker
//! refuses a record batch as a whole. With a producer for each channel, a message that goes alone is
//! alone in its record batch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::oneshot;

use super::cluster::Cluster;
use super::reports::{ChannelContext, Reports};
use super::topic::Naming;
use super::verdict::{self, Sent, ends_producer};
use crate::publish::envelope::{KAFKA_ATTRIBUTES, MESSAGE_ID, Message};
use crate::publish::sinks::{Channel, ConnectionState, PublishResult};

/// Longest time for the reports of purged records.
const PURGE: Duration = Duration::from_secs(5);

/// A producer, and the reports of its batch under way.
pub(super) struct KafkaChannel {
    producer: Option<ThreadedProducer<ChannelContext>>,
    reports: Arc<Reports>,
    cluster: Arc<Cluster>,
    naming: Arc<Naming>,
    patience: Patience,
    /// `false` while a batch is under way, and after one was given up.
    usable: bool,
}

/// Times after which something follows from silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Time without a report after which the cluster is tried.
    pub(super) confirm_timeout: Duration,
    /// Time without a report, while the cluster answers, after which a batch is given up.
    pub(super) give_up: Duration,
}

/// Reason for which a batch is waited for no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GivenUp {
    Closed,
    NoBrokers,
    Stuck,
}

impl GivenUp {
    fn why(self) -> &'static str {
        match self {
            Self::Closed => "the connection was closed",
            Self::NoBrokers => {
                "the brokers answered that the cluster has none, so this producer knows no broker any more and is replaced"
            }
            Self::Stuck => {
                "no confirm for long, and the brokers answer: a partition has no leader or too few in-sync replicas"
            }
        }
    }
}

impl KafkaChannel {
    pub(super) fn new(
        producer: ThreadedProducer<ChannelContext>,
        cluster: Arc<Cluster>,
        naming: Arc<Naming>,
        patience: Patience,
    ) -> Self {
        let reports = producer.client().context().reports.clone();
        Self {
            producer: Some(producer),
            reports,
            cluster,
            naming,
            patience,
            usable: true,
        }
    }

    /// Hands a message to the library, which copies it. A refusal is its report.
    fn send(&self, producer: &ThreadedProducer<ChannelContext>, place: usize, message: &Message) {
        let (topic, key) = (self.naming.topic(message), self.naming.key(message));
        let mut record = BaseRecord::with_opaque_to(&topic, place)
            .payload(&message.event.body[..])
            .headers(headers(message));
        record.key = key.as_deref();
        if let Err((error, _)) = producer.send(record) {
            let code = match error {
                KafkaError::MessageProduction(code) => code,
                _ => Code::InvalidTopic,
            };
            self.reports.add(place, code);
        }
    }

    /// Waits for all reports of a batch. There is no time limit while the cluster is away: the library
    /// goes on with the same sequence numbers, so that nothing is written twice. What anybody else sends
    /// again would be a copy.
    async fn wait(
        &self,
        producer: &ThreadedProducer<ChannelContext>,
        mut done: oneshot::Receiver<Vec<Code>>,
    ) -> (Vec<Code>, Option<GivenUp>) {
        let mut state = self.cluster.state.subscribe();
        let mut silence = Duration::ZERO;
        let mut seen = (self.reports.count(), self.cluster.answers());
        loop {
            let given_up = tokio::select! {
                codes = &mut done => return (codes.unwrap_or_default(), None),
                _ = state.wait_for(|state| matches!(state, ConnectionState::Down(_))) => {
                    Some(GivenUp::Closed)
                }
                () = tokio::time::sleep(self.patience.confirm_timeout) => {
                    let now = (self.reports.count(), self.cluster.answers());
                    let answered = now.1 != seen.1 && self.cluster.is_up();
                    if now.0 != seen.0 {
                        silence = Duration::ZERO;
                    } else if answered {
                        silence += self.patience.confirm_timeout;
                    }
                    seen = now;
                    self.cluster.try_now.notify_one();
                    if answered && !producer.client().context().knows_a_broker() {
                        Some(GivenUp::NoBrokers)
                    } else {
                        (silence >= self.patience.give_up).then_some(GivenUp::Stuck)
                    }
                }
            };
            if given_up.is_some() {
                producer.purge(PurgeConfig::default().queue().inflight());
                let codes = match tokio::time::timeout(PURGE, &mut done).await {
                    Ok(codes) => codes,
                    Err(_) => {
                        self.reports.finish();
                        done.await
                    }
                };
                return (codes.unwrap_or_default(), given_up);
            }
        }
    }

    /// Returns the result of a message with the given report.
    fn result(&self, message: &Message, code: Code, given_up: Option<GivenUp>) -> PublishResult {
        if code == Code::NoError {
            return PublishResult::Confirmed;
        }
        let topic = self.naming.topic(message);
        match given_up {
            Some(reason)
                if matches!(code, Code::PurgeQueue | Code::PurgeInflight | Code::Unknown) =>
            {
                let why = format!("{}: topic \"{topic}\": {}", self.cluster.name, reason.why());
                match reason {
                    // The next connection, or the next producer, sends it at once.
                    GivenUp::Closed | GivenUp::NoBrokers => PublishResult::Unknown(why),
                    // A partition that is stuck needs time, and its messages must not hold up the others.
                    GivenUp::Stuck => PublishResult::Nacked(why),
                }
            }
            _ => verdict::result(
                code,
                Sent {
                    topic: &topic,
                    bytes: message.event.body.len(),
                    limit: self.cluster.limit(&topic),
                },
            ),
        }
    }
}

#[async_trait]
impl Channel for KafkaChannel {
    async fn publish(&mut self, batch: &[Message]) -> Vec<PublishResult> {
        let cluster = self.cluster.clone();
        let _under_way = cluster.under_way.read().await;
        let usable = std::mem::replace(&mut self.usable, false);
        let Some(producer) = self.producer.as_ref().filter(|_| usable) else {
            let why = format!("{}: the producer was replaced", self.cluster.name);
            return vec![PublishResult::Unknown(why); batch.len()];
        };
        let done = self.reports.begin(batch.len());
        for (place, message) in batch.iter().enumerate() {
            self.send(producer, place, message);
        }
        let (codes, given_up) = self.wait(producer, done).await;
        let fatal = producer.client().fatal_error();
        let refused = matches!(fatal, Some((Code::ClusterAuthorizationFailed, _)));
        // A refusal is said with its messages, and comes with each producer.
        if let Some((code, why)) = fatal.as_ref().filter(|_| !refused) {
            tracing::warn!(
                "{}: the producer is of no use any more, and is replaced: {code:?}: {why}",
                self.cluster.name
            );
        }
        self.usable =
            given_up.is_none() && fatal.is_none() && !codes.iter().copied().any(ends_producer);
        let mut codes = codes.into_iter();
        let results = batch.iter().map(|message| {
            let code = match codes.next().unwrap_or(Code::Unknown) {
                // The library purges what waits for a producer that is refused. The next one is refused too.
                Code::PurgeQueue if refused => Code::ClusterAuthorizationFailed,
                code => code,
            };
            self.result(message, code, given_up)
        });
        results.collect()
    }

    fn is_open(&self) -> bool {
        let knows_a_broker = |producer: &ThreadedProducer<ChannelContext>| {
            producer.client().context().knows_a_broker()
        };
        self.usable
            && !self.cluster.is_closed()
            && self.producer.as_ref().is_some_and(knows_a_broker)
    }
}

impl Drop for KafkaChannel {
    fn drop(&mut self) {
        // The library's threads need up to a second to end.
        if let Some(producer) = self.producer.take() {
            off_the_runtime(producer);
        }
    }
}

/// Drops a client on a thread of its own: that blocks.
pub(super) fn off_the_runtime(client: impl Send + 'static) {
    // Without a thread it is dropped here.
    let _ = std::thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || drop(client));
}

/// Returns the headers of a record: CloudEvents' binary mode, ours, and the provider's.
fn headers(message: &Message) -> OwnedHeaders {
    let ours = message.headers_with(&KAFKA_ATTRIBUTES);
    let id = message.id.to_string();
    let mut headers = OwnedHeaders::new_with_capacity(ours.len() + 2);
    let content_type = message.event.content_type.as_deref();
    if let Some(content_type) = content_type {
        headers = insert(headers, "content-type", content_type);
    }
    headers = insert(headers, MESSAGE_ID, &id);
    for (name, value) in &ours {
        if content_type.is_none() || !name.eq_ignore_ascii_case("content-type") {
            headers = insert(headers, name, value);
        }
    }
    headers
}

fn insert(headers: OwnedHeaders, name: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header {
        key: name,
        value: Some(value),
    })
}
