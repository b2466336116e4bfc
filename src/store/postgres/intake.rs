//! The role [`Intake`] in PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt};

use super::judge::{self, Around};
use super::{Exists, PostgresStore, numbers};
use crate::domain::delivery::InstanceId;
use crate::store::{Inserted, Intake, NewEvent, Seq, StoreError};

impl Intake for PostgresStore {
    fn insert(
        &self,
        owner: InstanceId,
        batch: &[Arc<NewEvent>],
    ) -> Result<Vec<Inserted>, StoreError> {
        Ok(self.insert_and_confirm(owner, batch, &[])?.0)
    }

    fn insert_and_confirm(
        &self,
        owner: InstanceId,
        batch: &[Arc<NewEvent>],
        rows: &[Seq],
    ) -> Result<(Vec<Inserted>, bool), StoreError> {
        if !self.prepared.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable(
                "PostgreSQL: not prepared yet".into(),
            ));
        }
        if batch.is_empty() {
            return Ok((Vec::new(), false));
        }
        let around = Around {
            session: &self.session,
            owner,
            last_known: &self.last_known,
            renew: &|connection| self.renew(connection),
        };
        judge::insert(
            &mut *self.get()?,
            &around,
            batch,
            &numbers(rows),
            self.statement_timeout,
        )
    }

    fn waiting(&self, rows: &[Seq]) -> Result<Vec<bool>, StoreError> {
        let rows: Vec<Exists> = self.run(|connection| {
            sql_query(
                // Not joins, which the planner might make of whole tables.
                "SELECT (SELECT true FROM outbox WHERE outbox.seq = i.seq LIMIT 1) IS NOT NULL AS exists
                 FROM unnest($1) WITH ORDINALITY AS i (seq, place) ORDER BY place",
            )
            .bind::<Array<BigInt>, _>(numbers(rows))
            .load(connection)
        })?;
        Ok(rows.into_iter().map(|row| row.exists).collect())
    }
}
