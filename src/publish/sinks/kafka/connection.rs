//! A cluster in use: a client that watches it, and the producers of its channels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::AdminClient;
use rdkafka::error::KafkaError;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::watch;

use super::channel::{KafkaChannel, Patience, off_the_runtime};
use super::cluster::{Cluster, Events};
use super::reports::{ChannelContext, Reports};
use super::topics::{self, Topic};
use super::verdict::{MAY_WANT, text};
use super::{KafkaSink, properties};
use crate::domain::text::one_line;
use crate::publish::sinks::{Channel, Connection, ConnectionState, PublishError};

/// Interval of the watcher's tries.
const TRY: Duration = Duration::from_secs(5);
/// The same while the cluster is away.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// Shortest time between two tries.
const BREATH: Duration = Duration::from_millis(200);
/// Longest time that a close waits for the batches under way.
const CLOSE: Duration = Duration::from_secs(6);

/// A client that publishes nothing.
type Watcher = ThreadedProducer<Events>;

/// A cluster in use.
pub(super) struct KafkaConnection {
    sink: KafkaSink,
    cluster: Arc<Cluster>,
    watcher: Option<Arc<Watcher>>,
}

impl ProducerContext for Events {
    type DeliveryOpaque = ();

    fn delivery(&self, _result: &DeliveryResult<'_>, (): ()) {}
}

impl KafkaConnection {
    /// Reaches a broker.
    pub(super) async fn open(sink: &KafkaSink) -> Result<Self, PublishError> {
        let cluster = Arc::new(Cluster::new(sink.config.url.name()));
        let properties = properties::client(&sink.config);
        let events = Events(cluster.clone());
        let watcher: Watcher = create(properties, events, &cluster.name).await?;
        let connection = Self {
            sink: sink.clone(),
            cluster,
            watcher: Some(Arc::new(watcher)),
        };
        connection.metadata(None).await.map_err(|error| {
            let why = no_answer(&error, sink.config.connect_timeout);
            PublishError(connection.cluster.why(&format!("{why}{MAY_WANT}")))
        })?;
        connection.cluster.reached();
        Ok(connection)
    }

    /// Creates missing topics on wish, and reads the limits of all. A topic that is not as it should be
    /// concerns its own sources only: that is logged.
    pub(super) async fn bring_up(&self) {
        let (found, problems) = self.topics(self.sink.config.declare).await;
        let warnings = topics::warnings(&found, &self.sink.config);
        for warning in problems.iter().chain(&warnings) {
            tracing::warn!("{}: {warning}", self.cluster.name);
        }
        *self
            .cluster
            .limits
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = topics::limits(&found);
    }

    /// Returns the topics of the configured sources, and problems of their creation.
    pub(super) async fn topics(&self, create: bool) -> (BTreeMap<String, Topic>, Vec<String>) {
        let config = &self.sink.config;
        let mut found = self.layouts().await;
        let mut problems = Vec::new();
        let admin: Result<AdminClient<Events>, _> = self::create(
            properties::client(config),
            Events(self.cluster.clone()),
            &self.cluster.name,
        )
        .await;
        let admin = match admin {
            Ok(admin) => admin,
            Err(error) => return (found, vec![error.0]),
        };
        let missing: BTreeSet<&str> = found
            .iter()
            .filter(|(_, topic)| create && topic.is_missing())
            .map(|(name, _)| &**name)
            .collect();
        if !missing.is_empty() {
            problems = topics::create(&admin, config, &missing).await;
            found = self.layouts().await;
        }
        topics::read_settings(&admin, &mut found, config.connect_timeout).await;
        off_the_runtime(admin);
        (found, problems)
    }

    /// Returns the topics of the configured sources with their layouts.
    async fn layouts(&self) -> BTreeMap<String, Topic> {
        let mut found = BTreeMap::new();
        for name in self.sink.naming.of_sources() {
            if let Ok(topic) = self.metadata(Some(name.clone())).await {
                found.insert(name, topic);
            }
        }
        found
    }

    /// Asks the brokers for a topic. Any answer shows that the cluster can be reached.
    async fn metadata(&self, topic: Option<String>) -> Result<Topic, Code> {
        let Some(watcher) = self.watcher.clone() else {
            return Err(Code::DestroyBroker);
        };
        let topic = topic.unwrap_or_else(|| self.some_topic());
        ask(watcher, topic, self.sink.config.connect_timeout).await
    }

    /// Starts to watch the cluster.
    pub(super) fn watch(&self) {
        let Some(watcher) = self.watcher.clone() else {
            return;
        };
        let (topic, limit) = (self.some_topic(), self.sink.config.connect_timeout);
        tokio::spawn(follow(self.cluster.clone(), watcher, topic, limit));
    }

