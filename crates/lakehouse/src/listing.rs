//! Files of a table, as its disk or its bucket lists them.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use iceberg::io::Storage as _;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use uuid::Uuid;

use crate::bucket::{self, Bucket};
use crate::disk;
use crate::error::{LakeError, Result};
use crate::storage::local_path;

/// Clocks of file systems are some milliseconds behind.
const DISK_CLOCK: Duration = Duration::from_millis(100);
/// Buckets tell the time in seconds.
const BUCKET_CLOCK: Duration = Duration::from_secs(2);

/// A file that is listed.
pub(crate) struct Listed {
    /// Its [`key`].
    pub(crate) key: String,
    /// Time of its last change, by the clock of the store.
    pub(crate) written: SystemTime,
    /// Its size.
    pub(crate) bytes: u64,
}

/// Returns a location in one form: other engines write `s3a://` and `file:/` for the same file.
pub(crate) fn key(location: &str) -> String {
    match bucket::split(location) {
        Some((bucket, key)) => format!("s3://{bucket}/{key}"),
        None => local_path(location).display().to_string(),
    }
}

/// End of the name of a metadata file.
pub(crate) const METADATA: &str = ".metadata.json";

/// Returns the location that a [`key`] stands for.
fn location(key: &str) -> String {
    match bucket::split(key) {
        Some(_) => key.to_owned(),
        None => format!("file://{key}"),
    }
}

/// Store of a table's files.
pub(crate) struct Listing {
    root: String,
    bucket: Option<Bucket>,
}

impl Listing {
    /// Returns the store of the files at `location`. `properties` are those of a bucket.
    pub(crate) fn at(location: &str, properties: HashMap<String, String>) -> Self {
        let bucket = bucket::split(location).map(|_| Bucket::new(properties));
        Self {
            root: key(location),
            bucket,
        }
    }

    /// Returns `true` if a table with rows has metadata files there. One that was begun has its first file only.
    pub(crate) async fn has_table(&self) -> Result<bool> {
        let mut found = false;
        let mut take = |file: Listed| {
            let name = file.key.rsplit('/').next().unwrap_or_default();
            found |= name.ends_with(METADATA) && !name.starts_with("00000-");
        };
        self.walk("metadata", &mut take).await?;
        Ok(found)
    }

    /// Returns the store of `table`.
    pub(crate) fn of(table: &Table) -> Self {
        let properties = table.file_io().config().props().clone();
        Self::at(table.metadata().location(), properties)
    }

    /// Returns the location of the table, as a person writes it.
    pub(crate) fn root(&self) -> &str {
        &self.root
    }

    /// Fails if the table is on a disk that has less than `floor` bytes of free space with `more` bytes.
    pub(crate) fn check_room(&self, floor: u64, more: u64) -> Result<()> {
        match &self.bucket {
            Some(_) => Ok(()),
            None => disk::check_room(Path::new(&self.root), floor, more),
        }
    }

    /// Returns a time by the store's clock. No file that is written from now on has an earlier one.
    pub(crate) async fn now(&self) -> Result<SystemTime> {
        let Some(bucket) = &self.bucket else {
            return Ok(before(SystemTime::now(), DISK_CLOCK));
        };
        let failed = LakeError::away::<iceberg::Error>;
        let probe = format!("{}/metadata/.clock-{}", self.root, Uuid::now_v7());
        let put = bucket.write(&probe, Bytes::new()).await;
        put.map_err(failed("ask the bucket for its time"))?;
        let written = bucket.written(&probe).await;
        let written = written.map_err(failed("ask the bucket for its time"))?;
        let gone = bucket.delete(&probe).await;
        gone.map_err(failed("ask the bucket for its time"))?;
        // A bucket that tells no time: no file of it is old.
        let written = written.unwrap_or(SystemTime::UNIX_EPOCH);
        Ok(before(written, BUCKET_CLOCK))
    }

    /// Fails if one of `metadata`, which `table` does not name, is another table's: that has files here.
    pub(crate) async fn check_owner(&self, table: &Table, metadata: &[String]) -> Result<()> {
        for key in metadata {
            // One that a dead writer has left may be empty.
            let read = TableMetadata::read_from(table.file_io(), &location(key)).await;
            let is_other = |found: TableMetadata| {
                found.uuid() != table.metadata().uuid() && found.current_snapshot().is_some()
            };
            if read.is_ok_and(is_other) {
                return Err(LakeError::Away(format!(
                    "{} has files of another table ({key}): no unused file is deleted. Give each table a place of its own",
                    self.root
                )));
            }
        }
        Ok(())
    }

    /// Hands each file of the folder `folder` of the table to `take`.
    pub(crate) async fn walk(
        &self,
        folder: &str,
        take: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<()> {
        let folder = format!("{}/{folder}", self.root);
        match &self.bucket {
            Some(bucket) => bucket
                .walk(&folder, take)
                .await
                .map_err(LakeError::away("list the files")),
            None => walk(Path::new(&folder), take).map_err(|error| {
                LakeError::Away(format!("cannot read the folder {folder}: {error}"))
            }),
        }
    }

    /// Returns `true` if the file is there.
    pub(crate) async fn exists(&self, location: &str) -> Result<bool> {
        match &self.bucket {
            Some(bucket) => bucket
                .exists(location)
                .await
                .map_err(LakeError::away("look for a file")),
            None => Ok(local_path(location).exists()),
        }
    }

    /// Deletes a file. Returns `false` if a disk had none.
    pub(crate) async fn delete(&self, key: &str) -> Result<bool> {
        if let Some(bucket) = &self.bucket {
            let deleted = bucket.delete(key).await;
            deleted.map_err(LakeError::away("delete a file"))?;
            return Ok(true);
        }
        match fs::remove_file(key) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(LakeError::Away(format!("cannot delete {key}: {error}"))),
        }
    }
}

fn before(time: SystemTime, by: Duration) -> SystemTime {
    time.checked_sub(by).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Hands each file below `folder` to `take`.
fn walk(folder: &Path, take: &mut dyn FnMut(Listed)) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let metadata = match entry.metadata() {
            // Deleted meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        if metadata.is_dir() {
            walk(&entry.path(), take)?;
        } else {
            take(Listed {
                key: entry.path().display().to_string(),
                written: metadata.modified()?,
                bytes: metadata.len(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn other_engines_words_for_a_file_are_one_key() {
        assert_eq!(key("s3a://lake/a/b"), key("s3://lake/a/b"));
        assert_eq!(key("file:/lake/a"), key("file:///lake/a"));
        assert_ne!(key("s3://lake/a"), key("file:///lake/a"));
    }
}
