//! What must be at the broker: the exchange, a queue for what no queue is bound for, and a first queue.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};

use super::explain;
use crate::config::model::{Publisher, QueueType};
use crate::publish::PublishError;

/// The names and kinds of what is declared, or checked for.
#[derive(Clone, Debug)]
pub struct Topology {
    pub(super) exchange: ShortString,
    /// Takes what the exchange cannot route, and passes it to `unrouted`.
    pub(super) alternate: ShortString,
    pub(super) unrouted: ShortString,
    pub(super) queue: Option<ShortString>,
    queue_type: QueueType,
    pub(super) declare: bool,
}

/// An exchange or queue, as it is declared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thing<'t> {
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
    /// As configured.
    pub fn new(config: &Publisher) -> Result<Self, PublishError> {
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

    pub(super) fn exchange(&self) -> ShortString {
        self.exchange.clone()
    }

    pub(super) fn main_exchange(&self) -> Thing<'_> {
        Thing {
            name: &self.exchange,
            kind: Kind::Topic(&self.alternate),
        }
    }

    pub(super) fn alternate_exchange(&self) -> Thing<'_> {
        Thing {
            name: &self.alternate,
            kind: Kind::Fanout,
        }
    }

    pub(super) fn unrouted_queue(&self) -> Thing<'_> {
        // A stream would not forget what was looked at and dealt with.
        Thing {
            name: &self.unrouted,
            kind: Kind::Queue(if self.queue_type == QueueType::Classic {
                "classic"
            } else {
                "quorum"
            }),
        }
    }

    pub(super) fn first_queue(&self) -> Option<Thing<'_>> {
        let kind = match self.queue_type {
            QueueType::Quorum => "quorum",
            QueueType::Classic => "classic",
            QueueType::Stream => "stream",
        };
        self.queue.as_ref().map(|name| Thing {
            name,
            kind: Kind::Queue(kind),
        })
    }

    /// Declares all of it, or, if that is not asked for, makes sure that the exchange is there.
    pub(super) async fn bring_up(&self, channel: &Channel) -> Result<(), String> {
        let exchange = self.main_exchange();
        if !self.declare {
            return exchange
                .look(channel)
                .await
                .map_err(|error| self.refused(&error, exchange));
        }
        let declare = async |thing: Thing<'_>| {
            thing
                .declare(channel)
                .await
                .map_err(|error| self.refused(&error, thing))
        };
        let bind = async |queue: Thing<'_>, to: &ShortString, key: &str| {
            let bound = channel.queue_bind(
                queue.name.clone(),
                to.clone(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bound.await.map_err(|error| self.refused(&error, queue))
        };
        // From the far end to the near one, so that nothing is routed to a place that is not there yet.
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

    /// What the broker has against `thing`, and what to do.
    pub(super) fn refused(&self, error: &lapin::Error, thing: Thing<'_>) -> String {
        let why = explain(error);
        match code(error) {
            Some(404) => {
                format!("{thing} is missing ({why}): create it, or set publisher.declare = true")
            }
            Some(405 | 406) => format!(
                "{thing} is there already, but of another kind ({why}): {}",
                self.instead(thing)
            ),
            Some(403) => format!("{thing}: {why}; {}", self.rights()),
            _ => format!("{thing}: {why}"),
        }
    }

    /// What can be done about a thing of another kind, the harmless first.
    fn instead(&self, thing: Thing<'_>) -> String {
        match thing.kind {
            Kind::Topic(alternate) => format!(
                "name another exchange in publisher.exchange; or keep this one, set publisher.declare = false, and, where only the alternate \
                 exchange is missing, give it by a policy: rabbitmqctl set_policy hookweir '^{}$' '{{\"alternate-exchange\":\"{alternate}\"}}' \
                 --apply-to exchanges. To delete it would lose its bindings",
                thing.name
            ),
            Kind::Fanout => {
                "set publisher.declare = false, or name another exchange in publisher.exchange; this one is made of its name".to_owned()
            }
            Kind::Queue(_) => {
                let option = if thing.name == &self.unrouted { "unrouted_queue" } else { "queue" };
                format!(
                    "name another in publisher.{option}, set publisher.queue_type to what it is, or set publisher.declare = false and bind it \
                     yourself. To delete it would lose its messages"
                )
            }
        }
    }

    /// The rights that the user of the broker needs.
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

impl Thing<'_> {
    /// Declares it. If it is there already, nothing is changed, and a difference is an error.
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

    /// Looks whether it is there, of whatever kind.
    pub(super) async fn look(&self, channel: &Channel) -> lapin::Result<()> {
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

impl std::fmt::Display for Thing<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if matches!(self.kind, Kind::Queue(_)) {
            "queue"
        } else {
            "exchange"
        };
        write!(f, "{kind} \"{}\"", self.name)
    }
}

/// The number of the broker's reply.
pub(super) fn code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
