//! The file sink: a folder of JSON lines with the guarantees of a broker. A line is confirmed when
//! it is on disk.

use async_trait::async_trait;

use self::connection::FileConnection;
use super::{Connection, PublishError, Sink};
use crate::domain::delivery::wall_clock;

mod access;
mod config;
mod connection;
mod erased_lines;
mod file_name;
mod recovery;
mod writer;

pub use self::access::Access;
pub use self::config::FileSinkConfig;
pub use self::erased_lines::{ErasedLines, erase_lines};
pub use self::writer::{FileWriter, Rotation};

/// A folder that events are written to.
#[derive(Debug)]
pub struct FileSink {
    config: FileSinkConfig,
}

impl FileSink {
    /// Returns the sink. Nothing is opened yet.
    pub fn new(config: FileSinkConfig) -> Self {
        Self { config }
    }

    /// Runs `work`, which blocks, on a thread of its own and within the time limit: a disk may
    /// hang.
    async fn blocking<T: Send + 'static>(
        limit: std::time::Duration,
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

    fn failed(&self, why: String) -> PublishError {
        PublishError(format!(
            "the event folder {}: {why}",
            self.config.folder.display()
        ))
    }
}

#[async_trait]
impl Sink for FileSink {
    /// Returns 1: a second channel would wait for the same disk.
    fn channels(&self, _configured: usize) -> usize {
        1
    }

    async fn connect(&self) -> Result<Box<dyn Connection>, PublishError> {
        let config = self.config.clone();
        let opened = Self::blocking(self.config.write_timeout, "open it", move || {
            let now = wall_clock();
            let writer = FileWriter::open(&config.folder, config.rotation, &config.access, now)?;
            // Finds a full disk here rather than with an event.
            recovery::probe(&config.folder)?;
            Ok(writer)
        });
        let writer = opened.await.map_err(|why| self.failed(why))?;
        Ok(Box::new(FileConnection::new(writer, &self.config)))
    }

    async fn check(&self) -> Result<Vec<String>, PublishError> {
        let config = self.config.clone();
        Self::blocking(self.config.write_timeout, "write to it", move || {
            config
                .access
                .resolve()
                .and_then(|_| recovery::probe(&config.folder))
        })
        .await
        .map_err(|why| self.failed(why))?;
        Ok(vec![format!(
            "events can be written to {}",
            self.config.folder.display()
        )])
    }
}
