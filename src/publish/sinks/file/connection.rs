//! An open event folder, as a connection with one channel.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::writer::FileWriter;
use super::{FileSink, FileSinkConfig};
use crate::domain::delivery::wall_clock;
use crate::publish::envelope::Message;
use crate::publish::sinks::{Channel, Connection, ConnectionState, PublishError, PublishResult};

/// Connection and channel of the file sink. Clones share the folder.
#[derive(Clone)]
pub(super) struct FileConnection {
    writer: Arc<Mutex<FileWriter>>,
    state: Arc<watch::Sender<ConnectionState>>,
    write_timeout: Duration,
    folder: PathBuf,
}

impl FileConnection {
    pub(super) fn new(writer: FileWriter, config: &FileSinkConfig) -> Self {
        Self {
            writer: Arc::new(Mutex::new(writer)),
            state: Arc::new(watch::Sender::new(ConnectionState::Up)),
            write_timeout: config.write_timeout,
            folder: config.folder.clone(),
        }
    }
}

#[async_trait]
impl Connection for FileConnection {
    async fn channel(&self) -> Result<Box<dyn Channel>, PublishError> {
        Ok(Box::new(self.clone()))
    }

    fn state(&self) -> watch::Receiver<ConnectionState> {
        self.state.subscribe()
    }

    async fn close(&self) {
        // The last channel that writes drops the writer, and with it the lock on the folder.
    }
}

#[async_trait]
impl Channel for FileConnection {
    async fn publish(&mut self, batch: &[Message]) -> Vec<PublishResult> {
        let (writer, messages) = (self.writer.clone(), batch.to_vec());
        let written = FileSink::blocking(self.write_timeout, "write to it", move || {
            let mut lines = Vec::new();
            for message in &messages {
                lines.extend(message.to_json_line()?);
                lines.push(b'\n');
            }
            // Ignores poisoning: a panic ends the process.
            writer
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .append(&lines, wall_clock())
        });
        match written.await {
            Ok(()) => vec![PublishResult::Confirmed; batch.len()],
            Err(why) => {
                // The next connection repairs the file before it writes.
                self.state.send_replace(ConnectionState::Down(format!(
                    "the event folder {}: {why}",
                    self.folder.display()
                )));
                vec![PublishResult::Unknown(why); batch.len()]
            }
        }
    }

    fn is_open(&self) -> bool {
        *self.state.borrow() == ConnectionState::Up
    }
}
