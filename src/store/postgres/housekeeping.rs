//! The role [`Housekeeping`] in PostgreSQL.

use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Nullable};

use super::PostgresStore;
use crate::config::model;
use crate::domain::delivery::InstanceId;
use crate::store::row::millis;
use crate::store::{Backlog, Housekeeping, Retention, Seq, StoreError, migrations};

impl Housekeeping for PostgresStore {
    fn prepare(&self) -> Result<(), StoreError> {
        match self.migrate {
            model::Migrate::Auto => drop(self.migrate()?),
            model::Migrate::Check => migrations::check::<Pg>(
                migrations::POSTGRES,
                &self.applied_migrations(&mut self.connect()?)?,
            )?,
        }
        self.still_fit()?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    fn still_fit(&self) -> Result<(), StoreError> {
        let fit = self.check_rights(&mut *self.get()?);
        // The names in it are for an operator's eyes; this text goes to /readyz.
        fit.map_err(|error| match error {
            StoreError::Unfit(why) => StoreError::Unfit(self.configured.hide(&why)),
            other => other,
        })
    }

    fn renew_lease(&self, owner: InstanceId, lease: Duration) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "INSERT INTO instance (id, alive_until, lease_ms) VALUES ($1, now() + $2 * interval '1 millisecond', $2)
                 ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until, lease_ms = excluded.lease_ms",
            )
            .bind::<Binary, _>(&owner.as_bytes()[..])
            .bind::<BigInt, _>(millis(lease))
            .execute(connection)
            .map(drop)
        })
    }

    fn release(&self, owner: InstanceId) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query("DELETE FROM instance WHERE id = $1")
                .bind::<Binary, _>(&owner.as_bytes()[..])
                .execute(connection)
                .map(drop)
        })
    }

    fn prune(&self, retention: Retention, limit: usize) -> Result<u64, StoreError> {
        self.delete_old(retention, limit)
    }

    fn backlog(&self) -> Result<Backlog, StoreError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            depth: i64,
            #[diesel(sql_type = BigInt)]
            oldest_ms: i64,
            #[diesel(sql_type = BigInt)]
            parked: i64,
            #[diesel(sql_type = Nullable<BigInt>)]
            first: Option<i64>,
        }
        let row: Row = self.run(|connection| {
            sql_query(
                "SELECT (SELECT count(*) FROM outbox) AS depth,
                        coalesce((SELECT (extract(epoch FROM now() - since) * 1000)::bigint FROM outbox ORDER BY seq LIMIT 1), 0) AS oldest_ms,
                        (SELECT count(*) FROM parked) AS parked,
                        (SELECT seq FROM outbox ORDER BY seq LIMIT 1) AS first",
            )
            .get_result(connection)
        })?;
        Ok(Backlog {
            depth: row.depth.unsigned_abs(),
            oldest: Duration::from_millis(u64::try_from(row.oldest_ms).unwrap_or(0)),
            parked: row.parked.unsigned_abs(),
            first: row.first.map(Seq),
        })
    }
}
