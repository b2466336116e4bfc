//! SQLite as an end of a transfer.

use diesel::connection::DefaultLoadingMode;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable, Text};
use diesel::sqlite::Sqlite;

use super::ends::{TableReader, TableWriter};
use super::row::{CarriedRow, Cell};
use super::tables::CarriedTable;
use crate::store::StoreError;

/// Rows of one statement.
const ROWS: usize = 50;

/// The highest number of an event. The sequence is missing in a file that never had one.
const LAST: &str =
    "SELECT max(coalesce((SELECT max(seq) FROM sqlite_sequence WHERE name = 'dedup'), 0),
                coalesce((SELECT max(seq) FROM event), 0)) AS n0";

impl TableReader for SqliteConnection {
    fn read(
        &mut self,
        table: &CarriedTable,
        filter: &str,
        each: &mut dyn FnMut(CarriedRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let statement = table.select(filter, |name, _| name.to_owned());
        let rows = sql_query(statement)
            .load_iter::<CarriedRow, DefaultLoadingMode>(self)
            .map_err(|error| failed(&error))?;
        for row in rows {
            each(row.map_err(|error| failed(&error))?)?;
        }
        Ok(())
    }

    fn last_number(&mut self) -> Result<i64, StoreError> {
        number(self, LAST)
    }
}

impl TableWriter for SqliteConnection {
    fn write(&mut self, table: &CarriedTable, page: &[CarriedRow]) -> Result<u64, StoreError> {
        let mut stored = 0;
        for rows in page.chunks(ROWS) {
            let row = format!("({})", vec!["?"; table.columns.len()].join(", "));
            let values = vec![row.as_str(); rows.len()].join(", ");
            let statement = format!(
                "INSERT INTO \"{}\" ({}) VALUES {values} {}",
                table.name,
                table.names(),
                table.on_conflict()
            );
            let mut insert = sql_query(statement).into_boxed::<Sqlite>();
            for cell in rows.iter().flat_map(|row| &row.0) {
                insert = match cell {
                    Cell::Number(number) => insert.bind::<Nullable<BigInt>, _>(number),
                    Cell::Words(text) => insert.bind::<Nullable<Text>, _>(text),
                    Cell::Octets(bytes) => insert.bind::<Nullable<Binary>, _>(bytes),
                };
            }
            stored += insert.execute(self).map_err(|error| failed(&error))? as u64;
        }
        Ok(stored)
    }

    fn count(&mut self, table: &CarriedTable) -> Result<u64, StoreError> {
        number(self, &table.count()).map(i64::unsigned_abs)
    }

    fn set_last_number(&mut self, last: i64) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM sqlite_sequence WHERE name = 'dedup'",
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('dedup', ?1)",
        ] {
            let mut set = sql_query(statement).into_boxed::<Sqlite>();
            if statement.contains("?1") {
                set = set.bind::<BigInt, _>(last);
            }
            set.execute(self).map_err(|error| failed(&error))?;
        }
        Ok(())
    }
}

/// Returns the number that a statement returns.
pub(in crate::store) fn number(
    connection: &mut SqliteConnection,
    statement: &str,
) -> Result<i64, StoreError> {
    let row: CarriedRow = sql_query(statement)
        .get_result(connection)
        .map_err(|error| failed(&error))?;
    Ok(row.number(0))
}

/// Returns the error of a call that did nothing.
pub(in crate::store) fn failed(error: &diesel::result::Error) -> StoreError {
    StoreError::Unavailable(format!("SQLite: {error}"))
}
