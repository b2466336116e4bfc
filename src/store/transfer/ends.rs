//! The two ends of a transfer. Rows go in pages of bounded bytes.

use super::row::CarriedRow;
use super::tables::CarriedTable;
use crate::store::StoreError;

/// Most rows of a page.
const PAGE_ROWS: usize = 500;
/// Bytes at which a page is full. One row may be larger.
const PAGE_BYTES: usize = 2 << 20;

/// The database that rows are read from.
pub(in crate::store) trait TableReader {
    /// Hands out the rows of a table that fit `filter`, one after the other, and ends at the first error.
    fn read(
        &mut self,
        table: &CarriedTable,
        filter: &str,
        each: &mut dyn FnMut(CarriedRow) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;

    /// Returns the highest number that was given to an event.
    fn last_number(&mut self) -> Result<i64, StoreError>;
}

/// The database that rows are written to.
pub(in crate::store) trait TableWriter {
    /// Stores a page of rows. Returns the number of those that were not there.
    fn write(&mut self, table: &CarriedTable, page: &[CarriedRow]) -> Result<u64, StoreError>;

    /// Returns the number of rows of a table.
    fn count(&mut self, table: &CarriedTable) -> Result<u64, StoreError>;

    /// Gives the next event a number above this one.
    fn set_last_number(&mut self, number: i64) -> Result<(), StoreError>;
}

/// Copies the rows of a table that fit `filter`. Returns the number of rows that were stored.
pub(in crate::store) fn carry(
    from: &mut dyn TableReader,
    to: &mut dyn TableWriter,
    table: &CarriedTable,
    filter: &str,
) -> Result<u64, StoreError> {
    let (mut stored, mut page, mut bytes) = (0, Vec::new(), 0);
    from.read(table, filter, &mut |row| {
        bytes += row.bytes();
        page.push(row);
        if page.len() == PAGE_ROWS || bytes >= PAGE_BYTES {
            stored += to.write(table, &page)?;
            page.clear();
            bytes = 0;
        }
        Ok(())
    })?;
    if !page.is_empty() {
        stored += to.write(table, &page)?;
    }
    Ok(stored)
}
