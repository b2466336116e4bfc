//! Arrival of an event in the sink: in a folder of the file sink, at RabbitMQ's exchange, or in a Kafka topic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::{Failure, say};
use crate::config::model::{Publisher, PublisherUrl, Source};
#[cfg(feature = "kafka")]
use crate::publish::PublishError;
#[cfg(feature = "kafka")]
use crate::publish::sinks::kafka::TopicReader;
use crate::publish::sinks::rabbitmq::TemporaryQueue;

/// Time after which a folder that is missing is taken for the wrong one.
const MISSING: Duration = Duration::from_secs(2);
/// Between two looks into the folder.
const LOOK: Duration = Duration::from_millis(20);

/// Place where the event arrives.
pub(super) enum Arrivals {
    /// A folder of JSON lines.
    Folder(PathBuf),
    /// A temporary queue.
    Exchange(Box<TemporaryQueue>),
    /// A topic.
    #[cfg(feature = "kafka")]
    Topic(Box<TopicReader>),
}

impl Arrivals {
    /// Begins to look, before anything is sent.
    pub(super) async fn of(publisher: &Publisher, source: &Source) -> Result<Self, Failure> {
        let url = match &publisher.url {
            PublisherUrl::Amqp(url) => url,
            PublisherUrl::File(folder) => {
                let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
                return Ok(Self::Folder(folder));
            }
            #[cfg(feature = "kafka")]
            PublisherUrl::Kafka(url) => {
                let opened = TopicReader::open(url, publisher, source).await;
                return opened
                    .map(|reader| Self::Topic(Box::new(reader)))
                    .map_err(no_topic);
            }
            #[cfg(not(feature = "kafka"))]
            PublisherUrl::Kafka(_) => {
                let _ = source;
                return Err(Failure::Unreachable("this build has no Kafka".to_owned()));
            }
        };
        let queue = publisher.rabbitmq.queue.as_deref();
        match TemporaryQueue::bind(url, publisher).await {
            Ok(watch) => Ok(Self::Exchange(Box::new(watch))),
            Err(error) => Err(Failure::Unreachable(format!(
                "--wait needs a temporary queue bound to the exchange \"{}\", and there is none: {error}. The user needs the \
                 rights \"configure\" and \"write\" on names that begin with amq.gen, and \"read\" on the exchange. Without --wait, \
                 look into the queue {}",
                publisher.rabbitmq.exchange,
                queue.unwrap_or("that is bound to the exchange")
            ))),
        }
    }

    /// Prints the message `id` as soon as it is there, within `seconds`.
    pub(super) async fn show(self, id: Option<&str>, seconds: u64) -> Result<(), Failure> {
        let Some(id) = id else {
            return Err(Failure::NotAsExpected);
        };
        let limit = Duration::from_secs(seconds);
        let shown = match self {
            Self::Folder(folder) => in_folder(&folder, id, limit).await,
            Self::Exchange(mut watch) => {
                let shown = match tokio::time::timeout(limit, watch.message(id)).await {
                    Ok(line) => line.map_err(|error| error.to_string()),
                    Err(_) => Err(format!(
                        "message {id} has not passed the exchange after {seconds} s; \
                         `curl` the admin listener's /readyz for the reason. Only a topic exchange can be watched"
                    )),
                };
                watch.close().await;
                shown
            }
            #[cfg(feature = "kafka")]
            Self::Topic(reader) => match tokio::time::timeout(limit, reader.message(id)).await {
                Ok(line) => line.map_err(|error| error.to_string()),
                Err(_) => Err(format!(
                    "message {id} is not in the topic \"{}\" after {seconds} s; \
                     `curl` the admin listener's /readyz for the reason",
                    reader.topic()
                )),
            },
        };
        match shown {
            Ok(line) => {
                say::out(line);
                Ok(())
            }
            Err(why) => {
                say::note(format_args!("error: {why}"));
                Err(Failure::NotAsExpected)
            }
        }
    }
}

#[cfg(feature = "kafka")]
fn no_topic(error: PublishError) -> Failure {
    Failure::Unreachable(format!(
        "--wait reads the topic of the source, and cannot: {error}. The topic must exist, and the user needs the right READ on it. \
         Without --wait, read it with kafka-console-consumer.sh"
    ))
}

async fn in_folder(folder: &Path, id: &str, limit: Duration) -> Result<String, String> {
    let began = Instant::now();
    loop {
        if let Some(line) = find(folder, id) {
            return Ok(line);
        }
        let shown = folder.display();
        if began.elapsed() >= MISSING && !folder.exists() {
            return Err(format!(
                "there is no folder {shown}. If publisher.url is relative, run this in the folder where `hookweir serve` was started"
            ));
        }
        if began.elapsed() >= limit {
            let seconds = limit.as_secs();
            return Err(format!(
                "message {id} is not in {shown} after {seconds} s; `curl` the admin listener's /readyz for the reason"
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The line with this message id, looked for in the newest two files: the event was taken a moment ago.
fn find(folder: &Path, id: &str) -> Option<String> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl"))
        .collect();
    files.sort();
    files.iter().rev().take(2).find_map(|path| {
        let text = fs::read(path).ok()?;
        let wanted = format!("\"message_id\":\"{id}\"");
        let line = text.split_inclusive(|byte| *byte == b'\n').rfind(|line| {
            line.ends_with(b"\n")
                && line
                    .windows(wanted.len())
                    .any(|window| window == wanted.as_bytes())
        })?;
        Some(String::from_utf8_lossy(line).trim_end().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_line_with_the_id_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(find(folder.path(), "m1"), None);
        let line = |id: &str| format!("{{\"message_id\":\"{id}\",\"body\":\"x\"}}");
        fs::write(
            folder.path().join("events-1.jsonl"),
            format!("{}\n{}\n", line("m0"), line("m1")),
        )
        .expect("written");
        fs::write(folder.path().join("events-2.jsonl"), line("m2")).expect("written");
        assert_eq!(find(folder.path(), "m1"), Some(line("m1")));
        assert_eq!(find(folder.path(), "m2"), None, "its line is not whole yet");
    }
}
