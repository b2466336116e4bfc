//! Migrations that a database still needs. They are compiled in.

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::StoreError;

pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Fails unless `applied` are exactly the migrations that this binary knows.
pub(super) fn check<DB: Backend>(
    known: EmbeddedMigrations,
    applied: &[String],
) -> Result<(), StoreError> {
    let missing = pending::<DB>(known, applied)?;
    if missing.is_empty() {
        return Ok(());
    }
    Err(StoreError::Unfit(format!(
        "the database's schema is not up to date (missing: {}): run `hookweir migrate`, or set store.migrate = \"auto\"",
        missing.join(", ")
    )))
}

/// Returns the error for missing migrations that an operator has to apply.
pub(super) fn to_be_applied(pending: &[String]) -> StoreError {
    StoreError::Unfit(format!(
        "reached, but the migrations {} are missing: run `hookweir migrate`",
        pending.join(", ")
    ))
}

/// Returns the names of the missing migrations.
pub(super) fn pending<DB: Backend>(
    known: EmbeddedMigrations,
    applied: &[String],
) -> Result<Vec<String>, StoreError> {
    Ok(missing::<DB>(known, applied)?
        .iter()
        .map(|migration| migration.name().to_string())
        .collect())
}

/// Applies what is missing, and returns its names. The caller holds a lock against others who do the same.
pub(super) fn run<DB: Backend>(
    connection: &mut impl MigrationHarness<DB>,
    known: EmbeddedMigrations,
) -> Result<Vec<String>, StoreError> {
    let failed =
        |error| StoreError::Unavailable(format!("a migration failed, and was undone: {error}"));
    let applied: Vec<String> = connection
        .applied_migrations()
        .map_err(failed)?
        .iter()
        .map(ToString::to_string)
        .collect();
    let missing = missing(known, &applied)?;
    for migration in &missing {
        connection.run_migration(migration).map_err(failed)?;
    }
    Ok(missing
        .iter()
        .map(|migration| migration.name().to_string())
        .collect())
}

/// Returns the missing migrations, in the order in which they are applied.
fn missing<DB: Backend>(
    known: EmbeddedMigrations,
    applied: &[String],
) -> Result<Vec<Box<dyn Migration<DB>>>, StoreError> {
    let mut known = MigrationSource::<DB>::migrations(&known)
        .map_err(|error| StoreError::Unfit(format!("migrations: {error}")))?;
    let is = |migration: &dyn Migration<DB>, version: &str| {
        migration.name().version().to_string() == version
    };
    if let Some(newer) = applied
        .iter()
        .find(|version| !known.iter().any(|migration| is(&**migration, version)))
    {
        return Err(StoreError::Unfit(format!(
            "the database's schema is newer than this release of hookweir (it has migration {newer}): use the newer release"
        )));
    }
    known.retain(|migration| !applied.iter().any(|version| is(&**migration, version)));
    known.sort_by_key(|migration| migration.name().version().to_string());
    Ok(known)
}
