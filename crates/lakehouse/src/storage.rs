//! Local files that are durable before anything names them.
//!
//! The `iceberg` crate syncs data files, but neither `metadata.json` nor any folder. After a power cut the
//! catalog could then name a file that is empty or absent. This storage syncs each file, its folder, and each
//! folder that it makes. A file that exists is never overwritten.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, LocalFsStorage,
    OutputFile, Storage, StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::disk;

/// Returns the file access of local tables.
pub fn local_files() -> FileIO {
    FileIOBuilder::new(Arc::new(DurableLocalFactory)).build()
}

/// Returns the path of a location: `file:///a`, `file:/a` (as Spark writes it) or `/a`.
pub fn local_path(location: &str) -> PathBuf {
    let path = location.strip_prefix("file:").unwrap_or(location);
    let rest = path.trim_start_matches('/');
    PathBuf::from(format!("/{rest}"))
}

/// Factory of [`DurableLocal`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DurableLocalFactory;

#[typetag::serde]
impl StorageFactory for DurableLocalFactory {
    fn build(&self, _config: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(DurableLocal))
    }
}

/// Storage on a local disk that syncs what it writes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DurableLocal;

#[async_trait]
#[typetag::serde]
impl Storage for DurableLocal {
    async fn exists(&self, path: &str) -> Result<bool> {
        LocalFsStorage.exists(path).await
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        LocalFsStorage.metadata(path).await
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        LocalFsStorage.read(path).await
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        LocalFsStorage.reader(path).await
    }

    async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let mut file = self.writer(path).await?;
        file.write(bytes).await?;
        file.close().await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let path = local_path(path);
        let opened = disk::create(&path).map_err(|error| failed("create", &path, &error))?;
        Ok(Box::new(DurableFile {
            file: Some(opened),
            path,
        }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        LocalFsStorage.delete(path).await
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        LocalFsStorage.delete_prefix(path).await
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

/// A file that is being written. [`FileWrite::close`] brings it and its folder to disk.
#[derive(Debug)]
struct DurableFile {
    file: Option<File>,
    path: PathBuf,
}

#[async_trait]
impl FileWrite for DurableFile {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let file = self.file.as_mut().ok_or_else(|| closed(&self.path))?;
        file.write_all(&bytes)
            .map_err(|error| failed("write to", &self.path, &error))
    }

    async fn close(&mut self) -> Result<()> {
        let file = self.file.take().ok_or_else(|| closed(&self.path))?;
        let synced = file
            .sync_all()
            .and_then(|()| disk::sync_folder_of(&self.path));
        synced.map_err(|error| failed("sync", &self.path, &error))
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("cannot {what} {}: {error}", path.display()),
    )
}

fn closed(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unexpected,
        format!("{} is closed already", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_of_spark_and_one_of_ours_are_the_same_path() {
        for location in ["file:///data/lake", "file:/data/lake", "/data/lake"] {
            assert_eq!(
                local_path(location),
                PathBuf::from("/data/lake"),
                "{location}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_is_readable_under_each_form_and_never_overwritten() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a/b/c");
        let io = local_files();
        let ours = format!("file://{}", path.display());
        io.new_output(&ours)
            .expect("output")
            .write(Bytes::from_static(b"1"))
            .await
            .expect("write");
        let again = io
            .new_output(&ours)
            .expect("output")
            .write(Bytes::from_static(b"2"))
            .await;
        assert!(
            again
                .expect_err("refused")
                .to_string()
                .contains("cannot create")
        );
        let spark = io
            .new_input(format!("file:{}", path.display()))
            .expect("input");
        assert_eq!(spark.read().await.expect("read"), "1");
    }
}
