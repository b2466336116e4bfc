//! One AMQP connection, watched until it is lost.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use lapin::options::QueueDeclareOptions;
use lapin::tcp::OwnedTLSConfig;
use lapin::types::{FieldTable, ShortString};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{ConnectionProperties, Event};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::channel::RabbitmqChannel;
use super::{RabbitmqSink, explain};
use crate::domain::text::one_line;
use crate::publish::sinks::{Channel, Connection, ConnectionState, PublishError, Unrouted};

/// Interval at which the status is polled besides the connection's events.
const POLL: Duration = Duration::from_secs(1);

/// A connection to the broker, on a runtime of its own.
pub(super) struct RabbitmqConnection {
    client: lapin::Connection,
    state: Arc<watch::Sender<ConnectionState>>,
    /// Name of the broker in errors.
    at: String,
    exchange: ShortString,
    unrouted: ShortString,
    connect_timeout: Duration,
    confirm_timeout: Duration,
    // Last, because the client must be dropped first.
    #[expect(dead_code, reason = "held for its drop")]
    runtime: BackgroundRuntime,
}

impl RabbitmqConnection {
    /// Connects to `node`, and begins to watch the connection.
    pub(super) async fn open(sink: &RabbitmqSink, node: &AMQPUri) -> Result<Self, PublishError> {
        let authority = &node.authority;
        let at = format!("RabbitMQ at {}:{}", authority.host, authority.port);
        let failed = |why: String| PublishError(format!("{at}: {why}"));
        // The client's thread ends with the runtime that its socket belongs to. Nothing else ends a
        // connection to a broker that is frozen or blocks this client: a close would never return.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("amqp")
            .enable_all()
            .build()
            .map_err(|error| failed(format!("cannot start a runtime: {error}")))?;
        let executor = {
            let _entered = runtime.enter();
            lapin::runtime::default_runtime().map_err(|error| failed(explain(&error)))?
        };
        let runtime = BackgroundRuntime(Some(runtime));
        let properties = ConnectionProperties::default().with_connection_name("hookweir".into());
        // Files may have been renewed since the connection before.
        let tls = match node.scheme {
            AMQPScheme::AMQPS => sink.tls.read().map_err(failed)?,
            AMQPScheme::AMQP => OwnedTLSConfig::default(),
        };
        let connect =
            lapin::Connection::connect_uri_with_config(node.clone(), properties, tls, executor);
        let late = "no answer to the attempt to connect";
        let client = within(sink.connect_timeout, late, connect)
            .await
            .map_err(failed)?;
        let state = Arc::new(watch::Sender::new(ConnectionState::Up));
        tokio::spawn(follow(
            client.events_listener(),
            client.status().clone(),
            state.clone(),
            at.clone(),
        ));
        Ok(Self {
            client,
            state,
            at,
            exchange: sink.topology.exchange.clone(),
            unrouted: sink.topology.unrouted.clone(),
            connect_timeout: sink.connect_timeout,
            confirm_timeout: sink.confirm_timeout,
            runtime,
        })
    }

    pub(super) fn client(&self) -> &lapin::Connection {
        &self.client
    }

    pub(super) fn at(&self) -> &str {
        &self.at
    }

    pub(super) fn failed(&self, why: &str) -> PublishError {
        PublishError(format!("{}: {why}", self.at))
    }

    /// Opens a channel of the client library, without confirms.
    pub(super) async fn open_channel(&self) -> Result<lapin::Channel, String> {
        self.client
            .create_channel()
            .await
            .map_err(|error| explain(&error))
    }
}

#[async_trait]
impl Connection for RabbitmqConnection {
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError> {
        let open = async {
            let channel = self.client.create_channel().await?;
            channel.confirm_select(Default::default()).await?;
            Ok(channel)
        };
        let late = "no answer to the attempt to open a channel";
        match within(self.connect_timeout, late, open).await {
            Ok(channel) => Ok(Box::new(RabbitmqChannel::new(
                channel,
                self.exchange.clone(),
                self.state.clone(),
                self.at.clone(),
                self.confirm_timeout,
            ))),
            Err(why) => {
                let error = self.failed(&why);
                set_down(&self.state, &error.0);
                Err(error)
            }
        }
    }

    fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    async fn unrouted(&self) -> Option<Unrouted> {
        let look = async {
            // A queue that is missing closes the channel: it is used for nothing else.
            let channel = self.client.create_channel().await?;
            let passive = QueueDeclareOptions {
                passive: true,
                ..QueueDeclareOptions::default()
            };
            let name = self.unrouted.clone();
            let queue = channel.queue_declare(name, passive, FieldTable::default());
            let count = queue.await?.message_count();
            channel.close(200, "OK".into()).await?;
            Ok(count)
        };
        let late = "no answer about the queue";
        let count = within(self.connect_timeout, late, look).await.ok()?;
        Some(Unrouted {
            count: count.into(),
            place: self.unrouted.to_string(),
        })
    }

    async fn close(&self) {
        // Best effort: the end of the runtime closes the socket in any case.
        let _ = tokio::time::timeout(
            self.connect_timeout.min(POLL),
            self.client.close(200, "OK".into()),
        )
        .await;
        set_down(&self.state, "closed");
    }
}

/// A runtime that is shut down without waiting when it is dropped.
struct BackgroundRuntime(Option<Runtime>);

impl Drop for BackgroundRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Follows the connection's events until it is lost.
async fn follow(
    events: impl futures_util::Stream<Item = Event> + Send + 'static,
    status: lapin::ConnectionStatus,
    state: Arc<watch::Sender<ConnectionState>>,
    at: String,
) {
    let mut events = std::pin::pin!(events);
    let mut ended = state.subscribe();
    loop {
        let event = tokio::select! {
            event = events.next() => match event {
                Some(event) => Some(event),
                // The client was dropped without a close.
                None => return set_down(&state, &format!("{at}: the connection is gone")),
            },
            () = tokio::time::sleep(POLL) => None,
            _ = ended.wait_for(|state| matches!(state, ConnectionState::Down(_))) => return,
        };
        match event {
            Some(Event::ConnectionBlocked(why)) => {
                state.send_replace(ConnectionState::Blocked(format!(
                    "{at} blocks publishers: {}; free memory or disk there",
                    one_line(&why)
                )));
            }
            Some(Event::ConnectionUnblocked) => {
                state.send_if_modified(|state| {
                    let blocked = matches!(state, ConnectionState::Blocked(_));
                    if blocked {
                        *state = ConnectionState::Up;
                    }
                    blocked
                });
            }
            // An error of one channel arrives here too, and concerns its publish task only.
            Some(Event::Error(error)) if !status.connected() => {
                set_down(&state, &format!("{at}: {}", explain(&error)));
            }
            _ if !status.connected() => set_down(&state, &format!("{at}: the connection is lost")),
            _ => {}
        }
    }
}

/// Marks the connection as lost. The first reason stays.
pub(super) fn set_down(state: &watch::Sender<ConnectionState>, why: &str) {
    state.send_if_modified(|state| {
        let first = !matches!(state, ConnectionState::Down(_));
        if first {
            *state = ConnectionState::Down(why.to_owned());
        }
        first
    });
}

/// Returns the result of `work`, or the error `late` if it takes longer than `limit`.
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
