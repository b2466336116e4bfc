//! A lakehouse: a folder with a table, and the catalog that names its current version.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::table::Table;
use iceberg::{ErrorKind, NamespaceIdent, TableIdent};

use crate::catalog::LakeCatalog;
use crate::catalog::database::Database;
use crate::catalog::sql::SqlCatalog;
use crate::error::{LakeError, Result};
use crate::table::replace::Change;
use crate::table::schema;
use crate::{disk, storage};

/// Namespace of the table. Not the catalog's name: Spark would take one for the other.
pub const NAMESPACE: &str = "webhooks";
/// Name of the table.
pub const TABLE: &str = "events";

/// File of the catalog in the lakehouse's folder.
const CATALOG_FILE: &str = "catalog.db";

/// Place of a lakehouse.
#[derive(Clone, Debug)]
pub struct LakePlace {
    /// Folder of the table.
    pub folder: PathBuf,
    /// Database of the catalog.
    pub catalog: CatalogPlace,
}

/// Database of the catalog.
#[derive(Clone)]
pub enum CatalogPlace {
    /// SQLite, in the lakehouse's folder.
    Beside,
    /// PostgreSQL, by its URL.
    Postgres(String),
}

impl std::fmt::Debug for CatalogPlace {
    /// Leaves out the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Beside => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
        })
    }
}

/// An opened lakehouse, whose table exists and has the columns of this release.
#[derive(Clone, Debug)]
pub struct Lake {
    catalog: Arc<dyn LakeCatalog>,
    ident: TableIdent,
}

impl Lake {
    /// Opens the lakehouse at `place`, and creates its table if needed.
    pub async fn open(place: &LakePlace) -> Result<Self> {
        let folder =
            std::path::absolute(&place.folder).map_err(LakeError::away("find the folder"))?;
        disk::create_folder(&folder).map_err(|error| {
            LakeError::Away(format!(
                "cannot create the folder {}: {error}",
                folder.display()
            ))
        })?;
        let database = match &place.catalog {
            CatalogPlace::Beside => Database::sqlite(&folder.join(CATALOG_FILE)),
            CatalogPlace::Postgres(url) => Database::postgres(url),
        };
        let catalog = SqlCatalog::new(database, storage::local_files())
            .map_err(LakeError::away("open the catalog"))?;
        Self::with_catalog(Arc::new(catalog), &folder).await
    }

    /// Opens the table in `catalog`. If it does not exist, it is created in `folder`.
    pub async fn with_catalog(catalog: Arc<dyn LakeCatalog>, folder: &Path) -> Result<Self> {
        let namespace = NamespaceIdent::new(NAMESPACE.to_owned());
        let ident = TableIdent::new(namespace.clone(), TABLE.to_owned());
        let failed = LakeError::away::<iceberg::Error>;
        if !catalog
            .table_exists(&ident)
            .await
            .map_err(failed("look for the table"))?
        {
            match catalog.create_namespace(&namespace, HashMap::new()).await {
                Err(error) if error.kind() != ErrorKind::NamespaceAlreadyExists => {
                    return Err(failed("create the namespace")(error));
                }
                _ => {}
            }
            let location = format!("file://{}/{TABLE}", folder.display());
            let creation = schema::creation(TABLE, location)?;
            match catalog.create_table(&namespace, creation).await {
                Err(error) if error.kind() != ErrorKind::TableAlreadyExists => {
                    return Err(failed("create the table")(error));
                }
                _ => {}
            }
        }
        let lake = Self { catalog, ident };
        schema::upgrade(&*lake.catalog, lake.load().await?).await?;
        Ok(lake)
    }

    /// Returns the current version of the table.
    pub async fn load(&self) -> Result<Table> {
        let loaded = self.catalog.load_table(&self.ident).await;
        loaded.map_err(LakeError::away("load the table"))
    }

    /// Returns the catalog.
    pub fn catalog(&self) -> &Arc<dyn LakeCatalog> {
        &self.catalog
    }

    /// Commits a change that was made for one version of the table. Returns `false` if it is not the current
    /// one any more.
    pub(crate) async fn commit(&self, change: Change) -> Result<bool> {
        match self
            .catalog
            .commit(&self.ident, change.requirements, change.updates)
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::CatalogCommitConflicts => Ok(false),
            Err(error) => Err(LakeError::away("commit to the table")(error)),
        }
    }
}
