//! The role [`Finder`] in SQLite.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool};

use super::schema::event;
use super::{SqliteStore, now};
use crate::store::finder::{Finder, InstanceLease, LeaseRow};
use crate::store::{Seq, StoreError};

const LEASES: &str = "
    SELECT id, alive_until AS until, alive_until > ?1 AS alive FROM instance
    ORDER BY alive_until DESC LIMIT ?2";

impl Finder for SqliteStore {
    fn with_text(&self, numbers: &[Seq], text: &[u8]) -> Result<Vec<Seq>, StoreError> {
        let numbers: Vec<i64> = numbers.iter().map(|seq| seq.0).collect();
        let found = self.read(|connection| {
            // Two blobs: the bytes are compared.
            let has_text = sql::<Bool>("instr(body, ")
                .bind::<Binary, _>(text)
                .sql(") > 0");
            event::table
                .filter(event::seq.eq_any(&numbers))
                .filter(has_text)
                .select(event::seq)
                .load::<i64>(connection)
        })?;
        Ok(found.into_iter().map(Seq).collect())
    }

    fn leases(&self, limit: usize) -> Result<Vec<InstanceLease>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<LeaseRow> = self.read(|connection| {
            sql_query(LEASES)
                .bind::<BigInt, _>(now())
                .bind::<BigInt, _>(limit)
                .load(connection)
        })?;
        Ok(rows.into_iter().filter_map(LeaseRow::lease).collect())
    }
}
