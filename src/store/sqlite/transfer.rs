//! The file as an end of a transfer.

use std::path::Path;

use diesel::sqlite::{Sqlite, SqliteConnection};

use super::{SqliteStore, checkpoint, connection};
use crate::store::transfer::{TableWriter, TransferError, copy_into};
use crate::store::{Housekeeping as _, StoreError, migrations};

impl SqliteStore {
    /// Copies the file as it is at this moment into the empty file at `path`.
    pub(in crate::store) fn copy_into(&self, path: &Path) -> Result<(), StoreError> {
        self.need_file()?;
        let applied = self.read(connection::applied_migrations)?;
        migrations::check::<Sqlite>(migrations::SQLITE, &applied)?;
        migrations::refuse_later::<Sqlite>(migrations::SQLITE, &applied)?;
        copy_into(&mut *self.reader.get()?, path)
    }

    /// Fails if there is no file: opening it would make one.
    fn need_file(&self) -> Result<(), StoreError> {
        if self.file.path().is_file() {
            return Ok(());
        }
        Err(StoreError::Unfit(format!(
            "there is no file {}: store.url names the store",
            self.file.path().display()
        )))
    }

    /// Runs `work` in one transaction on the file, made if it is missing, that no process serves from.
    pub(in crate::store) fn carry_in<T>(
        &self,
        work: &mut dyn FnMut(&mut dyn TableWriter) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.hold()?;
        self.migrate()?;
        let mut connection = self.writer.get()?;
        let done = connection
            .immediate_transaction(|connection: &mut SqliteConnection| {
                work(connection).map_err(TransferError)
            })
            .map_err(|TransferError(error)| error)?;
        checkpoint::fold(&mut connection);
        Ok(done)
    }
}
