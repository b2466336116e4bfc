//! Iceberg catalog over [`Database`].

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr as _;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, ErrorKind, MetadataLocation, Namespace, NamespaceIdent, Result, Runtime,
    TableCommit, TableCreation, TableIdent, TableRequirement, TableUpdate,
};

use super::database::{Database, RowInserted};
use super::{LakeCatalog, unsupported};
use crate::{bucket, disk, storage};

/// Name of the catalog, a key of its rows. Spark and pyiceberg must use the same.
pub const CATALOG: &str = "hookweir";

/// Iceberg catalog in the tables of the JDBC catalog.
#[derive(Clone)]
pub struct SqlCatalog {
    database: Database,
    files: FileIO,
    runtime: Runtime,
}

/// Without `files`, which have the keys of a bucket.
impl fmt::Debug for SqlCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlCatalog").finish_non_exhaustive()
    }
}

impl SqlCatalog {
    /// Returns the catalog in `database`. Call it on the runtime that shall read the tables.
    pub fn new(database: Database, files: FileIO) -> Result<Self> {
        Ok(Self {
            database,
            files,
            runtime: Runtime::try_current()?,
        })
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce(Database) -> std::result::Result<T, diesel::result::Error> + Send + 'static,
    ) -> Result<T> {
        let database = self.database.clone();
        let done = tokio::task::spawn_blocking(move || work(database)).await;
        let failed = |error: String| {
            Error::new(
                ErrorKind::Unexpected,
                format!("the catalog cannot {what}: {error}"),
            )
        };
        done.map_err(|error| failed(error.to_string()))?
            .map_err(|error| failed(error.to_string()))
    }

    fn table(
        &self,
        ident: &TableIdent,
        metadata: TableMetadata,
        location: String,
    ) -> Result<Table> {
        Table::builder()
            .file_io(self.files.clone())
            .identifier(ident.clone())
            .metadata(metadata)
            .metadata_location(location)
            .runtime(self.runtime.clone())
            .build()
    }

    async fn location(&self, ident: &TableIdent) -> Result<Option<String>> {
        let (namespace, name) = names(ident);
        self.blocking("read the table's row", move |database| {
            database.location(&namespace, &name)
        })
        .await
    }

    async fn swap(&self, ident: &TableIdent, old: String, new: String) -> Result<bool> {
        let (namespace, name) = names(ident);
        self.blocking("swap the table's row", move |database| {
            database.swap(&namespace, &name, &old, &new)
        })
        .await
    }

    /// Stores the row of a new table, and returns the table.
    async fn register(&self, ident: &TableIdent, location: String) -> Result<Table> {
        let (namespace, name) = names(ident);
        let stored = location.clone();
        let inserted = self
            .blocking("insert the table's row", move |database| {
                database.insert_table(&namespace, &name, &stored)
            })
            .await?;
        if inserted == RowInserted::Existed {
            return Err(Error::new(
                ErrorKind::TableAlreadyExists,
                format!("the table {ident} exists already"),
            ));
        }
        let metadata = TableMetadata::read_from(&self.files, &location).await?;
        self.write_hint(&location).await;
        self.table(ident, metadata, location)
    }

    /// Deletes the metadata files that the log of `old` names and that of `new` does not. Upkeep deletes what is left
    /// of them.
    async fn delete_old_metadata(&self, old: &TableMetadata, new: &TableMetadata) {
        let kept = new.metadata_log();
        for gone in old.metadata_log() {
            let is_kept = kept
                .iter()
                .any(|log| log.metadata_file == gone.metadata_file);
            if !is_kept && let Err(error) = self.files.delete(&gone.metadata_file).await {
                tracing::debug!("cannot delete {}: {error}", gone.metadata_file);
            }
        }
    }

    /// Writes the name of the current metadata file beside it, for readers that are given a folder (DuckDB).
    ///
    /// The catalog decides; the hint may be older. A failure is logged, and the next commit repairs it.
    async fn write_hint(&self, metadata_location: &str) {
        let Some((folder, name)) = metadata_location.rsplit_once('/') else {
            return;
        };
        let Some(version) = name.strip_suffix(".metadata.json") else {
            return;
        };
        let hint = format!("{folder}/version-hint.text");
        let written = match bucket::split(metadata_location) {
            Some(_) => match self.files.new_output(&hint) {
                Ok(file) => file.write(version.to_owned().into()).await,
                Err(error) => Err(error),
            }
            .map_err(|error| error.to_string()),
            None => disk::replace(&storage::local_path(&hint), version)
                .map_err(|error| error.to_string()),
        };
        if let Err(error) = written {
            tracing::warn!(
                "cannot write {hint}: {error}; readers by folder see an older version until the next commit"
            );
        }
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        if parent.is_some() {
            return Ok(Vec::new());
        }
        let found = self
            .blocking("list namespaces", |database| database.namespaces())
            .await?;
        Ok(found.into_iter().map(NamespaceIdent::new).collect())
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        _properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        let name = namespace.join(".");
        let inserted = self
            .blocking("insert a namespace", move |database| {
                database.insert_namespace(&name)
            })
            .await?;
        match inserted {
            RowInserted::Done => Ok(Namespace::new(namespace.clone())),
            RowInserted::Existed => Err(Error::new(
                ErrorKind::NamespaceAlreadyExists,
                format!("the namespace {namespace} exists already"),
            )),
        }
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        if self.namespace_exists(namespace).await? {
            return Ok(Namespace::new(namespace.clone()));
        }
        Err(Error::new(
            ErrorKind::NamespaceNotFound,
            format!("there is no namespace {namespace}"),
        ))
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        Ok(self.list_namespaces(None).await?.contains(namespace))
    }

