//! The role [`Finder`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary};

use super::PostgresStore;
use crate::store::finder::{Finder, InstanceLease, LeaseRow, NumberRow};
use crate::store::{Seq, StoreError};

const WITH_TEXT: &str = "
    SELECT seq FROM event WHERE seq = ANY ($1) AND position($2 in body) > 0";

const LEASES: &str = "
    SELECT id, (extract(epoch FROM alive_until) * 1000)::bigint AS until, alive_until > now() AS alive
    FROM instance ORDER BY instance.alive_until DESC LIMIT $1";

impl Finder for PostgresStore {
    fn with_text(&self, numbers: &[Seq], text: &[u8]) -> Result<Vec<Seq>, StoreError> {
        let numbers: Vec<i64> = numbers.iter().map(|seq| seq.0).collect();
        let rows: Vec<NumberRow> = self.run(|connection| {
            sql_query(WITH_TEXT)
                .bind::<Array<BigInt>, _>(&numbers)
                .bind::<Binary, _>(text)
                .load(connection)
        })?;
        Ok(rows.into_iter().map(|row| Seq(row.seq)).collect())
    }

    fn leases(&self, limit: usize) -> Result<Vec<InstanceLease>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows: Vec<LeaseRow> =
            self.run(|connection| sql_query(LEASES).bind::<BigInt, _>(limit).load(connection))?;
        Ok(rows.into_iter().filter_map(LeaseRow::lease).collect())
    }
}
