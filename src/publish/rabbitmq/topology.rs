//! What must be at the broker: the exchange, a queue for what no queue is bound for, and a first queue.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use super::explain;
use crate::config::model::{Publisher, QueueType};
use crate::publish::PublishError;

/// The names and kinds of what is declared, or checked for.
#[derive(Clone, Debug)]
pub struct Topology {
    exchange: ShortString,
    /// Takes what the exchange cannot route, and passes it to `unrouted`.
    alternate: ShortString,
    unrouted: ShortString,
    queue: Option<ShortString>,
    queue_type: QueueType,
    declare: bool,
}

impl Topology {
    /// As configured.
    pub fn new(config: &Publisher) -> Result<Self, PublishError> {
        let name = |key: &str, name: &str| {
            ShortString::try_new(name).map_err(|_| PublishError(format!("publisher.{key} is longer than the 255 bytes of an AMQP name")))
        };
        Ok(Self {
            exchange: name("exchange", &config.exchange)?,
            alternate: name("exchange", &format!("{}.unrouted", config.exchange))?,
            unrouted: name("unrouted_queue", &config.unrouted_queue)?,
            queue: config.queue.as_deref().map(|queue| name("queue", queue)).transpose()?,
            queue_type: config.queue_type,
            declare: config.declare,
        })
    }

    pub(super) fn exchange(&self) -> ShortString {
        self.exchange.clone()
    }

    /// Declares all of it, or, if that is not asked for, makes sure that the exchange is there.
    pub(super) async fn bring_up(&self, channel: &Channel) -> Result<(), String> {
        if !self.declare {
            return exists(channel, &self.exchange).await.map_err(|error| {
                let hint = "create it, or set publisher.declare = true";
                self.refused(&error, &format!("exchange \"{}\"", self.exchange), hint)
            });
        }
        let of_exchange = |error: &lapin::Error, name: &ShortString| {
            let hint = "delete it at the broker, or set publisher.declare = false";
            self.refused(error, &format!("exchange \"{name}\""), hint)
        };
        let of_queue = |error: &lapin::Error, name: &ShortString| {
            let hint = "delete it at the broker, name another in publisher.queue, or set publisher.queue_type to what it is";
            self.refused(error, &format!("queue \"{name}\""), hint)
        };

        // From the far end to the near one, so that nothing is routed to a place that is not there yet.
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let none = FieldTable::default;
        let declared = channel.exchange_declare(self.alternate.clone(), ExchangeKind::Fanout, durable, none());
        declared.await.map_err(|error| of_exchange(&error, &self.alternate))?;
        // A stream would not forget what was looked at and dealt with.
        let kind = if self.queue_type == QueueType::Classic { "classic" } else { "quorum" };
        self.queue(channel, &self.unrouted, kind, &self.alternate, "").await.map_err(|error| of_queue(&error, &self.unrouted))?;

        let mut arguments = none();
        arguments.insert("alternate-exchange".into(), AMQPValue::LongString(self.alternate.as_str().into()));
        let declared = channel.exchange_declare(self.exchange.clone(), ExchangeKind::Topic, durable, arguments);
        declared.await.map_err(|error| of_exchange(&error, &self.exchange))?;
        if let Some(queue) = &self.queue {
            let kind = match self.queue_type {
                QueueType::Quorum => "quorum",
                QueueType::Classic => "classic",
                QueueType::Stream => "stream",
            };
            self.queue(channel, queue, kind, &self.exchange, "#").await.map_err(|error| of_queue(&error, queue))?;
        }
        Ok(())
    }

    async fn queue(&self, channel: &Channel, name: &ShortString, kind: &str, exchange: &ShortString, key: &str) -> lapin::Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(name.clone(), durable, arguments).await?;
        let bind = channel.queue_bind(name.clone(), exchange.clone(), key.into(), QueueBindOptions::default(), FieldTable::default());
        bind.await
    }

    /// What is there, without changing anything.
    pub(super) async fn look(&self, connection: &Connection) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        let queues = self.queue.iter().chain([&self.unrouted]).map(|name| ("queue", name));
        for (kind, name) in std::iter::once(("exchange", &self.exchange)).chain(queues) {
            // The broker closes the channel on which something was missing.
            let channel = connection.create_channel().await.map_err(|error| explain(&error))?;
            let there = if kind == "exchange" {
                exists(&channel, name).await
            } else {
                let passive = QueueDeclareOptions { passive: true, ..Default::default() };
                channel.queue_declare(name.clone(), passive, FieldTable::default()).await.map(drop)
            };
            found.push(match there {
                Ok(()) => format!("{kind} \"{name}\" is there"),
                Err(error) if code(&error) == Some(404) && self.declare => format!("{kind} \"{name}\" is missing; it will be declared"),
                Err(error) if code(&error) == Some(404) && kind == "queue" => format!("{kind} \"{name}\" is missing"),
                Err(error) => {
                    return Err(self.refused(&error, &format!("{kind} \"{name}\""), "create it, or set publisher.declare = true"));
                }
            });
        }
        Ok(found)
    }

    /// What the broker has against `thing`, and what to do.
    fn refused(&self, error: &lapin::Error, thing: &str, hint: &str) -> String {
        let why = explain(error);
        match code(error) {
            Some(404) => format!("{thing} is missing ({why}): {hint}"),
            Some(405 | 406) => format!("{thing} is there already, but of another kind ({why}): {hint}"),
            _ => format!("{thing}: {why}"),
        }
    }
}

async fn exists(channel: &Channel, exchange: &ShortString) -> lapin::Result<()> {
    let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
    channel.exchange_declare(exchange.clone(), ExchangeKind::Topic, passive, FieldTable::default()).await
}

fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
