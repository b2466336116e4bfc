//! Migrations of the schema.

use diesel::connection::SimpleConnection;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;
use diesel::sql_types::Text;

use super::connection::unavailable;
use super::{Exists, PostgresStore};
use crate::store::{StoreError, migrations};

/// Time that an instance waits for another that is migrating the same schema.
const MIGRATION_WAIT: &str = "60s";

impl PostgresStore {
    /// Applies the missing migrations. Of instances that do this at the same time, one works and
    /// the others find it done.
    pub(in crate::store) fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let mut connection = self.connect()?;
        let pending = self.pending_in(&mut connection)?;
        if pending.is_empty() {
            return Ok(Vec::new());
        }
        // Lock and settings end with the transaction, which holds all of it: behind a pooler another client has the session next.
        connection
            .build_transaction()
            .read_committed()
            .run(|connection| {
                self.session.begin_migration(connection, MIGRATION_WAIT)?;
                self.create_schema(connection)?;
                migrations::run(connection, migrations::POSTGRES).map_err(Failed::Store)
            })
            .map_err(|failed| match failed {
                Failed::Query(error) => unavailable(&error),
                Failed::Store(error) => error,
            })
            // A right that is missing says more than the statement that needed it.
            .map_err(|error| self.lacking_for(&mut connection, &pending).unwrap_or(error))
    }

    /// Returns the names of the missing migrations, in a database that is fit for use.
    pub(super) fn pending_in(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<String>, StoreError> {
        migrations::pending::<Pg>(migrations::POSTGRES, &self.applied_migrations(connection)?)
    }

    /// Asks first, because `IF NOT EXISTS` needs the right to create schemas even where there is nothing to do.
    fn create_schema(&self, connection: &mut PgConnection) -> QueryResult<()> {
        let exists =
            sql_query("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1) AS exists")
                .bind::<Text, _>(&self.session.schema);
        if exists.get_result::<Exists>(connection)?.exists {
            return Ok(());
        }
        connection.batch_execute(&format!(
            "CREATE SCHEMA \"{}\"",
            self.session.schema.replace('"', "\"\"")
        ))
    }

    /// Returns the versions of the applied migrations; none without a schema.
    pub(super) fn applied_migrations(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<String>, StoreError> {
        #[derive(QueryableByName)]
        struct Version {
            #[diesel(sql_type = Text)]
            version: String,
        }
        let read = self.session.run(connection, |connection| {
            let exists =
                sql_query("SELECT to_regclass('__diesel_schema_migrations') IS NOT NULL AS exists");
            if !exists.get_result::<Exists>(connection)?.exists {
                return Ok(Vec::new());
            }
            sql_query("SELECT version FROM __diesel_schema_migrations").load::<Version>(connection)
        });
        Ok(read
            .map_err(|error| unavailable(&error))?
            .into_iter()
            .map(|row| row.version)
            .collect())
    }
}

/// Error that rolls a migration's transaction back.
enum Failed {
    Query(Error),
    Store(StoreError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Query(error)
    }
}
