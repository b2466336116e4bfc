//! Rows of the Iceberg JDBC catalog, in SQLite or PostgreSQL.
//!
//! The layout is that of Iceberg's `JdbcCatalog` (schema version 1) and of pyiceberg's `SqlCatalog`. Both open
//! the catalog as it is, under the name [`super::sql::CATALOG`].

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::result::{DatabaseErrorKind, Error as DieselError};

use self::generated::{AnyConnection, iceberg_namespace_properties, iceberg_tables};
use super::sql::CATALOG;

/// Statements that prepare a database.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name)
);
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000),
    PRIMARY KEY (catalog_name, namespace, property_key)
);";

/// Settings of SQLite: a commit is on disk, its folder included, and another process is waited for.
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 10000; PRAGMA synchronous = EXTRA;";

/// Settings of PostgreSQL: a commit is on disk when it is answered, and a hung server ends in an error.
const POSTGRES_SETTINGS: &str =
    "SET synchronous_commit = on; SET statement_timeout = '10s'; SET lock_timeout = '10s';";

/// Database with the rows of the catalog. Blocking.
#[derive(Clone)]
pub struct Database {
    place: Arc<Place>,
    connection: Arc<Mutex<Option<Opened>>>,
}

/// A connection, and the file that it has open.
struct Opened {
    connection: AnyConnection,
    file: Option<FileId>,
}

/// Device and number of a file.
type FileId = (u64, u64);

enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

/// Outcome of an insert.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowInserted {
    /// The row is new.
    Done,
    /// A row with its key exists.
    Existed,
}

impl Database {
    /// Returns the SQLite database at `path`. Nothing is opened yet.
    pub fn sqlite(path: &Path) -> Self {
        Self::new(Place::Sqlite(path.to_owned()))
    }

    /// Returns the PostgreSQL database at `url`. Nothing is opened yet.
    pub fn postgres(url: &str) -> Self {
        Self::new(Place::Postgres(url.to_owned()))
    }

    fn new(place: Place) -> Self {
        Self {
            place: Arc::new(place),
            connection: Arc::default(),
        }
    }

    /// Returns the metadata location of a table, or None if the table does not exist.
    pub fn location(&self, namespace: &str, name: &str) -> Result<Option<String>, DieselError> {
        use iceberg_tables::dsl;
        self.with(|connection| {
            dsl::iceberg_tables
                .filter(dsl::catalog_name.eq(CATALOG))
                .filter(dsl::table_namespace.eq(namespace))
                .filter(dsl::table_name.eq(name))
                .select(dsl::metadata_location)
                .first::<Option<String>>(connection)
                .optional()
                .map(Option::flatten)
        })
    }

    /// Makes `new` the metadata location of a table if it is `old`. Returns `false` if it is another one.
    pub fn swap(
        &self,
        namespace: &str,
        name: &str,
        old: &str,
        new: &str,
    ) -> Result<bool, DieselError> {
        use iceberg_tables::dsl;
        let changed = self.with(|connection| {
            diesel::update(
                dsl::iceberg_tables
                    .filter(dsl::catalog_name.eq(CATALOG))
                    .filter(dsl::table_namespace.eq(namespace))
                    .filter(dsl::table_name.eq(name))
                    .filter(dsl::metadata_location.eq(old)),
            )
            .set((
                dsl::metadata_location.eq(new),
                dsl::previous_metadata_location.eq(old),
            ))
            .execute(connection)
        })?;
        Ok(changed == 1)
    }

    /// Inserts a table.
    pub fn insert_table(
        &self,
        namespace: &str,
        name: &str,
        location: &str,
    ) -> Result<RowInserted, DieselError> {
        use iceberg_tables::dsl;
        self.insert(|connection| {
            diesel::insert_into(dsl::iceberg_tables)
                .values((
                    dsl::catalog_name.eq(CATALOG),
                    dsl::table_namespace.eq(namespace),
                    dsl::table_name.eq(name),
                    dsl::metadata_location.eq(location),
                    dsl::iceberg_type.eq("TABLE"),
                ))
                .execute(connection)
        })
    }

    /// Removes a table. Its files stay. Returns `false` if there was none.
    pub fn remove_table(&self, namespace: &str, name: &str) -> Result<bool, DieselError> {
        use iceberg_tables::dsl;
        let removed = self.with(|connection| {
            diesel::delete(
                dsl::iceberg_tables
                    .filter(dsl::catalog_name.eq(CATALOG))
                    .filter(dsl::table_namespace.eq(namespace))
                    .filter(dsl::table_name.eq(name)),
            )
            .execute(connection)
        })?;
        Ok(removed == 1)
    }

    /// Returns the tables of a namespace.
    pub fn tables(&self, namespace: &str) -> Result<Vec<String>, DieselError> {
        use iceberg_tables::dsl;
        self.with(|connection| {
            dsl::iceberg_tables
                .filter(dsl::catalog_name.eq(CATALOG))
                .filter(dsl::table_namespace.eq(namespace))
                .select(dsl::table_name)
                .order(dsl::table_name)
                .load(connection)
        })
    }

