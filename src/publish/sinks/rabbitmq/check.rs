//! `hookweir check` at the broker: the actions of a start, tried without changing anything.
//!
//! An entity that exists is declared as a start declares it: that changes nothing, and reports a
//! difference. For missing entities and for permissions there are requests that the broker checks
//! against its permissions first, and then refuses or finds to have no effect.

use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions, ExchangeUnbindOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection};

use super::topology::{Entity, Kind, Topology};
use super::{explain, reply_code};

/// Routing key without a binding.
const NO_BINDING: &str = "hookweir.check.e1f0b3b8-7a06-4a3f-8f0e-1d9a3c4d5e6f";

impl Topology {
    /// Returns the existing entities and the actions of a start as sentences, or all obstacles.
    pub(super) async fn check(&self, connection: &Connection) -> Result<Vec<String>, String> {
        let (mut found, mut wrong) = (Vec::new(), Vec::new());
        let exchange = self.main_exchange();
        let mut exchange_is_there = false;
        let declared = [self.alternate_exchange(), self.unrouted_queue()];
        let of_interest = if self.declare {
            &declared[..]
        } else {
            &declared[1..]
        };
        for entity in std::iter::once(exchange)
            .chain(self.first_queue())
            .chain(of_interest.iter().copied())
        {
            let is_exchange = entity.name == exchange.name && matches!(entity.kind, Kind::Topic(_));
            match self.check_entity(connection, entity).await {
                Ok((there, sentence)) => {
                    exchange_is_there |= is_exchange && there;
                    found.push(sentence);
                }
                Err(why) => wrong.push(why),
            }
        }
        if wrong.is_empty() {
            wrong.extend(
                self.missing_permissions(connection, exchange_is_there)
                    .await?,
            );
        }
        if wrong.is_empty() {
            found.push("the user has the rights that publishing needs".to_owned());
            return Ok(found);
        }
        Err(wrong.join("; "))
    }

    /// Returns `true` if `entity` exists, and a sentence about it.
    async fn check_entity(
        &self,
        connection: &Connection,
        entity: Entity<'_>,
    ) -> Result<(bool, String), String> {
        // The broker closes a channel after an error.
        match entity.exists(&open(connection).await?).await {
            Ok(()) if !self.declare => Ok((true, format!("{entity} is there"))),
            Ok(()) => match entity.declare(&open(connection).await?).await {
                Ok(()) => Ok((true, format!("{entity} is there, as it would be declared"))),
                Err(error) => Err(self.refused(&error, entity)),
            },
            Err(error) if reply_code(&error) == Some(404) && self.declare => {
                match may_declare(&open(connection).await?, entity).await {
                    Ok(()) => Ok((false, format!("{entity} is missing; it will be declared"))),
                    Err(error) => Err(self.refused(&error, entity)),
                }
            }
            Err(error)
                if reply_code(&error) == Some(404) && matches!(entity.kind, Kind::Queue(_)) =>
            {
                Ok((false, format!("{entity} is missing")))
            }
            Err(error) => Err(self.refused(&error, entity)),
        }
    }

    /// Returns the permissions to bind and to publish that the user lacks.
    async fn missing_permissions(
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
                wrong.extend(missing_permission(
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
            wrong.extend(missing_permission(
                unbound.await,
                &format!(
                    "\"{}\" as the alternate exchange of \"{}\"",
                    self.alternate, self.exchange
                ),
            ));
        }
        if exchange_is_there {
            let publish = open(connection).await?;
            wrong.extend(missing_permission(
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

/// Returns a sentence if `result` says that a permission is missing. Any other result shows that
/// the user has it.
fn missing_permission(result: lapin::Result<()>, what: &str) -> Option<String> {
    let error = result
        .err()
        .filter(|error| reply_code(error) == Some(403))?;
    Some(format!("{what}: {}", explain(&error)))
}

/// Checks the permission to declare a missing entity, by an argument of a wrong type: the broker
/// checks the permission first.
async fn may_declare(channel: &Channel, entity: Entity<'_>) -> lapin::Result<()> {
    let argument = match entity.kind {
        Kind::Topic(_) | Kind::Fanout => "alternate-exchange",
        Kind::Queue(_) => "x-dead-letter-exchange",
    };
    let mut arguments = FieldTable::default();
    arguments.insert(argument.into(), AMQPValue::Boolean(false));
    match entity.declare_with(channel, arguments).await {
        Err(error) if matches!(reply_code(&error), Some(404..=406)) => Ok(()),
        Err(error) => Err(error),
        // A broker of another make ignores the argument: remove the new entity.
        Ok(()) => match entity.kind {
            Kind::Queue(_) => {
                let unused = QueueDeleteOptions {
                    if_unused: true,
                    if_empty: true,
                    ..Default::default()
                };
                channel
                    .queue_delete(entity.name.clone(), unused)
                    .await
                    .map(drop)
            }
            _ => {
                channel
                    .exchange_delete(
                        entity.name.clone(),
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

/// Checks the permission to publish, by an expiration that is no number: the broker checks the
/// permission first.
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
