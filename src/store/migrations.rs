//! Migrations that a database still needs. They are compiled in.
//!
//! A later release may have added migrations, and the one before goes on beside it and after it: a migration
//! only adds: tables, columns that are nullable or have a default, indexes, triggers. One that takes something away
//! inserts a further row into `__diesel_schema_migrations`, whose version does not consist of digits. Releases that
//! do not know the row refuse the database.

use diesel::backend::Backend;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::StoreError;

pub(super) const POSTGRES: EmbeddedMigrations = embed_migrations!("migrations/postgres");
pub(super) const SQLITE: EmbeddedMigrations = embed_migrations!("migrations/sqlite");

/// Fails if a migration is missing that this binary knows.
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

/// Fails if `applied` has a migration of a later release. A copy of all tables would leave out what that has
/// added.
pub(super) fn refuse_later<DB: Backend>(
    known: EmbeddedMigrations,
    applied: &[String],
) -> Result<(), StoreError> {
    let known = versions::<DB>(&known)?;
    match applied.iter().find(|version| !known.contains(version)) {
        Some(later) => Err(too_new(later)),
        None => Ok(()),
    }
}

fn too_new(version: &str) -> StoreError {
    StoreError::Unfit(format!(
        "the database's schema is newer than this release of hookweir (it has migration {version}): use the newer release"
    ))
}

/// Returns the versions of the known migrations.
fn versions<DB: Backend>(known: &EmbeddedMigrations) -> Result<Vec<String>, StoreError> {
    let known = MigrationSource::<DB>::migrations(known)
        .map_err(|error| StoreError::Unfit(format!("migrations: {error}")))?;
    let known = known.iter().map(|migration| migration.name().version());
    Ok(known.map(|version| version.to_string()).collect())
}

/// Returns `true` for a migration of a later release that leaves this one able to work.
fn only_adds(version: &str, known: &[String]) -> bool {
    let is_number = version.bytes().all(|byte| byte.is_ascii_digit());
    is_number && known.iter().all(|known| version > known.as_str())
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
    let names = versions::<DB>(&known)?;
    let mut known = MigrationSource::<DB>::migrations(&known)
        .map_err(|error| StoreError::Unfit(format!("migrations: {error}")))?;
    let is = |migration: &dyn Migration<DB>, version: &str| {
        migration.name().version().to_string() == version
    };
    let unknown = |version: &&String| !names.contains(version) && !only_adds(version, &names);
    if let Some(newer) = applied.iter().find(unknown) {
        return Err(too_new(newer));
    }
    known.retain(|migration| !applied.iter().any(|version| is(&**migration, version)));
    known.sort_by_key(|migration| migration.name().version().to_string());
    Ok(known)
}

#[cfg(test)]
mod tests {
    use diesel::sqlite::Sqlite;

    use super::*;

    fn with(more: &str) -> Vec<String> {
        let mut applied = versions::<Sqlite>(&SQLITE).expect("known ones");
        applied.extend((!more.is_empty()).then(|| more.to_owned()));
        applied
    }

    #[test]
    fn what_a_later_release_has_added_is_no_obstacle_and_what_it_has_taken_away_is() {
        let check = |more: &str| check::<Sqlite>(SQLITE, &with(more));
        let refuse = |more: &str| refuse_later::<Sqlite>(SQLITE, &with(more));
        assert_eq!((check(""), refuse("")), (Ok(()), Ok(())));
        assert_eq!(check("20991231000001"), Ok(()));
        assert!(refuse("20991231000001").is_err());
        // A mark, and a migration from between the known ones.
        for foreign in ["20991231000001drop", "20261123000002"] {
            assert!(check(foreign).is_err() && refuse(foreign).is_err());
        }
    }
}
