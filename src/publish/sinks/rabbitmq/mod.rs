//! The RabbitMQ sink: a connection that is watched and replaced here.
//!
//! The client library's own recovery is off: with it, a pending confirm hangs for the whole outage.
//! Each call has a time limit, because a blocked or frozen broker answers nothing, not even a
//! close.

use std::sync::atomic::{AtomicUsize, Ordering};
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
mod unrouted;

pub use self::config::{RabbitmqConfig, TlsFiles};
pub use self::temporary_queue::TemporaryQueue;
pub use self::unrouted::{
    Decided, HELD_MESSAGES, HeldFate, HeldMessages, HoldBounds, UnroutedMessage,
};

/// A RabbitMQ broker or cluster.
pub struct RabbitmqSink {
    nodes: Vec<AMQPUri>,
    /// Place in `nodes` of the next node that is tried.
    next: AtomicUsize,
    tls: TlsFiles,
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
        let heartbeat = u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX);
        let mut nodes = Vec::with_capacity(config.url.nodes().len());
        for node in config.url.nodes() {
            let text = std::str::from_utf8(node.expose()).map_err(|_| wrong("it is not UTF-8"))?;
            let mut node: AMQPUri = text.parse().map_err(|_| wrong("it cannot be parsed"))?;
            node.query.heartbeat.get_or_insert(heartbeat);
            nodes.push(node);
        }
        Ok(Self {
            nodes,
            next: AtomicUsize::new(0),
            tls: config.tls.clone(),
            topology: Topology::new(config)?,
            connect_timeout: config.connect_timeout,
            confirm_timeout: config.confirm_timeout,
        })
    }
}

impl RabbitmqSink {
    /// Connects to the first node that answers, or returns all failures. Each node is tried once.
    async fn open(&self) -> Result<RabbitmqConnection, PublishError> {
        let mut failures = Vec::new();
        for node in self.nodes_in_turn() {
            match RabbitmqConnection::open(self, node).await {
                Ok(connection) => return Ok(connection),
                Err(PublishError(why)) => failures.push(why),
            }
        }
        Err(PublishError(failures.join("; ")))
    }

    /// Nodes, each once. The node after the last one that was tried comes first, so that a node that
    /// ends connections is left.
    fn nodes_in_turn(&self) -> impl Iterator<Item = &AMQPUri> {
        self.nodes.iter().map(|_| {
            let next = self.next.fetch_add(1, Ordering::Relaxed) % self.nodes.len();
            &self.nodes[next]
        })
    }

    /// Connects to `node`, and declares exchange and queues there.
    async fn connect_to(&self, node: &AMQPUri) -> Result<RabbitmqConnection, PublishError> {
        let connection = RabbitmqConnection::open(self, node).await?;
        let ready = async {
            let channel = connection.open_channel().await?;
            self.topology.bring_up(&channel).await
        };
        match tokio::time::timeout(self.connect_timeout, ready).await {
            Ok(Ok(())) => Ok(connection),
            Ok(Err(why)) => {
                connection.close().await;
                Err(connection.failed(&why))
            }
            Err(_) => Err(connection.failed("no answer about exchange and queues")),
        }
    }
}

#[async_trait]
impl Sink for RabbitmqSink {
    async fn connect(&self) -> Result<Box<dyn Connection>, PublishError> {
        let mut failures = Vec::new();
        for node in self.nodes_in_turn() {
            match self.connect_to(node).await {
                Ok(connection) => return Ok(Box::new(connection)),
                Err(PublishError(why)) => failures.push(why),
            }
        }
        Err(PublishError(failures.join("; ")))
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        let connection = self.open().await?;
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
