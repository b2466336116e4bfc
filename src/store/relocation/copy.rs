//! The last copy of a move, while its source is closed.

use std::collections::BTreeSet;

use super::end::StoreEnd;
use crate::store::StoreError;
use crate::store::transfer::{CARRIED, CarriedTable, CellKind, TableReader, carry};

/// Numbers of events that are compared at once.
const PAGE: i64 = 5000;
/// The highest number of an event.
const LAST: &str = "SELECT coalesce(max(seq), 0) AS n0 FROM event";

/// Numbers of events alone.
const NUMBERS: CarriedTable = CarriedTable {
    name: "event",
    rows: "numbers",
    columns: &[("seq", CellKind::Number)],
};

/// Returns the table of events.
pub(super) fn events() -> Result<&'static CarriedTable, StoreError> {
    let found = CARRIED.iter().find(|table| table.name == NUMBERS.name);
    found.ok_or_else(|| StoreError::Unfit("events are not carried".into()))
}

/// Brings the target to what the closed source holds. Events that are there stay.
pub(super) fn rest(from: &mut dyn StoreEnd, to: &mut dyn StoreEnd) -> Result<(), StoreError> {
    for table in CARRIED {
        if table.name == NUMBERS.name {
            let last = to.number(LAST)?;
            carry(from, to, table, &format!("WHERE seq > {last}"))?;
            drop_deleted(from, to)?;
        } else {
            replace(from, to, table)?;
        }
    }
    to.keep_orphans()?;
    to.set_last_number(from.last_number()?)
}

/// Copies a table in place of what a move before has copied.
fn replace(
    from: &mut dyn StoreEnd,
    to: &mut dyn StoreEnd,
    table: &CarriedTable,
) -> Result<(), StoreError> {
    to.execute(&format!("DELETE FROM \"{}\"", table.name))?;
    let stored = carry(from, to, table, "")?;
    let found = to.count(table)?;
    if found == stored {
        return Ok(());
    }
    Err(StoreError::Unavailable(format!(
        "table {}: {stored} rows were stored and {found} are there",
        table.name
    )))
}

/// Deletes events that the source has no more: after they had been copied, they were erased, or too old.
/// Fails if one of the source is missing.
fn drop_deleted(from: &mut dyn StoreEnd, to: &mut dyn StoreEnd) -> Result<(), StoreError> {
    let (mut after, last) = (0, to.number(LAST)?.max(from.number(LAST)?));
    while after < last {
        let page = format!("SELECT seq FROM event WHERE seq > {after} ORDER BY seq LIMIT {PAGE}");
        let until = to.number(&format!(
            "SELECT coalesce(max(seq), {last}) AS n0 FROM ({page}) AS page"
        ))?;
        let within = format!("WHERE seq > {after} AND seq <= {until}");
        let (here, there) = (numbers(from, &within)?, numbers(to, &within)?);
        if let Some(missing) = here.difference(&there).next() {
            return Err(StoreError::Unavailable(format!(
                "event {missing} was not copied"
            )));
        }
        let gone: Vec<String> = there.difference(&here).map(i64::to_string).collect();
        if !gone.is_empty() {
            to.execute(&format!(
                "DELETE FROM event WHERE seq IN ({})",
                gone.join(", ")
            ))?;
        }
        after = until;
    }
    Ok(())
}

fn numbers(of: &mut dyn StoreEnd, filter: &str) -> Result<BTreeSet<i64>, StoreError> {
    let mut found = BTreeSet::new();
    TableReader::read(of, &NUMBERS, filter, &mut |row| {
        found.insert(row.number(0));
        Ok(())
    })?;
    Ok(found)
}
