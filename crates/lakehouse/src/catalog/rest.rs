//! Iceberg's REST catalog, with a bearer token or OAuth2 client credentials, and with credentials for the files
//! that it vends.
//!
//! `iceberg-catalog-rest` takes commits of transactions only, renews no token, and has a client without TLS.

mod client;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::io::FileIO;
use iceberg::spec::TableMetadata;
use iceberg::table::Table;
use iceberg::{
    Catalog, ErrorKind, Namespace, NamespaceIdent, Result, Runtime, TableCommit, TableCreation,
    TableIdent, TableRequirement, TableUpdate,
};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use self::client::{Answer, Client};
use super::{LakeCatalog, unsupported};
use crate::bucket;
use crate::storage;

/// Place of a REST catalog.
#[derive(Clone, PartialEq, Eq)]
pub struct RestPlace {
    /// Its URL, without a slash at the end.
    pub url: String,
    /// Properties by Iceberg's names: `token`, `credential`, `warehouse`, `s3.endpoint`.
    pub properties: HashMap<String, String>,
}

impl std::fmt::Debug for RestPlace {
    /// Leaves out the properties, which hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RestPlace({})", self.url)
    }
}

/// Client of a REST catalog.
#[derive(Clone, Debug)]
pub struct RestCatalog {
    client: Arc<Client>,
    runtime: Runtime,
}

/// A table, as the catalog shows it.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Shown {
    metadata_location: Option<String>,
    metadata: TableMetadata,
    #[serde(default)]
    config: HashMap<String, String>,
    #[serde(default)]
    storage_credentials: Vec<Vended>,
}

/// Credentials for the files below a location.
#[derive(Deserialize)]
struct Vended {
    prefix: String,
    config: HashMap<String, String>,
}

impl RestCatalog {
    /// Returns the catalog at `place`. Call it on the runtime that shall read the tables.
    pub fn new(place: RestPlace) -> Result<Self> {
        Ok(Self {
            client: Arc::new(Client::new(place)?),
            runtime: Runtime::try_current()?,
        })
    }

    /// Returns the table with the file access that its credentials give. They expire: a commit loads it again.
    async fn table(&self, ident: &TableIdent, mut shown: Shown) -> Result<Table> {
        let location = shown.metadata.location().to_owned();
        let mut properties = self.client.properties().await?;
        properties.extend(std::mem::take(&mut shown.config));
        let mut vended = std::mem::take(&mut shown.storage_credentials);
        vended.retain(|vended| location.starts_with(&vended.prefix));
        let narrowest = vended.into_iter().max_by_key(|vended| vended.prefix.len());
        properties.extend(narrowest.map(|vended| vended.config).unwrap_or_default());
        // Not the login: what is printed of a table shows its properties.
        properties.retain(|name, _| name.starts_with("s3.") || name.starts_with("client."));
        let files = files(&location, properties);
        self.build(ident, shown, files)
    }

    fn build(&self, ident: &TableIdent, shown: Shown, files: FileIO) -> Result<Table> {
        let table = Table::builder()
            .file_io(files)
            .identifier(ident.clone())
            .metadata(shown.metadata)
            .runtime(self.runtime.clone());
        match shown.metadata_location {
            Some(location) => table.metadata_location(location).build(),
            None => table.build(),
        }
    }

    async fn get(&self, ident: &TableIdent) -> Result<Answer> {
        self.client.send(Method::GET, &path(ident), None).await
    }

    async fn post(&self, path: &str, body: &serde_json::Value) -> Result<Answer> {
        let body = Some(body.to_string().into_bytes());
        self.client.send(Method::POST, path, body).await
    }
}

/// Returns the file access of a table at `location`.
fn files(location: &str, properties: HashMap<String, String>) -> FileIO {
    if bucket::split(location).is_none() {
        return storage::local_files();
    }
    bucket::files(properties)
}

