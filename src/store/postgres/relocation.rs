//! The schema as source or target of a move.

use super::PostgresStore;
use crate::store::StoreError;
use crate::store::relocation::{Relocatable, StoreEnd};
use crate::store::transfer::TransferError;

impl Relocatable for PostgresStore {
    fn prepare_schema(&self) -> Result<(), StoreError> {
        self.migrate().map(drop)
    }

    fn check_owner(&self) -> Result<(), StoreError> {
        self.check_ownership()
    }

    fn reading(
        &self,
        work: &mut dyn FnMut(&mut dyn StoreEnd) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.get()?
            .build_transaction()
            .repeatable_read()
            .read_only()
            .run(|connection| {
                self.session.begin_transfer(connection)?;
                work(connection).map_err(TransferError)
            })
            .map_err(|TransferError(error)| error)
    }

    fn writing(
        &self,
        work: &mut dyn FnMut(&mut dyn StoreEnd) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.get()?
            .build_transaction()
            .read_committed()
            .run(|connection| {
                self.session.begin_transfer(connection)?;
                work(connection).map_err(TransferError)
            })
            .map_err(|TransferError(error)| error)
    }
}
