//! Reader of the file sink and of RabbitMQ queues: the messages as a consumer sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine as _;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicQosOptions,
    ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};

/// A message as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message id.
    pub id: String,
    /// Source that received the event.
    pub source: String,
    /// Id that the provider gives the event.
    pub event_id: String,
    /// Number of times that the message was handed to the queue, this time included.
    pub attempt: String,
    /// All other headers and properties: the same on every copy.
    pub properties: BTreeMap<String, String>,
    /// Body as received.
    pub body: Vec<u8>,
}

/// The one header that differs between copies.
const ATTEMPT: &str = "x-hookweir-attempt";

/// Every line of the file sink.
pub fn files(folder: &Path) -> Vec<Message> {
    let paths = paths(folder);
    assert!(
        !paths.is_empty(),
        "there are no files in {}",
        folder.display()
    );
    paths
        .iter()
        .flat_map(|path| lines(&std::fs::read(path).expect("a file of the sink")))
        .collect()
}

/// Every whole line of the file sink, which may be writing another one.
pub fn files_so_far(folder: &Path) -> Vec<Message> {
    let whole = |content: Vec<u8>| {
        let end = content.iter().rposition(|byte| *byte == b'\n');
        lines(&content[..end.map_or(0, |end| end + 1)])
    };
    let contents = paths(folder).into_iter().map(std::fs::read);
    contents
        .flat_map(|content| whole(content.unwrap_or_default()))
        .collect()
}

/// Waits until the file sink holds `expected` different messages; whether they are the right ones is for the [`Account`](super::oracle::Account) to say.
pub async fn files_hold(folder: &Path, expected: usize) {
    let (since, mut found) = (Instant::now(), 0);
    while since.elapsed() < Duration::from_secs(120) {
        let messages = files_so_far(folder).into_iter();
        found = messages
            .map(|message| message.id)
            .collect::<BTreeSet<_>>()
            .len();
        if found >= expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("the file sink holds {found} of {expected} messages after two minutes");
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    all.filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "jsonl")
    })
    .collect()
}

fn lines(content: &[u8]) -> Vec<Message> {
    assert!(
        content.is_empty() || content.ends_with(b"\n"),
        "the file sink's last line is torn"
    );
    let lines = content
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    lines
        .map(|line| {
            message(&serde_json::from_slice(line).expect("each line of the file sink is JSON"))
        })
        .collect()
}

fn message(line: &serde_json::Value) -> Message {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let body = match line.get("body_base64") {
        Some(encoded) => base64::engine::general_purpose::STANDARD
            .decode(text(encoded))
            .expect("base64"),
        None => text(&line["body"]).into_bytes(),
    };
    let headers = &line["headers"];
    let outer = line
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(name, _)| !["headers", "body", "body_base64"].contains(&name.as_str()));
    let properties = outer.chain(headers.as_object().expect("an object"));
    Message {
        id: text(&line["message_id"]),
        source: text(&headers["x-hookweir-source"]),
        event_id: text(&headers["cloudEvents:id"]),
        attempt: text(&headers["x-hookweir-attempt"]),
        properties: properties
            .filter(|(name, _)| *name != ATTEMPT)
            .map(|(name, value)| (name.clone(), value.to_string()))
            .collect(),
        body,
    }
}

/// The exchange and queues of one test on a RabbitMQ.
pub struct Queues {
    url: String,
    /// Exchange that the service publishes to.
    pub exchange: String,
    /// Queue of all events.
    pub events: String,
    /// Queue of messages that the exchange could not route.
    pub unrouted: String,
}

impl Queues {
    /// Names that no other test uses.
    pub fn new(url: &str) -> Self {
        let exchange = format!("test-{}", uuid::Uuid::now_v7().simple());
        Self {
            url: url.into(),
            events: format!("{exchange}.events"),
            unrouted: format!("{exchange}.unrouted"),
            exchange,
        }
    }

    /// The `[publisher]` keys that make Hookweir use them.
    pub fn config(&self) -> String {
        let Self {
            url,
            exchange,
            events,
            unrouted,
        } = self;
        format!(
            "[publisher]\nurl = \"{url}\"\nexchange = \"{exchange}\"\nqueue = \"{events}\"\nunrouted_queue = \"{unrouted}\"\n"
        )
    }

    async fn connect(&self) -> Connection {
        Connection::connect(&self.url, ConnectionProperties::default())
            .await
            .expect("RabbitMQ answers the test")
    }

