//! The schema as an end of a transfer.

use diesel::connection::SimpleConnection as _;
use diesel::pg::Pg;

use super::PostgresStore;
use crate::store::transfer::postgres::number;
use crate::store::transfer::{TableReader, TableWriter, TransferError};
use crate::store::{StoreError, migrations};

/// Instances that have a lease.
const ALIVE: &str = "SELECT count(*) AS n0 FROM instance WHERE alive_until > now()";
/// Keeps everybody else from storing, and an instance that starts now from taking a lease.
const ALONE: &str = "LOCK TABLE instance, dedup, event, outbox IN EXCLUSIVE MODE";

impl PostgresStore {
    /// Runs `work` on the schema as it is at this moment: in one transaction that sees no later change.
    pub(in crate::store) fn carry_out<T>(
        &self,
        work: impl FnOnce(&mut dyn TableReader) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.connect()?;
        let applied = self.applied_migrations(&mut connection)?;
        migrations::check::<Pg>(migrations::POSTGRES, &applied)?;
        migrations::refuse_later::<Pg>(migrations::POSTGRES, &applied)?;
        connection
            .build_transaction()
            .repeatable_read()
            .read_only()
            .run(|connection| {
                self.session.begin_transfer(connection)?;
                work(connection).map_err(TransferError)
            })
            .map_err(|TransferError(error)| error)
    }

    /// Runs `work` in one transaction on the schema, made if it is missing, that no instance serves from.
    pub(in crate::store) fn carry_in<T>(
        &self,
        work: &mut dyn FnMut(&mut dyn TableWriter) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.migrate()?;
        let mut connection = self.connect()?;
        connection
            .build_transaction()
            .read_committed()
            .run(|connection| {
                self.session.begin_transfer(connection)?;
                connection.batch_execute(ALONE)?;
                if number(connection, ALIVE)? > 0 {
                    return Err(TransferError(StoreError::Unfit(
                        "an instance serves from this store, or ended within the last store.lease_secs without releasing it: stop every instance, and try again"
                            .into(),
                    )));
                }
                work(connection).map_err(TransferError)
            })
            .map_err(|TransferError(error)| error)
    }
}
