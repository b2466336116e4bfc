//! Files in a bucket of an S3-compatible store, by `opendal`.
//!
//! `iceberg-storage-opendal` would do the same. Its features bring a second cryptography library (`aws-lc`), and
//! it lists no files.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt as _, TryStreamExt as _};
use iceberg::io::{
    CLIENT_REGION, FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile,
    S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_PATH_STYLE_ACCESS, S3_REGION, S3_SECRET_ACCESS_KEY,
    S3_SESSION_TOKEN, Storage, StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use opendal::layers::{RetryLayer, TimeoutLayer};
use opendal::services::S3;
use opendal::{Operator, Reader, Writer};
use serde::{Deserialize, Serialize};

use crate::listing::Listed;

/// Longest wait for a part of a file.
const PATIENCE: Duration = Duration::from_secs(30);
/// Region of a store that has none.
const REGION: &str = "us-east-1";

/// Returns bucket and key of an `s3://` location, or of one as Spark writes it (`s3a://`). None if it is none.
pub fn split(location: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = location.split_once("://")?;
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    (matches!(scheme, "s3" | "s3a" | "s3n") && !bucket.is_empty()).then_some((bucket, key))
}

/// Returns the access to files in buckets with these properties.
pub fn files(properties: HashMap<String, String>) -> FileIO {
    FileIOBuilder::new(Arc::new(BucketFactory))
        .with_props(properties)
        .build()
}

/// Factory of [`Bucket`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct BucketFactory;

#[typetag::serde]
impl StorageFactory for BucketFactory {
    fn build(&self, config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(Bucket::new(config.props().clone())))
    }
}

/// Storage in buckets of one store. Properties have Iceberg's names (`s3.endpoint`).
#[derive(Clone, Serialize, Deserialize)]
pub struct Bucket {
    properties: HashMap<String, String>,
    #[serde(skip)]
    operators: Arc<Mutex<HashMap<String, Operator>>>,
}

impl std::fmt::Debug for Bucket {
    /// Leaves out the properties, which hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bucket")
    }
}

impl Bucket {
    /// Returns a storage with these properties.
    pub fn new(properties: HashMap<String, String>) -> Self {
        Self {
            properties,
            operators: Arc::default(),
        }
    }

