//! Settings of the writer, from the configuration.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use hookweir_lakehouse::catalog::rest::RestPlace;
use hookweir_lakehouse::feed::folder::POSITION;
#[cfg(feature = "kafka")]
use hookweir_lakehouse::feed::kafka::{KafkaOptions, Topics};
use hookweir_lakehouse::feed::queue::QueueOptions;
use hookweir_lakehouse::lake::{BucketPlace, CatalogPlace, LakePlace};
use hookweir_lakehouse::protocol::batch::CommitLimits;
use hookweir_lakehouse::run::{RunLimits, UpkeepPace};
use hookweir_lakehouse::upkeep::UpkeepLimits;

use crate::config::Config;
#[cfg(feature = "kafka")]
use crate::config::kafka_url::KafkaUrl;
use crate::config::model::{CatalogUrl, LakeUrl, Lakehouse, PublisherUrl};
use crate::config::secret::Secret;
#[cfg(feature = "kafka")]
use crate::publish::sinks::kafka::{SinkTopics, TopicNames};
use crate::publish::sinks::rabbitmq::RabbitmqConfig;

/// Age from which a file that no version of the table names is removed.
const UNNAMED_AGE: Duration = Duration::from_secs(3600);
const DAY: u64 = 24 * 60 * 60;

/// Settings of one writer.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) place: LakePlace,
    pub(super) feed: FeedPlace,
    pub(super) limits: RunLimits,
}

/// Place from which the events come.
#[derive(Clone, Debug)]
pub(super) enum FeedPlace {
    /// The file sink's folder, and the file of the position in it.
    Folder { events: PathBuf, position: PathBuf },
    /// A queue.
    Queue(QueueOptions),
    /// Topics of Kafka.
    #[cfg(feature = "kafka")]
    Kafka(KafkaOptions),
}

impl Settings {
    /// Returns the settings that `config` asks for.
    pub(super) fn of(config: &Config) -> Result<Self, String> {
        let lakehouse = &config.lakehouse;
        Ok(Self {
            place: place(config)?,
            feed: feed(config)?,
            limits: RunLimits {
                batch: CommitLimits {
                    rows: lakehouse.commit_rows,
                    bytes: lakehouse.commit_bytes,
                    age: lakehouse.commit_age,
                },
                known_ids: lakehouse.known_ids,
                upkeep: upkeep(lakehouse),
                min_free: lakehouse.min_free,
            },
        })
    }
}

/// Returns the place of the lakehouse.
pub(super) fn place(config: &Config) -> Result<LakePlace, String> {
    let lakehouse = &config.lakehouse;
    Ok(LakePlace {
        folder: lakehouse.folder().to_owned(),
        bucket: match &lakehouse.url {
            LakeUrl::Folder(_) => None,
            LakeUrl::Bucket(url) => Some(BucketPlace {
                url: url.clone(),
                properties: properties(lakehouse),
            }),
        },
        catalog: match &lakehouse.catalog {
            CatalogUrl::Beside => CatalogPlace::Beside,
            CatalogUrl::Postgres(url) => CatalogPlace::Postgres(text(url, "lakehouse.catalog")?),
            CatalogUrl::Rest(url) => CatalogPlace::Rest(RestPlace {
                url: text(url, "lakehouse.catalog")?,
                properties: properties(lakehouse),
            }),
        },
    })
}

fn properties(lakehouse: &Lakehouse) -> HashMap<String, String> {
    lakehouse.properties.clone().into_iter().collect()
}

fn feed(config: &Config) -> Result<FeedPlace, String> {
    Ok(match &config.lakehouse_sink().url {
        PublisherUrl::File(events) => FeedPlace::Folder {
            events: events.clone(),
            position: config.lakehouse.folder().join(position(&config.lakehouse)),
        },
        PublisherUrl::Amqp(url) => FeedPlace::Queue(QueueOptions {
            urls: url
                .nodes()
                .iter()
                .map(|node| text(node, &config.lakehouse_sink().key("url")))
                .collect::<Result<_, _>>()?,
            tls: RabbitmqConfig::from_publisher(url, config.lakehouse_sink())
                .tls
                .read()?,
            exchange: config.lakehouse_sink().rabbitmq.exchange.clone(),
            queue: config.lakehouse.queue.clone(),
            // A batch, and the next one.
            prefetch: u16::try_from(config.lakehouse.commit_rows * 2).unwrap_or(u16::MAX),
            held_bytes: super::held_bytes(&config.lakehouse),
            timeout: config.lakehouse_sink().rabbitmq.connect_timeout,
        }),
        #[cfg(feature = "kafka")]
        PublisherUrl::Kafka(url) => FeedPlace::Kafka(kafka(config, url)?),
        #[cfg(not(feature = "kafka"))]
        PublisherUrl::Kafka(_) => {
            return Err(
                "this build has no Kafka; build it with `cargo build --release --features kafka,lakehouse`"
                    .to_owned(),
            );
        }
    })
}

/// Returns the name of the file with the position. Each sink has one of its own: files of another folder may
/// have lower numbers.
fn position(lakehouse: &Lakehouse) -> String {
    match &lakehouse.sink {
        Some(sink) => format!("{POSITION}-{sink}"),
        None => POSITION.to_owned(),
    }
}

/// Returns the consumer of the sink's topics, by the sink's own client properties.
#[cfg(feature = "kafka")]
fn kafka(config: &Config, url: &KafkaUrl) -> Result<KafkaOptions, String> {
    let sink = config.lakehouse_sink();
    let found = SinkTopics::of(url, sink, &config.sources).map_err(|error| error.0)?;
    if found.names.is_empty() {
        return Err(
            "the lakehouse reads Kafka's topics of the configured sources, and no [[source]] goes to this sink"
                .to_owned(),
        );
    }
    let topics = found.names.into_iter().map(|names| match names {
        TopicNames::One(name) => Topics::Named(name),
        TopicNames::StartingWith(start) => Topics::StartingWith(start),
    });
    Ok(KafkaOptions {
        properties: found.properties,
        topics: topics.collect(),
        group: config.lakehouse.group.clone(),
        read_ahead: super::READ_AHEAD,
        timeout: sink.rabbitmq.connect_timeout,
    })
}

fn upkeep(lakehouse: &Lakehouse) -> Option<UpkeepPace> {
    (lakehouse.upkeep_interval > Duration::ZERO).then(|| UpkeepPace {
        every: lakehouse.upkeep_interval,
        limits: upkeep_limits(lakehouse),
    })
}

/// Returns the settings of a round of upkeep.
pub(super) fn upkeep_limits(lakehouse: &Lakehouse) -> UpkeepLimits {
    let days = lakehouse.keep_events.as_secs() / DAY;
    UpkeepLimits {
        small_bytes: lakehouse.compact_below,
        small_files: lakehouse.compact_files,
        keep_versions: lakehouse.keep_versions_for,
        keep_count: lakehouse.keep_versions,
        keep_days: u32::try_from(days).unwrap_or(u32::MAX),
        unnamed_age: UNNAMED_AGE,
        min_free: lakehouse.min_free,
    }
}

fn text(secret: &Secret, option: &str) -> Result<String, String> {
    let text = std::str::from_utf8(secret.expose());
    text.map(|text| text.trim().to_owned())
        .map_err(|_| format!("{option} is not UTF-8"))
}