/// Returns the path of a table. Its names need no encoding.
fn path(ident: &TableIdent) -> String {
    let namespace = ident.namespace().join(".");
    format!("namespaces/{namespace}/tables/{}", ident.name())
}

#[async_trait]
impl LakeCatalog for RestCatalog {
    /// Hands the requirements to the catalog, which checks them in the same step. They pin `main`, so a commit
    /// that was made for another version is refused.
    async fn commit(
        &self,
        ident: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Table> {
        let body = json!({ "identifier": ident, "requirements": requirements, "updates": updates });
        let answer = self.post(&path(ident), &body).await?;
        let what = "commit";
        match answer.status {
            StatusCode::CONFLICT => Err(answer
                .error(ErrorKind::CatalogCommitConflicts, what)
                .with_retryable(true)),
            StatusCode::NOT_FOUND => Err(answer.error(ErrorKind::TableNotFound, what)),
            _ => {
                let shown: Shown = answer.parsed(what)?;
                // The answer has no credentials for the files of the next commit.
                let loaded = self.load_table(ident).await?;
                self.build(ident, shown, loaded.file_io().clone())
            }
        }
    }
}

#[async_trait]
impl Catalog for RestCatalog {
    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        let answer = self.get(ident).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Err(answer.error(ErrorKind::TableNotFound, "load the table"));
        }
        self.table(ident, answer.parsed("load the table")?).await
    }

    async fn table_exists(&self, ident: &TableIdent) -> Result<bool> {
        let answer = self.get(ident).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.parsed::<serde::de::IgnoredAny>("look for the table")?;
        Ok(true)
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        let body = json!({ "namespace": namespace, "properties": properties });
        let answer = self.post("namespaces", &body).await?;
        if answer.status == StatusCode::CONFLICT {
            let kind = ErrorKind::NamespaceAlreadyExists;
            return Err(answer.error(kind, "create the namespace"));
        }
        answer.parsed::<serde::de::IgnoredAny>("create the namespace")?;
        Ok(Namespace::new(namespace.clone()))
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        let ident = TableIdent::new(namespace.clone(), creation.name.clone());
        let mut properties = creation.properties;
        properties.insert("format-version".to_owned(), "2".to_owned());
        let body = json!({
            "name": creation.name,
            "location": creation.location,
            "schema": creation.schema,
            "partition-spec": creation.partition_spec,
            "write-order": creation.sort_order,
            "stage-create": false,
            "properties": properties,
        });
        let tables = format!("namespaces/{}/tables", namespace.join("."));
        let answer = self.post(&tables, &body).await?;
        if answer.status == StatusCode::CONFLICT {
            return Err(answer.error(ErrorKind::TableAlreadyExists, "create the table"));
        }
        self.table(&ident, answer.parsed("create the table")?).await
    }

    async fn update_table(&self, mut commit: TableCommit) -> Result<Table> {
        let (requirements, updates) = (commit.take_requirements(), commit.take_updates());
        self.commit(commit.identifier(), requirements, updates)
            .await
    }

    async fn list_namespaces(
        &self,
        _parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        Err(unsupported("list_namespaces"))
    }

    async fn get_namespace(&self, _namespace: &NamespaceIdent) -> Result<Namespace> {
        Err(unsupported("get_namespace"))
    }

    async fn namespace_exists(&self, _namespace: &NamespaceIdent) -> Result<bool> {
        Err(unsupported("namespace_exists"))
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

    async fn list_tables(&self, _namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        Err(unsupported("list_tables"))
    }

    async fn drop_table(&self, _table: &TableIdent) -> Result<()> {
        Err(unsupported("drop_table"))
    }

    async fn purge_table(&self, _table: &TableIdent) -> Result<()> {
        Err(unsupported("purge_table"))
    }

    async fn rename_table(&self, _from: &TableIdent, _to: &TableIdent) -> Result<()> {
        Err(unsupported("rename_table"))
    }

    async fn register_table(&self, _table: &TableIdent, _location: String) -> Result<Table> {
        Err(unsupported("register_table"))
    }
}