    async fn update_namespace(
        &self,
        _namespace: &NamespaceIdent,
        _properties: HashMap<String, String>,
    ) -> Result<()> {
        Err(unsupported("update_namespace"))
    }

    async fn drop_namespace(&self, _namespace: &NamespaceIdent) -> Result<()> {
        Err(unsupported("drop_namespace"))
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        let name = namespace.join(".");
        let found = self
            .blocking("list tables", move |database| database.tables(&name))
            .await?;
        Ok(found
            .into_iter()
            .map(|table| TableIdent::new(namespace.clone(), table))
            .collect())
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        let ident = TableIdent::new(namespace.clone(), creation.name.clone());
        let metadata = TableMetadataBuilder::from_table_creation(creation)?
            .build()?
            .metadata;
        let location = MetadataLocation::new_with_metadata(metadata.location(), &metadata);
        metadata.write_to(&self.files, &location).await?;
        let created = self.register(&ident, location.to_string()).await;
        if created
            .as_ref()
            .is_err_and(|error| error.kind() == ErrorKind::TableAlreadyExists)
        {
            // Nothing names it, and nothing will.
            let _ = self.files.delete(location.to_string()).await;
        }
        created
    }

    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        let location = self.location(ident).await?.ok_or_else(|| {
            Error::new(
                ErrorKind::TableNotFound,
                format!("there is no table {ident}"),
            )
        })?;
        let metadata = TableMetadata::read_from(&self.files, &location).await?;
        self.table(ident, metadata, location)
    }

    async fn drop_table(&self, ident: &TableIdent) -> Result<()> {
        let (namespace, name) = names(ident);
        let removed = self
            .blocking("remove the table's row", move |database| {
                database.remove_table(&namespace, &name)
            })
            .await?;
        if removed {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TableNotFound,
            format!("there is no table {ident}"),
        ))
    }

    async fn purge_table(&self, _ident: &TableIdent) -> Result<()> {
        Err(unsupported("purge_table"))
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        Ok(self.location(ident).await?.is_some())
    }

    async fn rename_table(&self, _from: &TableIdent, _to: &TableIdent) -> Result<()> {
        Err(unsupported("rename_table"))
    }

    async fn register_table(&self, ident: &TableIdent, metadata_location: String) -> Result<Table> {
        self.register(ident, metadata_location).await
    }

    async fn update_table(&self, mut commit: TableCommit) -> Result<Table> {
        let (requirements, updates) = (commit.take_requirements(), commit.take_updates());
        self.commit(commit.identifier(), requirements, updates)
            .await
    }
}

#[async_trait]
impl LakeCatalog for SqlCatalog {
    async fn metadata_location(&self, ident: &TableIdent) -> Result<Option<String>> {
        self.location(ident).await
    }

    /// Writes the new metadata file, and swaps the table's row if nobody else did since it was read.
    async fn commit(
        &self,
        ident: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Table> {
        let current = self.load_table(ident).await?;
        for requirement in &requirements {
            requirement.check(Some(current.metadata()))?;
        }
        let old = current.metadata_location_result()?.to_owned();
        let mut builder = current.metadata().clone().into_builder(Some(old.clone()));
        for update in updates {
            builder = update.apply(builder)?;
        }
        let metadata = builder.build()?.metadata;
        let location = MetadataLocation::from_str(&old)?
            .with_next_version()
            .with_new_metadata(&metadata);
        metadata.write_to(&self.files, &location).await?;
        let new = location.to_string();
        if !self.swap(ident, old, new.clone()).await? {
            // Nothing names it, and nothing will.
            let _ = self.files.delete(&new).await;
            return Err(Error::new(
                ErrorKind::CatalogCommitConflicts,
                format!("the table {ident} was changed by another process"),
            )
            .with_retryable(true));
        }
        self.write_hint(&new).await;
        self.delete_old_metadata(current.metadata(), &metadata)
            .await;
        self.table(ident, metadata, new)
    }
}

fn names(ident: &TableIdent) -> (String, String) {
    (ident.namespace().join("."), ident.name().to_owned())
}
