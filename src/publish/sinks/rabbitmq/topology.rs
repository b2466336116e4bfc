//! Topology at the broker: the exchange, the queue for unroutable messages, and the first queue.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use super::{RabbitmqConfig, explain, reply_code};
use crate::config::model::QueueType;
use crate::publish::sinks::PublishError;

/// Names and kinds of the exchanges and queues that are declared, or checked for.
#[derive(Clone, Debug)]
pub(super) struct Topology {
    pub(super) exchange: ShortString,
    /// Exchange for messages that the main one cannot route. It passes them to `unrouted`.
    pub(super) alternate: ShortString,
    pub(super) unrouted: ShortString,
    pub(super) queue: Option<ShortString>,
    queue_type: QueueType,
    pub(super) declare: bool,
}

/// An exchange or queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entity<'t> {
    pub(super) name: &'t ShortString,
    pub(super) kind: Kind<'t>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'t> {
    /// A topic exchange with this alternate exchange.
    Topic(&'t ShortString),
    Fanout,
    /// A queue of this type.
    Queue(&'static str),
}

impl Topology {
    /// Returns the configured topology.
    pub(super) fn new(config: &RabbitmqConfig) -> Result<Self, PublishError> {
        let name = |key: &str, name: &str| {
            ShortString::try_new(name).map_err(|_| {
                PublishError(format!(
                    "publisher.{key} is longer than the 255 bytes of an AMQP name"
                ))
            })
        };
        Ok(Self {
            exchange: name("exchange", &config.exchange)?,
            alternate: name("exchange", &format!("{}.unrouted", config.exchange))?,
            unrouted: name("unrouted_queue", &config.unrouted_queue)?,
            queue: config
                .queue
                .as_deref()
                .map(|queue| name("queue", queue))
                .transpose()?,
            queue_type: config.queue_type,
            declare: config.declare,
        })
    }

    pub(super) fn main_exchange(&self) -> Entity<'_> {
        Entity {
            name: &self.exchange,
            kind: Kind::Topic(&self.alternate),
        }
    }

    pub(super) fn alternate_exchange(&self) -> Entity<'_> {
        Entity {
            name: &self.alternate,
            kind: Kind::Fanout,
        }
    }

    pub(super) fn unrouted_queue(&self) -> Entity<'_> {
        // A stream would keep messages that were dealt with.
        Entity {
            name: &self.unrouted,
            kind: Kind::Queue(if self.queue_type == QueueType::Classic {
                "classic"
            } else {
                "quorum"
            }),
        }
    }

    pub(super) fn first_queue(&self) -> Option<Entity<'_>> {
        let kind = match self.queue_type {
            QueueType::Quorum => "quorum",
            QueueType::Classic => "classic",
            QueueType::Stream => "stream",
        };
        self.queue.as_ref().map(|name| Entity {
            name,
            kind: Kind::Queue(kind),
        })
    }

    /// Declares all entities. With `publisher.declare = false`, only checks that the exchange
    /// exists.
    pub(super) async fn bring_up(&self, channel: &Channel) -> Result<(), String> {
        let exchange = self.main_exchange();
        if !self.declare {
            return exchange
                .exists(channel)
                .await
                .map_err(|error| self.refused(&error, exchange));
        }
        let declare = async |entity: Entity<'_>| {
            entity
                .declare(channel)
                .await
                .map_err(|error| self.refused(&error, entity))
        };
        let bind = async |queue: Entity<'_>, to: &ShortString, key: &str| {
            let bound = channel.queue_bind(
                queue.name.clone(),
                to.clone(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.map_err(|error| self.refused(&error, queue))
        };
        // From the far end to the near one, so that nothing is routed to a queue that does not
        // exist yet.
        declare(self.alternate_exchange()).await?;
        declare(self.unrouted_queue()).await?;
        bind(self.unrouted_queue(), &self.alternate, "").await?;
        declare(exchange).await?;
        if let Some(queue) = self.first_queue() {
            declare(queue).await?;
            bind(queue, &self.exchange, "#").await?;
        }
        Ok(())
    }

    /// Returns the broker's error about `entity`, and a remedy.
    pub(super) fn refused(&self, error: &lapin::Error, entity: Entity<'_>) -> String {
        let why = explain(error);
        match reply_code(error) {
            Some(404) => {
                format!("{entity} is missing ({why}): create it, or set publisher.declare = true")
            }
            Some(405 | 406) => format!(
                "{entity} is there already, but of another kind ({why}): {}",
                self.instead(entity)
            ),
            Some(403) => format!("{entity}: {why}; {}", self.rights()),
            _ => format!("{entity}: {why}"),
        }
    }

    /// Returns remedies for an existing entity of another kind, the harmless ones first.
    fn instead(&self, entity: Entity<'_>) -> String {
        match entity.kind {
            Kind::Topic(alternate) => format!(
                "name another exchange in publisher.exchange; or keep this one, set publisher.declare = false, and, where only the alternate \
                 exchange is missing, give it by a policy: rabbitmqctl set_policy hookweir '^{}$' '{{\"alternate-exchange\":\"{alternate}\"}}' \
                 --apply-to exchanges. To delete it would lose its bindings",
                entity.name
            ),
            Kind::Fanout => {
                "set publisher.declare = false, or name another exchange in publisher.exchange; this one is made of its name".to_owned()
            }
            Kind::Queue(_) => {
                let option = if entity.name == &self.unrouted { "unrouted_queue" } else { "queue" };
                format!(
                    "name another in publisher.{option}, set publisher.queue_type to what it is, or set publisher.declare = false and bind it \
                     yourself. To delete it would lose its messages"
                )
            }
        }
    }

    /// Returns the permissions that the broker's user needs, as a command.
    pub(super) fn rights(&self) -> String {
        let names = [&self.exchange, &self.alternate, &self.unrouted]
            .into_iter()
            .chain(&self.queue);
        let names: Vec<String> = names
            .map(|name| name.as_str().replace('.', "\\."))
            .collect();
        let all = format!("'^({})$'", names.join("|"));
        if self.declare {
            format!(
                "rabbitmqctl set_permissions -p VHOST USER {all} {all} {all}; or set publisher.declare = false, which needs \"write\" only"
            )
        } else {
            format!(
                "rabbitmqctl set_permissions -p VHOST USER '^$' '^{}$' '^$'",
                self.exchange.as_str().replace('.', "\\.")
            )
        }
    }
}

