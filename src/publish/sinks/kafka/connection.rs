//! A cluster in use: a client that watches it, and the producers of its channels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::AdminClient;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};
use tokio::sync::watch;

use super::channel::{KafkaChannel, Patience, off_the_runtime};
use super::cluster::{Cluster, Events};
use super::reports::ChannelContext;
use super::topics::{self, Topic};
use super::verdict::{MAY_WANT, no_answer};
use super::watcher::Watcher;
use super::{KafkaSink, properties};
use crate::domain::text::one_line;
use crate::publish::sinks::{Channel, Connection, ConnectionState, PublishError};

/// Longest time that a close waits for the batches under way.
const CLOSE: Duration = Duration::from_secs(6);

/// A cluster in use.
pub(super) struct KafkaConnection {
    sink: KafkaSink,
    cluster: Arc<Cluster>,
    watcher: Watcher,
}

impl KafkaConnection {
    /// Reaches a broker.
    pub(super) async fn open(sink: &KafkaSink) -> Result<Self, PublishError> {
        let cluster = Arc::new(Cluster::new(sink.config.url.name()));
        let topics = sink.naming.of_sources().into_iter();
        let watcher = Watcher::new(
            cluster.clone(),
            properties::client(&sink.config),
            topics.min().unwrap_or_else(|| "hookweir".to_owned()),
            sink.config.connect_timeout,
        )
        .await?;
        watcher.ask(None).await.map_err(|code| {
            let why = no_answer(code, sink.config.connect_timeout);
            PublishError(cluster.why(&format!("{why}{MAY_WANT}")))
        })?;
        cluster.reached();
        Ok(Self {
            sink: sink.clone(),
            cluster,
            watcher,
        })
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
        *self
            .cluster
            .needed_copies
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = topics::needed_copies(&found);
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
            if let Ok(topic) = self.watcher.ask(Some(name.clone())).await {
                found.insert(name, topic);
            }
        }
        found
    }

    /// Starts to watch the cluster.
    pub(super) fn watch(&self) {
        tokio::spawn(self.watcher.clone().follow());
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
        let context = ChannelContext::new(self.cluster.clone());
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

    async fn shortage(&self) -> Option<String> {
        // A cluster that is away says so itself.
        if !self.cluster.is_up() {
            return None;
        }
        let found = self.layouts().await;
        let needed = self.cluster.needed_copies.lock();
        topics::shortage(&found, &needed.unwrap_or_else(PoisonError::into_inner))
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
    let created = tokio::task::spawn_blocking(move || match unreadable_file(&properties) {
        Some(why) => Err(why),
        None => properties
            .create_with_context(context)
            .map_err(|error| not_created(&error)),
    });
    created
        .await
        .unwrap_or_else(|_| Err("cannot start a thread".to_owned()))
        .map_err(|why| PublishError(format!("{at}: {why}")))
}

/// Returns the reason why there is no client.
fn not_created(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, name, _)
            if name.contains("password") || name.contains("key") =>
        {
            format!("the client does not take the value of property \"{name}\"")
        }
        KafkaError::ClientConfig(_, why, ..) | KafkaError::ClientCreation(why) => one_line(why),
        error => one_line(&error.to_string()),
    }
}

/// Returns the reason why a file of the properties cannot be read. The library's reason names no file.
fn unreadable_file(properties: &ClientConfig) -> Option<String> {
    [
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
    ]
    .iter()
    .filter_map(|name| properties.get(name).filter(|path| *path != "probe"))
    .find_map(|path| {
        let error = std::fs::File::open(path).err()?;
        Some(format!("cannot read {path}: {error}"))
    })
}