    /// Returns the client of the location's bucket, and the key.
    fn place<'a>(&self, location: &'a str) -> Result<(Operator, &'a str)> {
        let Some((bucket, key)) = split(location) else {
            return Err(Error::new(
                ErrorKind::DataInvalid,
                format!("{location} is in no bucket: expected s3://BUCKET/KEY"),
            ));
        };
        let mut operators = self
            .operators
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(operator) = operators.get(bucket) {
            return Ok((operator.clone(), key));
        }
        let operator = self.client(bucket)?;
        operators.insert(bucket.to_owned(), operator.clone());
        Ok((operator, key))
    }

    fn client(&self, bucket: &str) -> Result<Operator> {
        let property = |name: &str| self.properties.get(name).map(String::as_str);
        let mut client = S3::default().bucket(bucket);
        if let Some(endpoint) = property(S3_ENDPOINT) {
            client = client.endpoint(endpoint);
        }
        let region = property(CLIENT_REGION).or(property(S3_REGION));
        client = client.region(region.unwrap_or(REGION));
        if let (Some(id), Some(key)) = (property(S3_ACCESS_KEY_ID), property(S3_SECRET_ACCESS_KEY))
        {
            client = client.access_key_id(id).secret_access_key(key);
        }
        if let Some(token) = property(S3_SESSION_TOKEN) {
            client = client.session_token(token);
        }
        // Iceberg's default: the bucket is a part of the host's name.
        if property(S3_PATH_STYLE_ACCESS) != Some("true") {
            client = client.enable_virtual_host_style();
        }
        let timeout = TimeoutLayer::new()
            .with_timeout(PATIENCE)
            .with_io_timeout(PATIENCE);
        let operator = Operator::new(client).map_err(|error| failed("use", bucket, error))?;
        Ok(operator
            .layer(timeout)
            .layer(RetryLayer::new().with_jitter())
            .finish())
    }

    /// Returns the time of a file's last change, by the clock of the store. None if the store tells none.
    pub(crate) async fn written(&self, location: &str) -> Result<Option<SystemTime>> {
        let (client, key) = self.place(location)?;
        let found = client.stat(key).await;
        let found = found.map_err(|error| failed("look for", location, error))?;
        Ok(found.last_modified().map(SystemTime::from))
    }

    /// Hands each file below the folder `location` to `take`.
    pub(crate) async fn walk(
        &self,
        location: &str,
        take: &mut (dyn FnMut(Listed) + Send),
    ) -> Result<()> {
        let (client, key) = self.place(location)?;
        let (bucket, folder) = (client.info().name(), format!("{}/", key.trim_matches('/')));
        let listed = client.lister_with(&folder).recursive(true).await;
        let mut entries = listed.map_err(|error| failed("list", location, error))?;
        while let Some(entry) = entries
            .try_next()
            .await
            .map_err(|error| failed("list", location, error))?
        {
            // A store that tells no time: the file counts as new, and stays.
            let written = entry.metadata().last_modified();
            let written = written.map_or_else(SystemTime::now, SystemTime::from);
            if entry.metadata().is_file() {
                take(Listed {
                    key: format!("s3://{bucket}/{}", entry.path()),
                    written,
                    bytes: entry.metadata().content_length(),
                });
            }
        }
        Ok(())
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for Bucket {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (client, key) = self.place(path)?;
        let exists = client.exists(key).await;
        exists.map_err(|error| failed("look for", path, error))
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (client, key) = self.place(path)?;
        let found = client.stat(key).await;
        let found = found.map_err(|error| failed("look for", path, error))?;
        Ok(FileMetadata {
            size: found.content_length(),
        })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (client, key) = self.place(path)?;
        let read = client.read(key).await;
        read.map(|buffer| buffer.to_bytes())
            .map_err(|error| failed("read", path, error))
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (client, key) = self.place(path)?;
        let reader = client.reader(key).await;
        let reader = reader.map_err(|error| failed("read", path, error))?;
        Ok(Box::new(BucketReader(reader, path.to_owned())))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (client, key) = self.place(path)?;
        let written = client.write(key, bytes).await;
        written
            .map(drop)
            .map_err(|error| failed("write", path, error))
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let (client, key) = self.place(path)?;
        let writer = client.writer(key).await;
        let writer = writer.map_err(|error| failed("write", path, error))?;
        Ok(Box::new(BucketWriter(writer, path.to_owned())))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (client, key) = self.place(path)?;
        let deleted = client.delete(key).await;
        deleted.map_err(|error| failed("delete", path, error))
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let (client, key) = self.place(path)?;
        let deleted = client.delete_with(key).recursive(true).await;
        deleted.map_err(|error| failed("delete", path, error))
    }

    async fn delete_stream(&self, mut paths: BoxStream<'static, String>) -> Result<()> {
        while let Some(path) = paths.next().await {
            self.delete(&path).await?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct BucketReader(Reader, String);

#[async_trait]
impl FileRead for BucketReader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let read = self.0.read(range).await;
        read.map(|buffer| buffer.to_bytes())
            .map_err(|error| failed("read", &self.1, error))
    }
}

/// A file that is being written. It exists from [`FileWrite::close`] on.
struct BucketWriter(Writer, String);

#[async_trait]
impl FileWrite for BucketWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.0.write(bytes).await;
        written.map_err(|error| failed("write", &self.1, error))
    }

    async fn close(&mut self) -> Result<()> {
        let closed = self.0.close().await;
        closed
            .map(drop)
            .map_err(|error| failed("write", &self.1, error))
    }
}

/// Returns an error without the properties of the request, which may hold keys.
fn failed(what: &str, location: &str, error: opendal::Error) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!(
            "cannot {what} {location}: {} ({})",
            error.message(),
            error.kind()
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_location_of_spark_and_one_of_ours_are_in_the_same_bucket() {
        for location in ["s3://lake/a/b", "s3a://lake/a/b", "s3n://lake/a/b"] {
            assert_eq!(split(location), Some(("lake", "a/b")), "{location}");
        }
        assert_eq!(split("s3://lake"), Some(("lake", "")));
        for wrong in ["file:///lake/a", "/lake/a", "s3:///a", "gs://lake/a"] {
            assert_eq!(split(wrong), None, "{wrong}");
        }
    }
}
