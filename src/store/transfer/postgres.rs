//! PostgreSQL as an end of a transfer. Rows are read one by one, so that no table is held in memory.

use diesel::pg::{Pg, PgRowByRowLoadingMode};
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text};

use super::ends::{TableReader, TableWriter};
use super::row::{CarriedRow, Cell};
use super::tables::{CarriedTable, CellKind};
use crate::store::StoreError;

/// The highest number of an event. A login that may not look at the sequence reads it from the rows.
const LAST: &str = "
    SELECT greatest(
        (SELECT last_value FROM pg_sequences WHERE schemaname = current_schema() AND sequencename = 'event_seq'),
        (SELECT max(seq) FROM event), (SELECT max(seq) FROM dedup), 0) AS n0";

impl TableReader for PgConnection {
    fn read(
        &mut self,
        table: &CarriedTable,
        filter: &str,
        each: &mut dyn FnMut(CarriedRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let statement = table.select(filter, |name, kind| match kind {
            CellKind::Number => format!("{name}::bigint"),
            CellKind::Time => format!("floor(extract(epoch FROM {name}) * 1000)::bigint"),
            CellKind::Truth => format!("{name}::integer::bigint"),
            CellKind::Words | CellKind::Octets => name.to_owned(),
        });
        let rows = sql_query(statement)
            .load_iter::<CarriedRow, PgRowByRowLoadingMode>(self)
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

impl TableWriter for PgConnection {
    fn write(&mut self, table: &CarriedTable, page: &[CarriedRow]) -> Result<u64, StoreError> {
        let mut insert = sql_query(insert(table)).into_boxed::<Pg>();
        for (at, (_, kind)) in table.columns.iter().enumerate() {
            let cells = page.iter().map(|row| row.0.get(at));
            insert = match kind {
                CellKind::Number | CellKind::Time | CellKind::Truth => {
                    let numbers = cells.map(|cell| match cell {
                        Some(Cell::Number(number)) => *number,
                        _ => None,
                    });
                    insert.bind::<Array<Nullable<BigInt>>, _>(numbers.collect::<Vec<_>>())
                }
                CellKind::Words => {
                    let texts = cells.map(|cell| match cell {
                        // PostgreSQL has no text with a zero character.
                        Some(Cell::Words(Some(text))) => Some(text.replace('\0', "\u{fffd}")),
                        _ => None,
                    });
                    insert.bind::<Array<Nullable<Text>>, _>(texts.collect::<Vec<_>>())
                }
                CellKind::Octets => {
                    let octets = cells.map(|cell| match cell {
                        Some(Cell::Octets(Some(octets))) => Some(octets.as_slice()),
                        _ => None,
                    });
                    insert.bind::<Array<Nullable<Binary>>, _>(octets.collect::<Vec<_>>())
                }
            };
        }
        let stored = insert.execute(self).map_err(|error| failed(&error))?;
        Ok(stored as u64)
    }

    fn count(&mut self, table: &CarriedTable) -> Result<u64, StoreError> {
        number(self, &table.count()).map(i64::unsigned_abs)
    }

    fn set_last_number(&mut self, last: i64) -> Result<(), StoreError> {
        if last < 1 {
            return Ok(());
        }
        sql_query("SELECT setval('event_seq', $1)")
            .bind::<BigInt, _>(last)
            .execute(self)
            .map(drop)
            .map_err(|error| failed(&error))
    }
}

/// Returns the statement that stores a page, a parameter for each column.
fn insert(table: &CarriedTable) -> String {
    let (mut values, mut arrays) = (Vec::new(), Vec::new());
    for (at, (name, kind)) in table.columns.iter().enumerate() {
        values.push(match kind {
            CellKind::Time => {
                format!("timestamptz 'epoch' + \"{name}\" * interval '1 millisecond'")
            }
            CellKind::Truth => format!("\"{name}\" <> 0"),
            _ => format!("\"{name}\""),
        });
        let of = match kind {
            CellKind::Number | CellKind::Time | CellKind::Truth => "bigint",
            CellKind::Words => "text",
            CellKind::Octets => "bytea",
        };
        arrays.push(format!("${}::{of}[]", at + 1));
    }
    let names = table.names();
    format!(
        "INSERT INTO \"{}\" ({names}) SELECT {} FROM unnest({}) AS row ({names}) {}",
        table.name,
        values.join(", "),
        arrays.join(", "),
        table.on_conflict()
    )
}

/// Returns the number that a statement returns.
pub(in crate::store) fn number(
    connection: &mut PgConnection,
    statement: &str,
) -> Result<i64, StoreError> {
    let row: CarriedRow = sql_query(statement)
        .get_result(connection)
        .map_err(|error| failed(&error))?;
    Ok(row.number(0))
}

/// Returns the error of a call that did nothing.
pub(in crate::store) fn failed(error: &diesel::result::Error) -> StoreError {
    StoreError::Unavailable(format!("PostgreSQL: {}", error.to_string().trim_end()))
}
