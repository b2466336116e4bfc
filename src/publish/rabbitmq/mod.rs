//! RabbitMQ: a connection of our own, watched and replaced, never recovered by the client library (with its own recovery a pending
//! confirm hangs for the whole outage). Everything that waits for the broker has a time limit, since a blocked or frozen one answers
//! nothing at all, not even a close.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind, Event};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::channel::RabbitChannel;
use super::{Channel, Link, LinkState, PublishError, Target};
use crate::config::model::Publisher;
use crate::config::secret::Secret;
use crate::domain::text::one_line;

mod channel;
mod look;
mod topology;

pub use topology::Topology;

/// How often the connection is looked at besides listening to its events.
const LOOK: Duration = Duration::from_secs(1);

/// A RabbitMQ broker or cluster.
pub struct RabbitTarget {
    uri: AMQPUri,
    topology: Topology,
    connect_limit: Duration,
    confirm_limit: Duration,
}

impl RabbitTarget {
    /// The broker at `url`. The text of an error never shows the URL: it holds a password.
    pub fn new(url: &Secret, config: &Publisher) -> Result<Self, PublishError> {
        let wrong = |why: &str| {
            PublishError(format!(
                "publisher.url is not an AMQP URL ({why}): use amqp://user:password@host:5672/vhost"
            ))
        };
        let text = std::str::from_utf8(url.expose()).map_err(|_| wrong("it is not UTF-8"))?;
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
            connect_limit: config.connect_timeout,
            confirm_limit: config.confirm_timeout,
        })
    }

    async fn open(&self) -> Result<RabbitLink, PublishError> {
        let at = format!(
            "RabbitMQ at {}:{}",
            self.uri.authority.host, self.uri.authority.port
        );
        let failed = |why: String| PublishError(format!("{at}: {why}"));
        // The client's thread ends with the runtime that its socket belongs to. This is the only way to be rid of a connection to a
        // broker that is frozen or that blocks us: there even a close waits for ever.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("amqp")
            .enable_all()
            .build()
            .map_err(|error| failed(format!("cannot start a runtime: {error}")))?;
        let client = {
            let _entered = runtime.enter();
            lapin::runtime::default_runtime().map_err(|error| failed(explain(&error)))?
        };
        let runtime = Abandoned(Some(runtime));
        let properties = ConnectionProperties::default().with_connection_name("hookweir".into());
        let connect = Connection::connect_uri_with_runtime(self.uri.clone(), properties, client);
        let connection = within(
            self.connect_limit,
            "no answer to the attempt to connect",
            connect,
        )
        .await
        .map_err(failed)?;
        let (state, _) = watch::channel(LinkState::Up);
        let state = Arc::new(state);
        tokio::spawn(follow(
            connection.events_listener(),
            connection.status().clone(),
            state.clone(),
            at.clone(),
        ));
        Ok(RabbitLink {
            connection,
            state,
            at,
            exchange: self.topology.exchange(),
            connect_limit: self.connect_limit,
            confirm_limit: self.confirm_limit,
            runtime,
        })
    }
}

#[async_trait]
impl Target for RabbitTarget {
    async fn connect(&self) -> Result<Box<dyn Link>, PublishError> {
        let link = self.open().await?;
        let ready = async {
            let channel = link
                .connection
                .create_channel()
                .await
                .map_err(|error| explain(&error))?;
            self.topology.bring_up(&channel).await
        };
        match tokio::time::timeout(self.connect_limit, ready).await {
            Ok(Ok(())) => Ok(Box::new(link)),
            Ok(Err(why)) => {
                link.close().await;
                Err(PublishError(format!("{}: {why}", link.at)))
            }
            Err(_) => Err(PublishError(format!(
                "{}: no answer about exchange and queues",
                link.at
            ))),
        }
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        let link = self.open().await?;
        let looked =
            tokio::time::timeout(self.connect_limit, self.topology.look(&link.connection)).await;
        link.close().await;
        let found = match looked {
            Ok(found) => found.map_err(|why| PublishError(format!("{}: {why}", link.at)))?,
            Err(_) => {
                return Err(PublishError(format!(
                    "{}: no answer about exchange and queues",
                    link.at
                )));
            }
        };
        Ok(std::iter::once(format!("{} takes our login", link.at))
            .chain(found)
            .collect())
    }
}

