//! Deleting old rows, while the server's clock is believed.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable};

use super::{PostgresStore, sql_limit, upkeep};
use crate::store::audit::KEEP_AUDIT;
use crate::store::row::millis;
use crate::store::{Retention, StoreError, clock};

#[derive(QueryableByName)]
struct ClockRow {
    #[diesel(sql_type = BigInt)]
    now: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    last: Option<i64>,
}

impl PostgresStore {
    /// See [`Housekeeping::prune`](crate::store::Housekeeping::prune).
    pub(super) fn delete_old(&self, retention: Retention, limit: usize) -> Result<u64, StoreError> {
        let clock: ClockRow =
            self.run(|connection| sql_query(upkeep::CLOCK).get_result(connection))?;
        if !self.deletion_clock.is_believed(clock.now, clock.last) {
            return Ok(0);
        }
        let limit = sql_limit(limit);
        let kept = |statement: &'static str, time: Duration| {
            self.run(|connection| {
                sql_query(statement)
                    .bind::<BigInt, _>(limit)
                    .bind::<BigInt, _>(millis(time))
                    .execute(connection)
                    .map(|rows| rows as u64)
            })
        };
        let keys = self.run(|connection| {
            sql_query(upkeep::PRUNE_KEYS)
                .bind::<BigInt, _>(limit)
                .execute(connection)
                .map(|rows| rows as u64)
        })?;
        let events = self.delete_events(|connection| {
            sql_query(upkeep::PRUNE_EVENTS)
                .bind::<BigInt, _>(limit)
                .bind::<BigInt, _>(millis(retention.events))
                .execute(connection)
                .map(|rows| rows as u64)
        })?;
        let conflicts = kept(upkeep::PRUNE_CONFLICTS, retention.conflicts)?;
        self.run(|connection| sql_query(upkeep::PRUNE_INSTANCES).execute(connection))?;
        kept(upkeep::CUT_KEYS, clock::longest_kept(retention.keys))?;
        kept(upkeep::CUT_PUBLISHED, clock::AHEAD)?;
        kept(upkeep::CUT_CONFLICTS, clock::AHEAD)?;
        self.run(|connection| sql_query(upkeep::KEEP_CLOCK).execute(connection))?;
        // Last: a login that was granted tables one by one may lack these.
        kept(upkeep::PRUNE_AUDIT, KEEP_AUDIT)?;
        kept(upkeep::PRUNE_JOBS, KEEP_AUDIT)?;
        let refused = kept(upkeep::PRUNE_QUARANTINE, retention.refused)?;
        Ok(keys + events + conflicts + refused)
    }
}
