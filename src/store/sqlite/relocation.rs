//! The file as source or target of a move.

use diesel::connection::Connection as _;

use super::SqliteStore;
use crate::store::StoreError;
use crate::store::relocation::{Relocatable, StoreEnd};
use crate::store::transfer::TransferError;

impl Relocatable for SqliteStore {
    fn prepare_schema(&self) -> Result<(), StoreError> {
        self.migrate().map(drop)
    }

    fn check_owner(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reading(
        &self,
        work: &mut dyn FnMut(&mut dyn StoreEnd) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.reader
            .get()?
            .transaction(|connection| work(&mut **connection).map_err(TransferError))
            .map_err(|TransferError(error)| error)
    }

    fn writing(
        &self,
        work: &mut dyn FnMut(&mut dyn StoreEnd) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.writer
            .get()?
            .immediate_transaction(|connection| work(connection).map_err(TransferError))
            .map_err(|TransferError(error)| error)
    }
}
