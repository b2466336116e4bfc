//! The supervisor: a task that keeps the connection to a sink up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::sinks::{Connection, ConnectionState, Sink};
use crate::outbox::SinkHealth;
use crate::runtime::backoff::Backoff;

/// Shortest and longest delay between two attempts to connect. Short, because nothing leaves the
/// outbox meanwhile.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Life of a connection after which the backoff starts again.
const GOOD_CONNECTION: Duration = Duration::from_secs(10);
/// Interval at which an old refusal is forgotten.
const CHECK: Duration = Duration::from_secs(1);

/// Interval at which messages that were routed to nowhere are counted.
const COUNT_UNROUTED: Duration = Duration::from_secs(10);

/// The connection in use, if there is one.
pub(super) type CurrentConnection = Option<Arc<dyn Connection>>;

/// Connects to `sink`, and offers the connection to the publish tasks. If it is lost, connects
/// again, without end, until `stop` is true.
pub(super) async fn supervise(
    sink: Arc<dyn Sink>,
    current: watch::Sender<CurrentConnection>,
    health: SinkHealth,
    mut stop: watch::Receiver<bool>,
) {
    let mut backoff = Backoff::new(RECONNECT.0, RECONNECT.1);
    loop {
        let began = Instant::now();
        let connected = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            connected = sink.connect() => connected,
        };
        let why = match connected {
            Err(error) => error.0,
            Ok(connection) => {
                let connection: Arc<dyn Connection> = connection.into();
                current.send_replace(Some(connection.clone()));
                let lost = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => None,
                    why = lost(connection.state(), &health) => Some(why),
                    never = count_unrouted(&*connection, &health) => match never {},
                };
                current.send_replace(None);
                connection.close().await;
                let Some(why) = lost else { return };
                why
            }
        };
        health.down(&why);
        if began.elapsed() >= GOOD_CONNECTION {
            backoff.reset();
        }
        let delay = backoff.delay();
        health.retries_after(delay);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(delay) => {}
        }
    }
}

/// Counts messages that were routed to nowhere, and looks for a shortage, again and again.
async fn count_unrouted(connection: &dyn Connection, health: &SinkHealth) -> Infallible {
    loop {
        if let Some(found) = connection.unrouted().await {
            health.unrouted(found.count, &found.place);
        }
        health.shortage(connection.shortage().await.as_deref());
        tokio::time::sleep(COUNT_UNROUTED).await;
    }
}

/// Follows a connection until it is lost. Returns the reason.
async fn lost(mut state: watch::Receiver<ConnectionState>, health: &SinkHealth) -> String {
    loop {
        match &*state.borrow_and_update() {
            ConnectionState::Up => health.up(),
            ConnectionState::Blocked(why) => health.down(why),
            ConnectionState::Down(why) => return why.clone(),
        }
        loop {
            match tokio::time::timeout(CHECK, state.changed()).await {
                Ok(Ok(())) => break,
                Ok(Err(_)) => return "the connection is gone".to_owned(),
                Err(_) => health.forget_old_refusal(),
            }
        }
    }
}
