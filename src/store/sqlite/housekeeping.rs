//! The role [`Housekeeping`] in SQLite.

use std::sync::atomic::Ordering;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sqlite::Sqlite;

use super::schema::{clock, instance};
use super::{SqliteStore, checkpoint, claims, connection, now, upkeep};
use crate::config::model;
use crate::domain::delivery::InstanceId;
use crate::store::relocation::refuse_relocated;
use crate::store::row::millis;
use crate::store::{Backlog, Housekeeping, Retention, StoreError, StoreSize, Surplus, migrations};

impl Housekeeping for SqliteStore {
    fn prepare(&self) -> Result<(), StoreError> {
        match self.migrate {
            model::Migrate::Auto => drop(self.migrate()?),
            model::Migrate::Check => {
                self.file.make()?;
                drop(self.first_connection()?);
                let applied = self.read(connection::applied_migrations)?;
                migrations::check::<Sqlite>(migrations::SQLITE, &applied)?;
            }
        }
        self.refuse_moved()?;
        connection::check_durability(&mut *self.writer.get()?)?;
        self.file.watch()?;
        if self.alone.load(Ordering::Acquire) {
            self.write(|connection| diesel::delete(instance::table).execute(connection))?;
            self.alone.store(false, Ordering::Release);
        }
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    fn refuse_moved(&self) -> Result<(), StoreError> {
        self.file.still_there()?;
        refuse_relocated(&mut *self.reader.get()?)
    }

    fn still_fit(&self) -> Result<(), StoreError> {
        self.file.still_there()
    }

    fn hold(&self) -> Result<(), StoreError> {
        if self.file.hold()? {
            self.alone.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn close(&self) {
        if self.prepared.swap(false, Ordering::AcqRel)
            && let Err(error) = self
                .writer
                .get()
                .map(|mut connection| checkpoint::fold(&mut connection))
        {
            tracing::warn!(%error, "SQLite's log could not be copied into its file: a copy of the database needs the -wal beside it as well");
        }
    }

    fn renew_lease(&self, owner: InstanceId, lease: Duration) -> Result<(), StoreError> {
        let lasts = (
            instance::alive_until.eq(now().saturating_add(millis(lease))),
            instance::lease_ms.eq(millis(lease)),
        );
        self.write(|connection| {
            diesel::insert_into(instance::table)
                .values((instance::id.eq(&owner.as_bytes()[..]), lasts))
                .on_conflict(instance::id)
                .do_update()
                .set(lasts)
                .execute(connection)
                .map(drop)
        })
    }

    fn release(&self, owner: InstanceId) -> Result<(), StoreError> {
        self.write(|connection| {
            diesel::delete(instance::table.find(&owner.as_bytes()[..]))
                .execute(connection)
                .map(drop)
        })
    }

    fn prune(&self, retention: Retention, limit: usize) -> Result<u64, StoreError> {
        let now = now();
        let last = self.read(|connection| {
            clock::table
                .find(1)
                .select(clock::seen)
                .first::<i64>(connection)
                .optional()
        })?;
        if !self.deletion_clock.is_believed(now, last) {
            return Ok(0);
        }
        self.write(|connection| upkeep::prune(connection, retention, limit, now))
    }

    fn size(&self) -> Result<StoreSize, StoreError> {
        self.measured_size()
    }

    fn delete_oldest(&self, _owner: InstanceId, limit: usize) -> Result<u64, StoreError> {
        self.delete_before_their_time(limit)
    }

    fn shrink_conflicts(&self, _owner: InstanceId, above: Surplus) -> Result<Surplus, StoreError> {
        self.delete_oldest_conflicts(above)
    }

    fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        let now = now();
        self.read(|connection| claims::backlog(connection, now))
    }
}
