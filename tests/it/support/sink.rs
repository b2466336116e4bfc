//! What came out: the messages in the file sink or in RabbitMQ, compared with what went in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicGetOptions, ExchangeDeleteOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};

use super::ledger::Ledger;

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub id: String,
    pub source: String,
    pub event_id: String,
    pub body: Vec<u8>,
}

/// Every line of the file sink.
pub fn files(folder: &Path) -> Vec<Message> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the sink's folder").map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths.iter().flat_map(|path| lines(&std::fs::read(path).expect("a file of the sink"))).collect()
}

fn lines(content: &[u8]) -> Vec<Message> {
    assert!(content.is_empty() || content.ends_with(b"\n"), "the file sink's last line is torn");
    let lines = content.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| message(&serde_json::from_slice(line).expect("each line of the file sink is JSON"))).collect()
}

fn message(line: &serde_json::Value) -> Message {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let body = match line.get("body_base64") {
        Some(encoded) => base64::engine::general_purpose::STANDARD.decode(text(encoded)).expect("base64"),
        None => text(&line["body"]).into_bytes(),
    };
    let headers = &line["headers"];
    Message { id: text(&line["message_id"]), source: text(&headers["x-hookweir-source"]), event_id: text(&headers["cloudEvents:id"]), body }
}

/// The exchange and queues of one test on a RabbitMQ.
pub struct Queues {
    url: String,
    pub exchange: String,
    pub events: String,
    pub unrouted: String,
}

impl Queues {
    /// Names that no other test uses.
    pub fn new(url: &str) -> Self {
        let exchange = format!("test-{}", uuid::Uuid::now_v7().simple());
        Self { url: url.into(), events: format!("{exchange}.events"), unrouted: format!("{exchange}.unrouted"), exchange }
    }

    /// The `[publisher]` keys that make Hookweir use them.
    pub fn config(&self) -> String {
        let Self { url, exchange, events, unrouted } = self;
        format!("[publisher]\nurl = \"{url}\"\nexchange = \"{exchange}\"\nqueue = \"{events}\"\nunrouted_queue = \"{unrouted}\"\n")
    }

    async fn connect(&self) -> Connection {
        Connection::connect(&self.url, ConnectionProperties::default()).await.expect("RabbitMQ answers the test")
    }

    /// Consumes the queue until it has held `expected` different messages, or `patience` is over.
    pub async fn consume(&self, queue: &str, expected: usize, patience: Duration) -> Vec<Message> {
        use futures_util::StreamExt as _;
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("channel");
        let mut consumer = channel
            .basic_consume(queue.into(), "test".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
            .expect("the queue exists");
        let (mut messages, mut ids, since) = (Vec::new(), BTreeSet::new(), Instant::now());
        while ids.len() < expected {
            let left = patience.saturating_sub(since.elapsed());
            let Ok(Some(delivery)) = tokio::time::timeout(left, consumer.next()).await else { break };
            let delivery = delivery.expect("delivery");
            let message = amqp_message(&delivery.properties, delivery.data.clone());
            ids.insert(message.id.clone());
            messages.push(message);
            delivery.ack(BasicAckOptions::default()).await.expect("ack");
        }
        let _ = connection.close(200, "done".into()).await;
        messages
    }

    /// What is in the queue now.
    pub async fn rest(&self, queue: &str) -> Vec<Message> {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("channel");
        let mut messages = Vec::new();
        while let Some(message) = channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.expect("the queue exists") {
            messages.push(amqp_message(&message.delivery.properties, message.delivery.data.clone()));
        }
        let _ = connection.close(200, "done".into()).await;
        messages
    }

    /// A channel for what else a test does to them.
    pub async fn channel(&self) -> (Connection, Channel) {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("channel");
        (connection, channel)
    }

    /// Leaves the shared broker as it was.
    pub async fn delete(&self) {
        let (connection, channel) = self.channel().await;
        for queue in [&self.events, &self.unrouted] {
            let _ = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
        }
        for exchange in [self.exchange.clone(), format!("{}.unrouted", self.exchange)] {
            let _ = channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await;
        }
        let _ = connection.close(200, "done".into()).await;
    }
}

fn amqp_message(properties: &lapin::BasicProperties, body: Vec<u8>) -> Message {
    assert_eq!(*properties.delivery_mode(), Some(2), "messages are persistent");
    let header = |name: &str| match properties.headers().as_ref().and_then(|headers| headers.inner().get(name)) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("header {name} is {other:?}"),
    };
    Message {
        id: properties.message_id().as_ref().expect("message_id").to_string(),
        source: header("x-hookweir-source"),
        event_id: header("cloudEvents:id"),
        body,
    }
}

/// The result of a comparison.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Taken with a 2xx, and not there.
    pub lost: Vec<String>,
    /// Messages beyond the first of their event.
    pub copies: usize,
    /// Other bytes, or another id, than were sent or answered.
    pub corrupt: Vec<String>,
    /// Messages of events that were never sent, or were forged.
    pub strangers: Vec<String>,
}

impl Account {
    /// Compares messages with the ledger of those who sent.
    pub fn of(ledger: &Ledger, messages: &[Message]) -> Self {
        let mut by_event: HashMap<(&str, &str), Vec<&Message>> = HashMap::new();
        for message in messages {
            by_event.entry((&message.source, &message.event_id)).or_default().push(message);
        }
        let mut account = Self::default();
        for entry in ledger.genuine() {
            let name = format!("{} {}", entry.event.provider.name(), entry.event.id);
            let found = by_event.remove(&(entry.event.provider.name(), entry.event.id.as_str())).unwrap_or_default();
            if found.is_empty() && entry.is_taken() {
                account.lost.push(name.clone());
            }
            account.copies += found.len().saturating_sub(1);
            let right = |message: &&&Message| message.body == entry.event.body && entry.message_ids().iter().all(|id| *id == message.id);
            if found.iter().filter(right).count() < found.len() {
                account.corrupt.push(name);
            }
        }
        account.strangers = by_event.keys().map(|(source, id)| format!("{source} {id}")).collect();
        account
    }

    /// Nothing lost, nothing changed, nothing that nobody sent.
    pub fn check(&self) {
        let brief: BTreeMap<_, _> = [("lost", &self.lost), ("corrupt", &self.corrupt), ("strangers", &self.strangers)]
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .collect();
        let counts: BTreeMap<_, _> = brief.iter().map(|(what, which)| (what, (which.len(), &which[0]))).collect();
        assert!(counts.is_empty(), "not what was sent (count, first): {counts:?}");
    }

    /// And each once.
    pub fn check_once(&self) {
        self.check();
        assert_eq!(self.copies, 0, "copies without a fault");
    }
}
