//! The watcher of a cluster: a client that publishes nothing, and asks now and then.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;

use super::channel::off_the_runtime;
use super::cluster::{Cluster, Events};
use super::connection::create;
use super::topics::Topic;
use super::verdict::no_answer;
use crate::publish::sinks::{ConnectionState, PublishError};

/// Interval of the questions.
const TRY: Duration = Duration::from_secs(5);
/// The same while the cluster is away.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Shortest time between two questions.
const BREATH: Duration = Duration::from_millis(200);

impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

/// A client that publishes nothing.
#[derive(Clone)]
pub(super) struct Watcher {
    cluster: Arc<Cluster>,
    properties: ClientConfig,
    /// Topic to ask for. An answer about all topics of a cluster could be large. The topic may be
    /// missing, and is not created by the question.
    topic: String,
    /// Longest time for an answer.
    limit: Duration,
    client: Arc<Client>,
}

/// A client of the library, which is dropped off the runtime.
struct Client(Option<ThreadedProducer<Events>>);

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            off_the_runtime(client);
        }
    }
}

impl Watcher {
    /// Returns a watcher of `cluster` that has asked nothing yet.
    pub(super) async fn new(
        cluster: Arc<Cluster>,
        properties: ClientConfig,
        topic: String,
        limit: Duration,
    ) -> Result<Self, PublishError> {
        let client = client(&cluster, &properties).await?;
        Ok(Self {
            cluster,
            properties,
            topic,
            limit,
            client,
        })
    }

    /// Asks the brokers for a topic. Any answer shows that the cluster can be reached.
    pub(super) async fn ask(&self, topic: Option<String>) -> Result<Topic, Code> {
        let topic = topic.unwrap_or_else(|| self.topic.clone());
        let (client, limit) = (self.client.clone(), self.limit);
        // The call blocks, so it has a thread of its own.
        let asked = tokio::task::spawn_blocking(move || metadata(&client, &topic, limit));
        asked.await.unwrap_or(Err(Code::Unknown))
    }

    /// Follows the cluster until its connection is closed: asks it now and then, and at once after
    /// an error.
    pub(super) async fn follow(mut self) {
        let mut state = self.cluster.state.subscribe();
        loop {
            let interval = if self.cluster.is_up() { TRY } else { TRY_AGAIN };
            let asked_for = tokio::select! {
                _ = state.wait_for(|state| matches!(state, ConnectionState::Down(_))) => return,
                () = self.cluster.try_now.notified() => true,
                () = tokio::time::sleep(interval) => false,
            };
            if asked_for {
                tokio::time::sleep(BREATH).await;
            }
            match self.ask(None).await {
                Ok(_) => self.cluster.reached(),
                Err(code) => {
                    self.cluster.unreachable(&no_answer(code, self.limit));
                    self.renew().await;
                }
            }
        }
    }

    /// Replaces the client. A broker that starts or stops may answer that the cluster has no broker,
    /// and after that answer the library tries none ever again (its issue 5301).
    async fn renew(&mut self) {
        if let Ok(client) = client(&self.cluster, &self.properties).await {
            self.client = client;
        }
    }
}

async fn client(
    cluster: &Arc<Cluster>,
    properties: &ClientConfig,
) -> Result<Arc<Client>, PublishError> {
    let events = Events(cluster.clone());
    let client = create(properties.clone(), events, &cluster.name).await?;
    Ok(Arc::new(Client(Some(client))))
}

fn metadata(client: &Client, topic: &str, limit: Duration) -> Result<Topic, Code> {
    let Some(client) = &client.0 else {
        return Err(Code::DestroyBroker);
    };
    let metadata = client
        .client()
        .fetch_metadata(Some(topic), limit)
        .map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown))?;
    let topic = metadata.topics().first().map(|topic| {
        let error = topic.error().map(Code::from);
        let copies = topic.partitions().iter().map(|p| p.replicas().len());
        let layout = copies
            .min()
            .map(|copies| (topic.partitions().len(), copies));
        let in_sync = topic.partitions().iter().map(|p| p.isr().len());
        Topic {
            in_sync: in_sync.min(),
            layout: layout.filter(|_| error.is_none()),
            error,
            ..Topic::default()
        }
    });
    Ok(topic.unwrap_or_default())
}
