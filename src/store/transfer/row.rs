//! A row on its way, read from and written to either database.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::row::{Field as _, NamedRow, Row};
use diesel::sql_types::{BigInt, Binary, Nullable, Text};

/// A value of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) enum Cell {
    /// A number, or a time as milliseconds.
    Number(Option<i64>),
    /// Text.
    Words(Option<String>),
    /// Bytes.
    Octets(Option<Vec<u8>>),
}

/// A row, with its values in the order of the table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct CarriedRow(pub(in crate::store) Vec<Cell>);

impl<DB> QueryableByName<DB> for CarriedRow
where
    DB: Backend,
    i64: FromSql<BigInt, DB>,
    String: FromSql<Text, DB>,
    Vec<u8>: FromSql<Binary, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let mut cells = Vec::with_capacity(row.field_count());
        for at in 0..row.field_count() {
            let field = Row::get(row, at);
            let kind = field
                .as_ref()
                .and_then(|field| field.field_name()?.chars().next());
            drop(field);
            cells.push(match kind {
                Some('n') => Cell::Number(row.get_value::<Nullable<BigInt>, _, _>(at)?),
                Some('t') => Cell::Words(row.get_value::<Nullable<Text>, _, _>(at)?),
                _ => Cell::Octets(row.get_value::<Nullable<Binary>, _, _>(at)?),
            });
        }
        Ok(Self(cells))
    }
}

impl CarriedRow {
    /// Returns the number of bytes that the row takes, about.
    pub(in crate::store) fn bytes(&self) -> usize {
        let of = |cell: &Cell| match cell {
            Cell::Number(_) => 8,
            Cell::Words(text) => text.as_ref().map_or(0, String::len) + 24,
            Cell::Octets(bytes) => bytes.as_ref().map_or(0, Vec::len) + 24,
        };
        self.0.iter().map(of).sum()
    }

    /// Returns the number in a column; 0 if there is none.
    pub(in crate::store) fn number(&self, at: usize) -> i64 {
        match self.0.get(at) {
            Some(Cell::Number(Some(number))) => *number,
            _ => 0,
        }
    }
}