    /// Inserts a namespace. As in the JDBC catalog, a namespace exists by its property `exists`.
    pub fn insert_namespace(&self, namespace: &str) -> Result<RowInserted, DieselError> {
        use iceberg_namespace_properties::dsl;
        self.insert(|connection| {
            diesel::insert_into(dsl::iceberg_namespace_properties)
                .values((
                    dsl::catalog_name.eq(CATALOG),
                    dsl::namespace.eq(namespace),
                    dsl::property_key.eq("exists"),
                    dsl::property_value.eq("true"),
                ))
                .execute(connection)
        })
    }

    /// Returns the namespaces.
    pub fn namespaces(&self) -> Result<Vec<String>, DieselError> {
        use iceberg_namespace_properties::dsl;
        self.with(|connection| {
            dsl::iceberg_namespace_properties
                .filter(dsl::catalog_name.eq(CATALOG))
                .select(dsl::namespace)
                .distinct()
                .order(dsl::namespace)
                .load(connection)
        })
    }

    fn insert(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<usize, DieselError>,
    ) -> Result<RowInserted, DieselError> {
        match self.with(work) {
            Ok(_) => Ok(RowInserted::Done),
            Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                Ok(RowInserted::Existed)
            }
            Err(error) => Err(error),
        }
    }

    /// Runs `work` on the connection. After an error the connection is closed, since a transaction of it may
    /// be in any state.
    fn with<T>(
        &self,
        work: impl FnOnce(&mut AnyConnection) -> Result<T, DieselError>,
    ) -> Result<T, DieselError> {
        let mut slot = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut opened = match slot.take() {
            Some(opened) if opened.file == self.place.file() => opened,
            // SQLite goes on with a file that was deleted, and its commits are gone with the process.
            Some(_) => return Err(unusable("it was deleted, moved or replaced while in use")),
            None => {
                let connection = self.place.connect()?;
                let file = self.place.file();
                Opened { connection, file }
            }
        };
        let done = work(&mut opened.connection)?;
        if opened.file != self.place.file() {
            return Err(unusable("it was deleted, moved or replaced while in use"));
        }
        *slot = Some(opened);
        Ok(done)
    }
}

/// Returns the error of a database that cannot be used, for this reason.
fn unusable(reason: &str) -> DieselError {
    let reason = Box::new(reason.to_owned())
        as Box<dyn diesel::result::DatabaseErrorInformation + Send + Sync>;
    DieselError::DatabaseError(DatabaseErrorKind::UnableToSendCommand, reason)
}

impl Place {
    /// Returns the file that is there now. None for a server.
    fn file(&self) -> Option<FileId> {
        match self {
            Self::Sqlite(path) => {
                let file = std::fs::metadata(path).ok()?;
                Some((file.dev(), file.ino()))
            }
            Self::Postgres(_) => None,
        }
    }

    fn connect(&self) -> Result<AnyConnection, DieselError> {
        let failed = |error: ConnectionError| {
            // Without the address, which may hold a password.
            let text = match error {
                ConnectionError::BadConnection(text) => text,
                error => error.to_string(),
            };
            unusable(&text)
        };
        match self {
            Self::Sqlite(path) => {
                let mut connection =
                    SqliteConnection::establish(&path.to_string_lossy()).map_err(failed)?;
                connection.batch_execute(SQLITE_SETTINGS)?;
                connection.batch_execute(TABLES)?;
                Ok(AnyConnection::Sqlite(connection))
            }
            Self::Postgres(url) => {
                let mut connection = PgConnection::establish(url).map_err(failed)?;
                connection.batch_execute(POSTGRES_SETTINGS)?;
                // Two processes that create a table at once: one of them gets a unique violation.
                match connection.batch_execute(TABLES) {
                    Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)) => {
                        connection.batch_execute(TABLES)?;
                    }
                    done => done?,
                }
                Ok(AnyConnection::Postgres(connection))
            }
        }
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &*self.place {
            Place::Sqlite(_) => "Database(SQLite)",
            Place::Postgres(_) => "Database(PostgreSQL)",
        })
    }
}

mod generated {
    use diesel::{PgConnection, SqliteConnection};

    diesel::table! {
        iceberg_tables (catalog_name, table_namespace, table_name) {
            catalog_name -> Text,
            table_namespace -> Text,
            table_name -> Text,
            metadata_location -> Nullable<Text>,
            previous_metadata_location -> Nullable<Text>,
            iceberg_type -> Nullable<Text>,
        }
    }

    diesel::table! {
        iceberg_namespace_properties (catalog_name, namespace, property_key) {
            catalog_name -> Text,
            namespace -> Text,
            property_key -> Text,
            property_value -> Nullable<Text>,
        }
    }

    #[derive(diesel::MultiConnection)]
    pub(super) enum AnyConnection {
        Sqlite(SqliteConnection),
        Postgres(PgConnection),
    }
}
