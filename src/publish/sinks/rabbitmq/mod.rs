//! The RabbitMQ sink: a connection that is watched and replaced here.
//!
//! The client library's own recovery is off: with it, a pending confirm hangs for the whole outage.
//! Each call has a time limit, because a blocked or frozen broker answers nothing, not even a
//! close.

use std::time::Duration;

use async_trait::async_trait;
use lapin::ErrorKind;
use lapin::uri::AMQPUri;

use self::connection::RabbitmqConnection;
use self::topology::Topology;
use super::{Connection, PublishError, Sink};
use crate::domain::text::one_line;
use crate::runtime::tls;

mod channel;
mod check;
mod config;
mod connection;
mod temporary_queue;
mod topology;

pub use self::config::RabbitmqConfig;
pub use self::temporary_queue::TemporaryQueue;

/// A RabbitMQ broker or cluster.
pub struct RabbitmqSink {
    uri: AMQPUri,
    topology: Topology,
    connect_timeout: Duration,
    confirm_timeout: Duration,
}

impl RabbitmqSink {
    /// Returns the sink. An error never shows the URL: it holds a password.
    pub fn new(config: &RabbitmqConfig) -> Result<Self, PublishError> {
        let wrong = |why: &str| {
            PublishError(format!(
                "publisher.url is not an AMQP URL ({why}): use amqp://user:password@host:5672/vhost"
            ))
        };
        let text =
            std::str::from_utf8(config.url.expose()).map_err(|_| wrong("it is not UTF-8"))?;
        let mut uri: AMQPUri = text
            .trim()
            .parse()
            .map_err(|_| wrong("it cannot be parsed"))?;
        uri.query
            .heartbeat
            .get_or_insert(u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX));
        Ok(Self {
            uri,
            topology: Topology::new(config)?,
            connect_timeout: config.connect_timeout,
            confirm_timeout: config.confirm_timeout,
        })
    }
}

#[async_trait]
impl Sink for RabbitmqSink {
    async fn connect(&self) -> Result<Box<dyn Connection>, PublishError> {
        let connection = RabbitmqConnection::open(self).await?;
        let ready = async {
            let channel = connection.open_channel().await?;
            self.topology.bring_up(&channel).await
        };
        match tokio::time::timeout(self.connect_timeout, ready).await {
            Ok(Ok(())) => Ok(Box::new(connection)),
            Ok(Err(why)) => {
                connection.close().await;
                Err(connection.failed(&why))
            }
            Err(_) => Err(connection.failed("no answer about exchange and queues")),
        }
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        let connection = RabbitmqConnection::open(self).await?;
        let checked = self.topology.check(connection.client());
        let checked = tokio::time::timeout(self.connect_timeout, checked).await;
        connection.close().await;
        let found = match checked {
            Ok(found) => found.map_err(|why| connection.failed(&why))?,
            Err(_) => return Err(connection.failed("no answer about exchange and queues")),
        };
        let login = format!("{} takes our login", connection.at());
        Ok(std::iter::once(login).chain(found).collect())
    }
}

/// Returns an error of the client library as text for the operator. It shows no URL and no payload.
fn explain(error: &lapin::Error) -> String {
    let hint = match reply_code(error) {
        Some(403) => "; check user, password and permissions",
        Some(530) => "; check the virtual host and its permissions",
        None if tls::speaks_no_tls(error) => {
            "; this port does not speak TLS: use the broker's TLS port (5671), or amqp://"
        }
        _ => "",
    };
    format!("{}{hint}", one_line(&error.to_string()))
}

/// Returns the code of the broker's reply, if the error is one.
fn reply_code(error: &lapin::Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}