impl Entity<'_> {
    /// Declares the entity. If it exists, nothing changes, and a difference is an error.
    pub(super) async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        let mut arguments = FieldTable::default();
        match self.kind {
            Kind::Topic(alternate) => {
                arguments.insert(
                    "alternate-exchange".into(),
                    AMQPValue::LongString(alternate.as_str().into()),
                );
            }
            Kind::Queue(kind) => {
                arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
            }
            Kind::Fanout => {}
        }
        self.declare_with(channel, arguments).await
    }

    pub(super) async fn declare_with(
        &self,
        channel: &Channel,
        arguments: FieldTable,
    ) -> lapin::Result<()> {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        match self.kind {
            Kind::Topic(_) => {
                channel
                    .exchange_declare(self.name.clone(), ExchangeKind::Topic, durable, arguments)
                    .await
            }
            Kind::Fanout => {
                channel
                    .exchange_declare(self.name.clone(), ExchangeKind::Fanout, durable, arguments)
                    .await
            }
            Kind::Queue(_) => {
                let durable = QueueDeclareOptions {
                    durable: true,
                    ..Default::default()
                };
                channel
                    .queue_declare(self.name.clone(), durable, arguments)
                    .await
                    .map(drop)
            }
        }
    }

    /// Checks that the entity exists, of whatever kind.
    pub(super) async fn exists(&self, channel: &Channel) -> lapin::Result<()> {
        match self.kind {
            Kind::Topic(_) | Kind::Fanout => {
                let passive = ExchangeDeclareOptions {
                    passive: true,
                    ..Default::default()
                };
                channel
                    .exchange_declare(
                        self.name.clone(),
                        ExchangeKind::Topic,
                        passive,
                        FieldTable::default(),
                    )
                    .await
            }
            Kind::Queue(_) => {
                let passive = QueueDeclareOptions {
                    passive: true,
                    ..Default::default()
                };
                channel
                    .queue_declare(self.name.clone(), passive, FieldTable::default())
                    .await
                    .map(drop)
            }
        }
    }
}

impl std::fmt::Display for Entity<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if matches!(self.kind, Kind::Queue(_)) {
            "queue"
        } else {
            "exchange"
        };
        write!(f, "{kind} \"{}\"", self.name)
    }
}
