//! A lakehouse: a folder with a table, and the catalog that names its current version.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use iceberg::table::Table;
use iceberg::{ErrorKind, NamespaceIdent, TableIdent};

use crate::bucket;
use crate::catalog::LakeCatalog;
use crate::catalog::database::Database;
use crate::catalog::rest::{RestCatalog, RestPlace};
use crate::catalog::sql::SqlCatalog;
use crate::error::{LakeError, Result};
use crate::listing::{Listing, key};
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
    /// Folder of the table, and of a catalog in SQLite.
    pub folder: PathBuf,
    /// Bucket of the table, in place of the folder.
    pub bucket: Option<BucketPlace>,
    /// Catalog of the table.
    pub catalog: CatalogPlace,
}

/// Place of the table in an S3-compatible store.
#[derive(Clone, PartialEq, Eq)]
pub struct BucketPlace {
    /// `s3://BUCKET/PREFIX`, without a slash at the end.
    pub url: String,
    /// Properties by Iceberg's names: `s3.endpoint`, `s3.access-key-id`.
    pub properties: HashMap<String, String>,
}

impl std::fmt::Debug for BucketPlace {
    /// Leaves out the properties, which hold keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BucketPlace({})", self.url)
    }
}

/// Catalog of the table.
#[derive(Clone)]
pub enum CatalogPlace {
    /// SQLite, in the lakehouse's folder.
    Beside,
    /// PostgreSQL, by its URL.
    Postgres(String),
    /// REST catalog.
    Rest(RestPlace),
}

impl std::fmt::Debug for CatalogPlace {
    /// Leaves out the URL, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Beside => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
            Self::Rest(_) => "REST",
        })
    }
}

impl LakePlace {
    fn absolute(&self) -> Result<PathBuf> {
        std::path::absolute(&self.folder).map_err(LakeError::away("find the folder"))
    }

    /// Returns the catalog. `folder` is the absolute one.
    fn catalog(&self, folder: &Path) -> Result<Arc<dyn LakeCatalog>> {
        let failed = LakeError::away::<iceberg::Error>;
        let database = match &self.catalog {
            CatalogPlace::Beside => Database::sqlite(&folder.join(CATALOG_FILE)),
            CatalogPlace::Postgres(url) => Database::postgres(url),
            CatalogPlace::Rest(place) => {
                let catalog = RestCatalog::new(place.clone());
                return Ok(Arc::new(catalog.map_err(failed("open the catalog"))?));
            }
        };
        let files = match &self.bucket {
            Some(bucket) => bucket::files(bucket.properties.clone()),
            None => storage::local_files(),
        };
        let catalog = SqlCatalog::new(database, files);
        Ok(Arc::new(catalog.map_err(failed("open the catalog"))?))
    }

    /// Returns `true` if the lakehouse's folder is used.
    fn has_folder(&self) -> bool {
        self.bucket.is_none() || matches!(self.catalog, CatalogPlace::Beside)
    }

    /// Fails if the lakehouse is on a disk with less than `floor` bytes of free space.
    pub(crate) fn check_room(&self, floor: u64) -> Result<()> {
        match self.has_folder() {
            true => disk::check_room(&self.folder, floor, 0),
            false => Ok(()),
        }
    }

    /// Fails if the catalog has no table, and another one's files are at `location`: upkeep would delete them.
    async fn check_unused(&self, catalog: &dyn LakeCatalog, location: &str) -> Result<()> {
        let failed = LakeError::away::<iceberg::Error>("look for the table");
        if catalog.table_exists(&ident()).await.map_err(failed)? {
            return Ok(());
        }
        let properties = self.bucket.as_ref().map(|bucket| bucket.properties.clone());
        let there = Listing::at(location, properties.unwrap_or_default())
            .has_table()
            .await;
        let has_table = match (there, &self.catalog) {
            // Its credentials come with the table.
            (Err(_), CatalogPlace::Rest(_)) => false,
            (there, _) => there?,
        };
        // Another process may have made it meanwhile.
        let failed = LakeError::away::<iceberg::Error>("look for the table");
        if !has_table || catalog.table_exists(&ident()).await.map_err(failed)? {
            return Ok(());
        }
        Err(LakeError::Table(format!(
            "{location} has files of a table that the catalog does not know. Nothing is written: a new table there \
             would delete them. Bring the catalog back, or take another lakehouse.url"
        )))
    }

