//! The file sink: a folder of JSON lines that keeps the contract of a broker. A line is confirmed when it is on disk.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::{Channel, Fate, Link, LinkState, Message, PublishError, Target};
use crate::domain::delivery::UnixMillis;

mod access;
mod sink;

pub use access::Access;
pub use sink::{Rotation, Sink};

/// A folder to write events to.
#[derive(Debug)]
pub struct FileTarget {
    folder: PathBuf,
    rotation: Rotation,
    access: Access,
    limit: Duration,
}

impl FileTarget {
    /// Writes to `folder`; a batch that takes longer than `limit` counts as unknown.
    pub fn new(folder: PathBuf, rotation: Rotation, access: Access, limit: Duration) -> Self {
        Self {
            folder,
            rotation,
            access,
            limit,
        }
    }

    /// Runs what blocks off the runtime and under the time limit: a disk may hang.
    async fn blocking<T: Send + 'static>(
        limit: Duration,
        what: &'static str,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, String> {
        match tokio::time::timeout(limit, tokio::task::spawn_blocking(work)).await {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(error))) => Err(format!("cannot {what}: {error}")),
            Ok(Err(error)) => Err(format!("cannot {what}: {error}")),
            Err(_) => Err(format!(
                "cannot {what} within {} ms: the disk hangs",
                limit.as_millis()
            )),
        }
    }

    fn at(&self, why: String) -> PublishError {
        PublishError(format!("the event folder {}: {why}", self.folder.display()))
    }
}

#[async_trait]
impl Target for FileTarget {
    /// One: a second one would wait for the same disk.
    fn channels(&self, _configured: usize) -> usize {
        1
    }

    async fn connect(&self) -> Result<Box<dyn Link>, PublishError> {
        let (folder, rotation, access) = (self.folder.clone(), self.rotation, self.access.clone());
        let opened = Self::blocking(self.limit, "open it", move || {
            let sink = Sink::open(&folder, rotation, &access, UnixMillis::now())?;
            // Finds a full disk here rather than with an event.
            sink::probe(&folder)?;
            Ok(sink)
        });
        let sink = opened.await.map_err(|why| self.at(why))?;
        let (state, _) = watch::channel(LinkState::Up);
        Ok(Box::new(FileLink {
            sink: Arc::new(Mutex::new(sink)),
            state: Arc::new(state),
            limit: self.limit,
            folder: self.folder.clone(),
        }))
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        let (folder, access) = (self.folder.clone(), self.access.clone());
        Self::blocking(self.limit, "write to it", move || {
            access.resolve().and_then(|_| sink::probe(&folder))
        })
        .await
        .map_err(|why| self.at(why))?;
        Ok(vec![format!(
            "events can be written to {}",
            self.folder.display()
        )])
    }
}

#[derive(Clone)]
struct FileLink {
    sink: Arc<Mutex<Sink>>,
    state: Arc<watch::Sender<LinkState>>,
    limit: Duration,
    folder: PathBuf,
}

#[async_trait]
impl Link for FileLink {
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError> {
        Ok(Box::new(self.clone()))
    }

    fn state(&self) -> watch::Receiver<LinkState> {
        self.state.subscribe()
    }

    async fn close(&self) {
        // The lock on the folder goes with the sink, and the sink with the last lane that writes.
    }
}

#[async_trait]
impl Channel for FileLink {
    async fn publish(&mut self, batch: &[Message]) -> Vec<Fate> {
        let (sink, messages) = (self.sink.clone(), batch.to_vec());
        let written = FileTarget::blocking(self.limit, "write to it", move || {
            let mut lines = Vec::new();
            for message in &messages {
                lines.extend(message.to_json_line()?);
                lines.push(b'\n');
            }
            // A panic while it was held has ended the process.
            sink.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(&lines, UnixMillis::now())
        });
        match written.await {
            Ok(()) => vec![Fate::Confirmed; batch.len()],
            Err(why) => {
                // The next link mends the file before it writes.
                self.state.send_replace(LinkState::Down(format!(
                    "the event folder {}: {why}",
                    self.folder.display()
                )));
                vec![Fate::Unknown(why); batch.len()]
            }
        }
    }

    fn is_open(&self) -> bool {
        *self.state.borrow() == LinkState::Up
    }
}
