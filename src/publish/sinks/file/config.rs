//! Options of the file sink: `publisher.url = "file://…"` and `publisher.file_*`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::access::Access;
use super::writer::Rotation;
use crate::config::model::Publisher;

/// Options of the file sink.
#[derive(Clone, Debug)]
pub struct FileSinkConfig {
    /// Folder that events are written to.
    pub folder: PathBuf,
    /// Size and age at which a new file is begun.
    pub rotation: Rotation,
    /// Permissions of the files.
    pub access: Access,
    /// Longest time for a batch. Then its messages are in doubt.
    pub write_timeout: Duration,
}

impl FileSinkConfig {
    /// Returns the options of `[publisher]` for the sink in `folder`.
    pub fn from_publisher(folder: &Path, publisher: &Publisher) -> Self {
        Self {
            folder: folder.to_owned(),
            rotation: Rotation {
                bytes: publisher.file.max_bytes,
                age: publisher.file.max_age,
            },
            access: Access {
                mode: publisher.file.mode,
                group: publisher.file.group.clone(),
            },
            write_timeout: publisher.confirm_timeout,
        }
    }
}