    /// Returns the location of the table.
    fn location(&self, folder: &Path) -> String {
        match &self.bucket {
            Some(bucket) => format!("{}/{TABLE}", bucket.url),
            None => format!("file://{}/{TABLE}", folder.display()),
        }
    }
}

/// Returns the name of the table.
fn ident() -> TableIdent {
    TableIdent::new(NamespaceIdent::new(NAMESPACE.to_owned()), TABLE.to_owned())
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
        let folder = place.absolute()?;
        if place.has_folder() {
            create_folder(&folder)?;
        }
        let catalog = place.catalog(&folder)?;
        let location = place.location(&folder);
        check_location(&*catalog, &location).await?;
        place.check_unused(&*catalog, &location).await?;
        Self::with_catalog(catalog, location).await
    }

    /// Opens the lakehouse at `place` as it is. Returns None if it has no table.
    pub async fn find(place: &LakePlace) -> Result<Option<Self>> {
        let folder = place.absolute()?;
        let beside = matches!(place.catalog, CatalogPlace::Beside);
        // SQLite would create the file.
        let exists = folder.join(CATALOG_FILE).try_exists();
        if beside && !exists.map_err(LakeError::away("look for the catalog"))? {
            return Ok(None);
        }
        let (catalog, ident) = (place.catalog(&folder)?, ident());
        let exists = catalog.table_exists(&ident).await;
        if !exists.map_err(LakeError::away("look for the table"))? {
            return Ok(None);
        }
        check_location(&*catalog, &place.location(&folder)).await?;
        Ok(Some(Self { catalog, ident }))
    }

    /// Opens the table in `catalog`. If it does not exist, it is created at `location`.
    pub async fn with_catalog(catalog: Arc<dyn LakeCatalog>, location: String) -> Result<Self> {
        let ident = ident();
        let namespace = ident.namespace().clone();
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

/// Fails if the catalog names a table at another place than `location`. Files are named by absolute paths: in a copy,
/// they are those of the original, and upkeep would delete them.
async fn check_location(catalog: &dyn LakeCatalog, location: &str) -> Result<()> {
    let metadata = catalog.metadata_location(&ident()).await;
    let Some(metadata) = metadata.map_err(LakeError::away("look for the table"))? else {
        return Ok(());
    };
    let (named, here) = (key(&metadata), key(location));
    let mut above = named.rsplitn(3, '/').skip(2);
    let named = above.next().unwrap_or(&named);
    let is_bucket = bucket::split(location).is_some() || bucket::split(&metadata).is_some();
    if named == here || !is_bucket && same_place(Path::new(named), Path::new(&here)) {
        return Ok(());
    }
    Err(LakeError::Table(if is_bucket {
        format!(
            "the catalog names the table in {named}, the configuration in {here}. Nothing is written. Correct lakehouse.url"
        )
    } else {
        let folder = here.strip_suffix(&format!("/{TABLE}")).unwrap_or(&here);
        format!(
            "the catalog of {folder} names the table in {named}: the folder was copied or moved, and files of a table have absolute paths. Nothing is written. \
             Move it back; or stop the service, remove the folder, and start: the table is built again from the event files that are there"
        )
    }))
}

/// Returns `true` if both paths name one folder, perhaps by links.
fn same_place(a: &Path, b: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(a) == real(b)
}

fn create_folder(folder: &Path) -> Result<()> {
    disk::create_folder(folder).map_err(|error| {
        LakeError::Away(format!(
            "cannot create the folder {}: {error}",
            folder.display()
        ))
    })?;
    if folder.is_dir() {
        return Ok(());
    }
    Err(LakeError::Away(format!(
        "{} is a file, and the lakehouse needs a folder there: remove it",
        folder.display()
    )))
}