    /// Returns a topic to ask for. An answer about all topics of a cluster could be large. The topic
    /// may be missing, and is not created by the question.
    fn some_topic(&self) -> String {
        let topics = self.sink.naming.of_sources();
        topics
            .into_iter()
            .next()
            .unwrap_or_else(|| "hookweir".to_owned())
    }

    pub(super) fn name(&self) -> &str {
        &self.cluster.name
    }
}

#[async_trait]
impl Connection for KafkaConnection {
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError> {
        let config = &self.sink.config;
        let limit = self.cluster.smallest_limit();
        let context = ChannelContext {
            cluster: self.cluster.clone(),
            reports: Arc::new(Reports::default()),
        };
        let properties = properties::producer(config, limit);
        let producer = create(properties, context, &self.cluster.name).await?;
        let patience = Patience {
            confirm_timeout: config.confirm_timeout,
            give_up: config.give_up,
        };
        Ok(Box::new(KafkaChannel::new(
            producer,
            self.cluster.clone(),
            self.sink.naming.clone(),
            patience,
        )))
    }

    fn state(&self) -> watch::Receiver<ConnectionState> {
        self.cluster.state.subscribe()
    }

    async fn close(&self) {
        self.cluster.close();
        // Best effort: a batch under way has a time limit of its own after the close.
        let _ = tokio::time::timeout(CLOSE, self.cluster.under_way.write()).await;
    }
}

impl Drop for KafkaConnection {
    fn drop(&mut self) {
        self.cluster.close();
        if let Some(watcher) = self.watcher.take() {
            off_the_runtime(watcher);
        }
    }
}

/// Follows the cluster until its connection is closed: asks it now and then, and at once after an error.
async fn follow(cluster: Arc<Cluster>, watcher: Arc<Watcher>, topic: String, limit: Duration) {
    let mut state = cluster.state.subscribe();
    loop {
        let interval = if cluster.is_up() { TRY } else { TRY_AGAIN };
        let asked_for = tokio::select! {
            _ = state.wait_for(|state| matches!(state, ConnectionState::Down(_))) => return,
            () = cluster.try_now.notified() => true,
            () = tokio::time::sleep(interval) => false,
        };
        if asked_for {
            tokio::time::sleep(BREATH).await;
        }
        match ask(watcher.clone(), topic.clone(), limit).await {
            Ok(_) => cluster.reached(),
            Err(code) => cluster.unreachable(&no_answer(&code, limit)),
        }
    }
}

/// Asks the brokers for a topic. The call blocks, so it has a thread of its own.
async fn ask(watcher: Arc<Watcher>, topic: String, limit: Duration) -> Result<Topic, Code> {
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = watcher
            .client()
            .fetch_metadata(Some(&topic), limit)
            .map_err(|error| error.rdkafka_error_code().unwrap_or(Code::Unknown))?;
        let topic = metadata.topics().first().map(|topic| {
            let error = topic.error().map(Code::from);
            let copies = topic.partitions().iter().map(|p| p.replicas().len());
            let layout = copies
                .min()
                .map(|copies| (topic.partitions().len(), copies));
            Topic {
                layout: layout.filter(|_| error.is_none()),
                error,
                ..Topic::default()
            }
        });
        Ok(topic.unwrap_or_default())
    });
    asked.await.unwrap_or(Err(Code::Unknown))
}

pub(super) fn no_answer(code: &Code, limit: Duration) -> String {
    match code {
        Code::BrokerTransportFailure | Code::OperationTimedOut => {
            format!("no answer within {} ms", limit.as_millis())
        }
        code => text(*code),
    }
}

/// Creates a client. That reads files, so it has a thread of its own. An error shows no value of a
/// property: it may be a password.
pub(super) async fn create<C, T>(
    properties: ClientConfig,
    context: C,
    at: &str,
) -> Result<T, PublishError>
where
    C: ClientContext + Send + 'static,
    T: rdkafka::config::FromClientConfigAndContext<C> + Send + 'static,
{
    let created = tokio::task::spawn_blocking(move || properties.create_with_context(context));
    let why = match created.await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(KafkaError::ClientConfig(_, why, name, _))) => {
            if name.contains("password") || name.contains("key") {
                format!("the client does not take the value of property \"{name}\"")
            } else {
                one_line(&why)
            }
        }
        Ok(Err(KafkaError::ClientCreation(why))) => one_line(&why),
        Ok(Err(error)) => one_line(&error.to_string()),
        Err(_) => "cannot start a thread".to_owned(),
    };
    Err(PublishError(format!("{at}: {why}")))
}
