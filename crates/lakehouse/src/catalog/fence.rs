//! The fence: a commit succeeds only against the table in which the ids of its rows were found absent.
//!
//! `Transaction::commit` of the `iceberg` crate loads the table again before every attempt, the first one
//! included, and rebases. A check of ids made before it would prove nothing. The fence stands between the
//! transaction and the catalog, and refuses to load a table that another append has changed.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::table::Table;
use iceberg::{
    Catalog, Error, ErrorKind, Namespace, NamespaceIdent, Result, TableCommit, TableCreation,
    TableIdent,
};

use crate::protocol::token::Token;

/// Catalog that loads a table only while it has the token under which ids were looked up.
#[derive(Debug)]
pub struct Fence {
    catalog: Arc<dyn Catalog>,
    checked: Token,
}

impl Fence {
    /// Returns a fence before `catalog` for ids that were absent under the token `checked`.
    pub fn new(catalog: Arc<dyn Catalog>, checked: Token) -> Self {
        Self { catalog, checked }
    }
}

#[async_trait]
impl Catalog for Fence {
    /// Loads the table. The transaction pins its commit to the version that is returned here.
    async fn load_table(&self, ident: &TableIdent) -> Result<Table> {
        let table = self.catalog.load_table(ident).await?;
        if Token::of(table.metadata().properties()) == self.checked {
            return Ok(table);
        }
        Err(Error::new(
            ErrorKind::PreconditionFailed,
            "another writer appended to the table",
        ))
    }

    async fn update_table(&self, commit: TableCommit) -> Result<Table> {
        self.catalog.update_table(commit).await
    }

    async fn list_namespaces(
        &self,
        parent: Option<&NamespaceIdent>,
    ) -> Result<Vec<NamespaceIdent>> {
        self.catalog.list_namespaces(parent).await
    }

    async fn create_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<Namespace> {
        self.catalog.create_namespace(namespace, properties).await
    }

    async fn get_namespace(&self, namespace: &NamespaceIdent) -> Result<Namespace> {
        self.catalog.get_namespace(namespace).await
    }

    async fn namespace_exists(&self, namespace: &NamespaceIdent) -> Result<bool> {
        self.catalog.namespace_exists(namespace).await
    }

    async fn update_namespace(
        &self,
        namespace: &NamespaceIdent,
        properties: HashMap<String, String>,
    ) -> Result<()> {
        self.catalog.update_namespace(namespace, properties).await
    }

    async fn drop_namespace(&self, namespace: &NamespaceIdent) -> Result<()> {
        self.catalog.drop_namespace(namespace).await
    }

    async fn list_tables(&self, namespace: &NamespaceIdent) -> Result<Vec<TableIdent>> {
        self.catalog.list_tables(namespace).await
    }

    async fn create_table(
        &self,
        namespace: &NamespaceIdent,
        creation: TableCreation,
    ) -> Result<Table> {
        self.catalog.create_table(namespace, creation).await
    }

    async fn drop_table(&self, table: &TableIdent) -> Result<()> {
        self.catalog.drop_table(table).await
    }

    async fn purge_table(&self, table: &TableIdent) -> Result<()> {
        self.catalog.purge_table(table).await
    }

    async fn table_exists(&self, table: &TableIdent) -> Result<bool> {
        self.catalog.table_exists(table).await
    }

    async fn rename_table(&self, from: &TableIdent, to: &TableIdent) -> Result<()> {
        self.catalog.rename_table(from, to).await
    }

    async fn register_table(&self, table: &TableIdent, metadata_location: String) -> Result<Table> {
        self.catalog.register_table(table, metadata_location).await
    }
}
