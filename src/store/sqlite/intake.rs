//! The role [`Intake`] in SQLite.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use diesel::prelude::*;

use super::claims::confirm;
use super::schema::outbox;
use super::{SqliteStore, insert, judge, now};
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::store::{Confirms, Inserted, Intake, NewEvent, Seq, StoreError};

impl Intake for SqliteStore {
    /// One connection writes. A second thread would wait for it with a batch that could have been larger.
    fn writers(&self, _: usize) -> usize {
        1
    }

    fn insert(
        &self,
        owner: InstanceId,
        sinks: &Sinks,
        batch: &[Arc<NewEvent>],
    ) -> Result<Vec<Inserted>, StoreError> {
        Ok(self.insert_and_confirm(owner, sinks, batch, None)?.0)
    }

    fn insert_and_confirm(
        &self,
        owner: InstanceId,
        sinks: &Sinks,
        batch: &[Arc<NewEvent>],
        confirms: Option<Confirms<'_>>,
    ) -> Result<(Vec<Inserted>, bool), StoreError> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable(format!(
                "{}: not prepared yet",
                self.file.path().display()
            )));
        }
        self.file.still_there()?;
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.finish(&mut *self.writer.get()?);
        }
        let now = now();
        let mut begun = false;
        let together = self.write(|connection| {
            begun = true;
            if let Some(confirms) = confirms {
                confirm(connection, confirms, now)?;
            }
            insert::batch(connection, (owner, sinks), batch, now, self.keeps_class)
        });
        match together {
            // One row may have spoilt it for all.
            Err(StoreError::Unavailable(_)) if begun => {}
            done => {
                let inserted = done?;
                self.file.still_there()?;
                if let Some(checkpoints) = &self.checkpoints {
                    checkpoints.committed(batch);
                }
                return Ok((inserted, true));
            }
        }
        let apart = self.write(|connection| {
            judge::each(connection, batch, |connection, new| {
                insert::batch(connection, (owner, sinks), new, now, self.keeps_class)
            })
        })?;
        self.file.still_there()?;
        Ok((apart, false))
    }

    fn waiting(&self, rows: &[Seq]) -> Result<Vec<bool>, StoreError> {
        self.read(|connection| {
            rows.iter()
                .map(|row| {
                    diesel::select(diesel::dsl::exists(
                        outbox::table.filter(outbox::seq.eq(row.0)),
                    ))
                    .get_result(connection)
                })
                .collect()
        })
    }
}
