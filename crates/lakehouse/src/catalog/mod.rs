//! The catalog: which version of a table is the current one.

pub mod database;
pub mod fence;
pub mod rest;
pub mod sql;

use async_trait::async_trait;
use iceberg::table::Table;
use iceberg::{Catalog, Error, ErrorKind, Result, TableIdent, TableRequirement, TableUpdate};

/// Catalog that takes commits which the `iceberg` crate has no transaction for.
#[async_trait]
pub trait LakeCatalog: Catalog {
    /// Applies `updates` to the table if it meets `requirements`, in one step.
    ///
    /// An error of the kind `CatalogCommitConflicts` says that nothing changed. After any other error the
    /// commit may have taken place, or may still do so.
    async fn commit(
        &self,
        ident: &TableIdent,
        requirements: Vec<TableRequirement>,
        updates: Vec<TableUpdate>,
    ) -> Result<Table>;

    /// Returns the location of the table's current metadata, which is not opened. None if there is no table, or if
    /// the catalog has no files of its own to be moved.
    async fn metadata_location(&self, _ident: &TableIdent) -> Result<Option<String>> {
        Ok(None)
    }
}

/// Returns the error of a request that the lakehouse never makes.
fn unsupported(what: &str) -> Error {
    Error::new(
        ErrorKind::FeatureUnsupported,
        format!("the lakehouse needs no {what} of a catalog"),
    )
}