/// A runtime that is shut down when it is dropped, without waiting.
struct Abandoned(Option<Runtime>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

struct RabbitLink {
    connection: Connection,
    state: Arc<watch::Sender<LinkState>>,
    at: String,
    exchange: ShortString,
    connect_limit: Duration,
    confirm_limit: Duration,
    // Last: the connection's own drop comes first.
    #[expect(dead_code, reason = "held for its drop")]
    runtime: Abandoned,
}

#[async_trait]
impl Link for RabbitLink {
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError> {
        let open = async {
            let channel = self.connection.create_channel().await?;
            channel.confirm_select(Default::default()).await?;
            Ok(channel)
        };
        match within(
            self.connect_limit,
            "no answer to the attempt to open a channel",
            open,
        )
        .await
        {
            Ok(channel) => Ok(Box::new(RabbitChannel::new(
                channel,
                self.exchange.clone(),
                self.state.clone(),
                self.at.clone(),
                self.confirm_limit,
            ))),
            Err(why) => {
                let why = format!("{}: {why}", self.at);
                fail(&self.state, &why);
                Err(PublishError(why))
            }
        }
    }

    fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    async fn close(&self) {
        // Best effort: the runtime's end closes the socket in any case.
        let _ = tokio::time::timeout(
            self.connect_limit.min(LOOK),
            self.connection.close(200, "OK".into()),
        )
        .await;
        fail(&self.state, "closed");
    }
}

/// Follows the connection's events until it is lost.
async fn follow(
    events: impl futures_util::Stream<Item = Event> + Send + 'static,
    status: lapin::ConnectionStatus,
    state: Arc<watch::Sender<LinkState>>,
    at: String,
) {
    let mut events = std::pin::pin!(events);
    let mut ended = state.subscribe();
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = tokio::time::sleep(LOOK) => None,
            _ = ended.wait_for(|state| matches!(state, LinkState::Down(_))) => return,
        };
        match event {
            Some(Event::ConnectionBlocked(why)) => {
                state.send_replace(LinkState::Blocked(format!(
                    "{at} blocks publishers: {}; free memory or disk there",
                    one_line(&why)
                )));
            }
            Some(Event::ConnectionUnblocked) => {
                state.send_if_modified(|state| {
                    let blocked = matches!(state, LinkState::Blocked(_));
                    if blocked {
                        *state = LinkState::Up;
                    }
                    blocked
                });
            }
            // Errors of one channel come this way, too, and concern its lane only.
            Some(Event::Error(error)) if !status.connected() => {
                fail(&state, &format!("{at}: {}", explain(&error)))
            }
            _ if !status.connected() => fail(&state, &format!("{at}: the connection is lost")),
            _ => {}
        }
    }
}

/// The link is lost; the first reason given stays.
fn fail(state: &watch::Sender<LinkState>, why: &str) {
    state.send_if_modified(|state| {
        let news = !matches!(state, LinkState::Down(_));
        if news {
            *state = LinkState::Down(why.to_owned());
        }
        news
    });
}

/// What `work` gives, or why not within `limit`.
async fn within<T>(
    limit: Duration,
    late: &str,
    work: impl Future<Output = lapin::Result<T>>,
) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| explain(&error)),
        Err(_) => Err(format!("{late} within {} ms", limit.as_millis())),
    }
}

/// An error of the client library, for the operator. None of its texts holds the URL or a payload.
fn explain(error: &lapin::Error) -> String {
    let hint = match error.kind() {
        ErrorKind::ProtocolError(error) if error.get_id() == 403 => {
            "; check user, password and permissions"
        }
        ErrorKind::ProtocolError(error) if error.get_id() == 530 => {
            "; check the virtual host and its permissions"
        }
        _ => "",
    };
    format!("{}{hint}", one_line(&error.to_string()))
}
