//! A look at messages as they arrive at the exchange: for `hookweir send --wait`.

use base64::Engine;
use futures_util::StreamExt as _;
use lapin::Consumer;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde_json::{Map, Value, json};

use super::connection::RabbitmqConnection;
use super::{RabbitmqConfig, RabbitmqSink, explain};
use crate::config::amqp_url::AmqpUrl;
use crate::config::model::Publisher;
use crate::publish::sinks::{Connection, PublishError};

/// Most messages that the temporary queue holds; the oldest give way.
const MAX_MESSAGES: i32 = 10_000;

/// A temporary queue that gets a copy of each message of the exchange. It vanishes with its connection.
pub struct TemporaryQueue {
    connection: RabbitmqConnection,
    consumer: Consumer,
}

impl TemporaryQueue {
    /// Connects to the broker at `url`, and binds a temporary queue to the exchange.
    pub async fn bind(url: &AmqpUrl, publisher: &Publisher) -> Result<Self, PublishError> {
        let sink = RabbitmqSink::new(&RabbitmqConfig::from_publisher(url, publisher))?;
        let connection = sink.open().await?;
        let consume = consume(connection.client(), &sink.topology.exchange);
        match tokio::time::timeout(sink.connect_timeout, consume).await {
            Ok(Ok(consumer)) => Ok(Self {
                connection,
                consumer,
            }),
            Ok(Err(error)) => Err(connection.failed(&explain(&error))),
            Err(_) => Err(connection.failed("no answer about a temporary queue")),
        }
    }
}

async fn consume(client: &lapin::Connection, exchange: &ShortString) -> lapin::Result<Consumer> {
    let channel = client.create_channel().await?;
    let temporary = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(MAX_MESSAGES));
    let queue = channel
        .queue_declare("".into(), temporary, arguments)
        .await?;
    let name = queue.name().clone();
    let (all, none) = (QueueBindOptions::default(), FieldTable::default());
    channel
        .queue_bind(name.clone(), exchange.clone(), "#".into(), all, none)
        .await?;
    let options = BasicConsumeOptions {
        no_ack: true,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(name, "".into(), options, FieldTable::default())
        .await
}

impl TemporaryQueue {
    /// Waits for the message `id`, and returns it as a line of JSON.
    pub async fn message(&mut self, id: &str) -> Result<String, PublishError> {
        while let Some(delivery) = self.consumer.next().await {
            let delivery = delivery.map_err(|error| self.connection.failed(&explain(&error)))?;
            let found = delivery.properties.message_id().as_ref();
            if found.is_some_and(|found| found.as_str() == id) {
                return Ok(json_line(&delivery));
            }
        }
        Err(self.connection.failed("the temporary queue is gone"))
    }

    /// Closes the connection, and the queue with it.
    pub async fn close(self) {
        self.connection.close().await;
    }
}

fn json_line(delivery: &Delivery) -> String {
    let properties = &delivery.properties;
    let mut line = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        value.map(|value| line.insert(name.to_owned(), value));
    };
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| json!(text.as_str()));
    put("message_id", text(properties.message_id()));
    put("routing_key", Some(json!(delivery.routing_key.as_str())));
    put("content_type", text(properties.content_type()));
    put("type", text(properties.kind()));
    put("headers", properties.headers().as_ref().map(headers));
    match std::str::from_utf8(&delivery.data) {
        Ok(body) => put("body", Some(json!(body))),
        Err(_) => {
            let base64 = base64::engine::general_purpose::STANDARD.encode(&delivery.data);
            put("body_base64", Some(json!(base64)));
        }
    }
    Value::Object(line).to_string()
}

fn headers(table: &FieldTable) -> Value {
    let shown = table.inner().iter().map(|(name, value)| {
        let value = match value {
            AMQPValue::LongString(text) => json!(text.to_string()),
            AMQPValue::ShortString(text) => json!(text.as_str()),
            AMQPValue::LongInt(number) => json!(number),
            AMQPValue::LongLongInt(number) => json!(number),
            other => json!(format!("{other:?}")),
        };
        (name.to_string(), value)
    });
    Value::Object(shown.collect())
}
