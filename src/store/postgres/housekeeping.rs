//! The role [`Housekeeping`] in PostgreSQL.

use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::result::Error;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};

use super::PostgresStore;
use crate::config::model;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::store::relocation::refuse_relocated;
use crate::store::row::millis;
use crate::store::{
    Backlog, Housekeeping, Retention, Seq, StoreError, StoreSize, Surplus, migrations,
};

const RENEW_LEASE: &str = "
    INSERT INTO instance (id, alive_until, lease_ms)
    VALUES ($1, now() + $2 * interval '1 millisecond', $2)
    ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until, lease_ms = excluded.lease_ms";

/// Rows of each sink. The oldest one is that with the lowest number.
const BACKLOG: &str = "
    SELECT sink, coalesce(depth, 0) AS depth, first, coalesce(parked, 0) AS parked,
           coalesce((SELECT (extract(epoch FROM now() - since) * 1000)::bigint FROM outbox
                     WHERE outbox.seq = waiting.first AND (outbox.sink = waiting.sink) IS TRUE), 0) AS oldest_ms
    FROM (SELECT sink, count(*) AS depth, min(seq) AS first FROM outbox GROUP BY sink) AS waiting
    FULL JOIN (SELECT sink, count(*) AS parked FROM parked GROUP BY sink) AS given_up USING (sink)
    ORDER BY sink";

#[derive(QueryableByName)]
struct BacklogRow {
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = BigInt)]
    depth: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    first: Option<i64>,
    #[diesel(sql_type = BigInt)]
    parked: i64,
    #[diesel(sql_type = BigInt)]
    oldest_ms: i64,
}

const MAY_READ_MARK: &str =
    "coalesce(has_table_privilege(to_regclass('relocation'), 'SELECT'), false)";

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
        self.refuse_moved()?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    /// A login that may not read the mark is kept out by the triggers of the move.
    fn refuse_moved(&self) -> Result<(), StoreError> {
        let mut moved = Ok(());
        let ran = self.run(|connection| {
            if !diesel::select(sql::<Bool>(MAY_READ_MARK)).get_result::<bool>(connection)? {
                return Ok(());
            }
            moved = refuse_relocated(connection);
            match &moved {
                Err(StoreError::Unavailable(_)) => Err(Error::RollbackTransaction),
                _ => Ok(()),
            }
        });
        moved.and(ran)
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
            sql_query(RENEW_LEASE)
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

    fn size(&self) -> Result<StoreSize, StoreError> {
        self.measured_size()
    }

    fn delete_oldest(&self, owner: InstanceId, limit: usize) -> Result<u64, StoreError> {
        self.delete_before_their_time(owner, limit)
    }

    fn shrink_conflicts(&self, owner: InstanceId, above: Surplus) -> Result<Surplus, StoreError> {
        self.delete_oldest_conflicts(owner, above)
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let rows: Vec<BacklogRow> = self.run(|connection| sql_query(BACKLOG).load(connection))?;
        let backlog = |row: BacklogRow| Backlog {
            sink: SinkName::stored(row.sink),
            depth: row.depth.unsigned_abs(),
            oldest: Duration::from_millis(u64::try_from(row.oldest_ms).unwrap_or(0)),
            first: row.first.map(Seq),
            parked: row.parked.unsigned_abs(),
        };
        Ok(rows.into_iter().map(backlog).collect())
    }
}
