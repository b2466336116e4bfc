//! `hookweir check` at the broker: what a start would do, tried so that nothing is changed.
//!
//! What is there is declared as a start declares it, which changes nothing and tells a difference. For what is missing, and for rights, there
//! are requests that the broker judges by its rights first, and then refuses or finds to have no effect.

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, ExchangeUnbindOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};

use super::explain;
use super::topology::{Kind, Thing, Topology, code};

/// A routing key that nothing is bound by.
const NO_BINDING: &str = "hookweir.check.e1f0b3b8-7a06-4a3f-8f0e-1d9a3c4d5e6f";

impl Topology {
    /// What is there and what a start would do, in sentences; or all that stands in its way.
    pub(super) async fn look(&self, connection: &Connection) -> Result<Vec<String>, String> {
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        let exchange = self.main_exchange();
        let mut exchange_is_there = false;
        let declared = [self.alternate_exchange(), self.unrouted_queue()];
        let of_interest = if self.declare {
            &declared[..]
        } else {
            &declared[1..]
        };
        for thing in std::iter::once(exchange)
            .chain(self.first_queue())
            .chain(of_interest.iter().copied())
        {
            let is_exchange = thing.name == exchange.name && matches!(thing.kind, Kind::Topic(_));
            match self.look_at(connection, thing).await {
                Ok((there, sentence)) => {
                    exchange_is_there |= is_exchange && there;
                    found.push(sentence);
                }
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() {
            wrong.extend(self.lacking_rights(connection, exchange_is_there).await?);
        }
        if wrong.is_empty() {
            found.push("the user has the rights that publishing needs".to_owned());
            return Ok(found);
        }
        Err(wrong.join("; "))
    }

    /// Whether a thing is there, and a sentence about it.
    async fn look_at(
        &self,
        connection: &Connection,
        thing: Thing<'_>,
    ) -> Result<(bool, String), String> {
        // The broker closes a channel on which something was wrong.
        match thing.look(&open(connection).await?).await {
            Ok(()) if !self.declare => Ok((true, format!("{thing} is there"))),
            Ok(()) => match thing.declare(&open(connection).await?).await {
                Ok(()) => Ok((true, format!("{thing} is there, as it would be declared"))),
                Err(error) => Err(self.refused(&error, thing)),
            },
            Err(error) if code(&error) == Some(404) && self.declare => {
                match may_declare(&open(connection).await?, thing).await {
                    Ok(()) => Ok((false, format!("{thing} is missing; it will be declared"))),
                    Err(error) => Err(self.refused(&error, thing)),
                }
            }
            Err(error) if code(&error) == Some(404) && matches!(thing.kind, Kind::Queue(_)) => {
                Ok((false, format!("{thing} is missing")))
            }
            Err(error) => Err(self.refused(&error, thing)),
        }
    }

    /// Rights to bind and to publish that the user lacks.
    async fn lacking_rights(
        &self,
        connection: &Connection,
        exchange_is_there: bool,
    ) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        if self.declare {
            let queues = [(&self.unrouted, &self.alternate)]
                .into_iter()
                .chain(self.queue.iter().map(|queue| (queue, &self.exchange)));
            for (queue, exchange) in queues {
                let unbind = open(connection).await?;
                let unbound = unbind.queue_unbind(
                    queue.clone(),
                    exchange.clone(),
                    NO_BINDING.into(),
                    FieldTable::default(),
                );
                wrong.extend(refused_right(
                    unbound.await,
                    &format!("binding queue \"{queue}\" to exchange \"{exchange}\""),
                ));
            }
            let alternate = open(connection).await?;
            let options = ExchangeUnbindOptions::default();
            let unbound = alternate.exchange_unbind(
                self.alternate.clone(),
                self.exchange.clone(),
                NO_BINDING.into(),
                options,
                FieldTable::default(),
            );
            wrong.extend(refused_right(
                unbound.await,
                &format!(
                    "\"{}\" as the alternate exchange of \"{}\"",
                    self.alternate, self.exchange
                ),
            ));
        }
        if exchange_is_there {
            let publish = open(connection).await?;
            wrong.extend(refused_right(
                may_publish(&publish, &self.exchange).await,
                &format!("publishing to \"{}\"", self.exchange),
            ));
        }
        if !wrong.is_empty() {
            wrong.push(self.rights());
        }
        Ok(wrong)
    }
}

async fn open(connection: &Connection) -> Result<Channel, String> {
    connection
        .create_channel()
        .await
        .map_err(|error| explain(&error))
}

/// The sentence about a right that is missing. Any other answer means that the right is there.
fn refused_right(result: lapin::Result<()>, what: &str) -> Option<String> {
    let error = result.err().filter(|error| code(error) == Some(403))?;
    Some(format!("{what}: {}", explain(&error)))
}

/// Whether a missing thing may be declared: the broker judges the right before it finds an argument of a wrong type.
async fn may_declare(channel: &Channel, thing: Thing<'_>) -> lapin::Result<()> {
    let argument = match thing.kind {
        Kind::Topic(_) | Kind::Fanout => "alternate-exchange",
        Kind::Queue(_) => "x-dead-letter-exchange",
    };
    let mut arguments = FieldTable::default();
    arguments.insert(argument.into(), AMQPValue::Boolean(false));
    match thing.declare_with(channel, arguments).await {
        Err(error) if matches!(code(&error), Some(404..=406)) => Ok(()),
        Err(error) => Err(error),
        // A broker of another make, which passes the argument over: it is as it was before.
        Ok(()) => match thing.kind {
            Kind::Queue(_) => {
                let unused = QueueDeleteOptions {
                    if_unused: true,
                    if_empty: true,
                    ..Default::default()
                };
                channel
                    .queue_delete(thing.name.clone(), unused)
                    .await
                    .map(drop)
            }
            _ => {
                channel
                    .exchange_delete(
                        thing.name.clone(),
                        ExchangeDeleteOptions {
                            if_unused: true,
                            ..Default::default()
                        },
                    )
                    .await
            }
        },
    }
}

/// Whether the user may publish: the broker judges the right before it finds an expiration that is no number.
async fn may_publish(channel: &Channel, exchange: &ShortString) -> lapin::Result<()> {
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await?;
    let never = BasicProperties::default().with_expiration("hookweir check: no message".into());
    channel
        .basic_publish(
            exchange.clone(),
            NO_BINDING.into(),
            BasicPublishOptions::default(),
            b"",
            never,
        )
        .await?
        .await
        .map(drop)
}