    /// Consumes the queue until it has held `expected` different messages, or `patience` is over.
    pub async fn consume(&self, queue: &str, expected: usize, patience: Duration) -> Vec<Message> {
        use futures_util::StreamExt as _;
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("channel");
        // Without acknowledgements: one that is under way when its channel closes would bring its message back, as if published twice.
        let options = BasicConsumeOptions {
            no_ack: true,
            ..BasicConsumeOptions::default()
        };
        let consumer = channel
            .basic_consume(queue.into(), "test".into(), options, FieldTable::default())
            .await;
        let mut consumer = consumer.expect("the queue exists");
        let (mut messages, mut ids, since) = (Vec::new(), BTreeSet::new(), Instant::now());
        while ids.len() < expected {
            let left = patience.saturating_sub(since.elapsed());
            let Ok(Some(delivery)) = tokio::time::timeout(left, consumer.next()).await else {
                break;
            };
            let message = amqp_message(delivery.expect("delivery"));
            ids.insert(message.id.clone());
            messages.push(message);
        }
        // What was on its way already comes before the end.
        channel
            .basic_cancel("test".into(), BasicCancelOptions::default())
            .await
            .expect("cancelled");
        while let Some(delivery) = consumer.next().await {
            messages.push(amqp_message(delivery.expect("delivery")));
        }
        let _ = connection.close(200, "done".into()).await;
        messages
    }

    /// Returns the number of messages in the queue.
    pub async fn count(&self, queue: &str) -> u32 {
        let (connection, channel) = self.channel().await;
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let there = channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await
            .expect("the queue exists")
            .message_count();
        let _ = connection.close(200, "done".into()).await;
        there
    }

    /// Takes everything out of the queue, which nobody fills any more.
    pub async fn empty(&self, queue: &str, mut each: impl FnMut(Message)) {
        use futures_util::StreamExt as _;
        let there = self.count(queue).await;
        let (connection, channel) = self.channel().await;
        // Acknowledged in blocks, so that the broker never has more than these on their way. Nobody else consumes, so none comes twice.
        channel
            .basic_qos(2000, BasicQosOptions::default())
            .await
            .expect("qos");
        let consumer = channel
            .basic_consume(
                queue.into(),
                "test".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await;
        let mut consumer = consumer.expect("the queue exists");
        for number in 1..=there {
            let next = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
            let delivery = next
                .unwrap_or_else(|_| panic!("{queue} gave {number} of {there} messages"))
                .expect("a message")
                .expect("delivery");
            if number % 500 == 0 || number == there {
                let multiple = BasicAckOptions { multiple: true };
                channel
                    .basic_ack(delivery.delivery_tag, multiple)
                    .await
                    .expect("acknowledged");
            }
            each(amqp_message(delivery));
        }
        let _ = connection.close(200, "done".into()).await;
    }

    /// Takes all messages out of the queue and returns them.
    pub async fn rest(&self, queue: &str) -> Vec<Message> {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("channel");
        let mut messages = Vec::new();
        while let Some(message) = channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .expect("the queue exists")
        {
            messages.push(amqp_message(message.delivery));
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
            let _ = channel
                .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
                .await;
        }
        for exchange in [self.exchange.clone(), format!("{}.unrouted", self.exchange)] {
            let _ = channel
                .exchange_delete(exchange.into(), ExchangeDeleteOptions::default())
                .await;
        }
        let _ = connection.close(200, "done".into()).await;
    }
}

/// Returns a delivery as a message.
pub fn amqp_message(delivery: Delivery) -> Message {
    let properties = &delivery.properties;
    assert_eq!(
        *properties.delivery_mode(),
        Some(2),
        "messages are persistent"
    );
    let text = |name: &str, value: &AMQPValue| match value {
        AMQPValue::LongString(text) => text.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        other => panic!("header {name} is {other:?}"),
    };
    let headers = properties.headers().as_ref().expect("headers").inner();
    // The broker's own headers (`x-delivery-count`, when a consumer went away) are not ours.
    let ours = headers
        .iter()
        .filter(|(name, _)| *name.as_str() != *"x-delivery-count");
    let mut all: BTreeMap<String, String> = ours
        .map(|(name, value)| (name.to_string(), text(name.as_str(), value)))
        .collect();
    for (name, value) in [
        (
            "content_type",
            properties.content_type().as_ref().map(ToString::to_string),
        ),
        ("type", properties.kind().as_ref().map(ToString::to_string)),
        (
            "timestamp",
            properties.timestamp().as_ref().map(ToString::to_string),
        ),
    ] {
        all.insert(name.into(), value.unwrap_or_default());
    }
    Message {
        id: properties
            .message_id()
            .as_ref()
            .expect("message_id")
            .to_string(),
        source: all["x-hookweir-source"].clone(),
        event_id: all["cloudEvents:id"].clone(),
        attempt: all.remove(ATTEMPT).expect("an attempt"),
        properties: all,
        body: delivery.data,
    }
}
