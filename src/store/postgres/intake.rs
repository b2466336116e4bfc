//! The role [`Intake`] in PostgreSQL.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt};

use super::insert_statement::ConfirmedRows;
use super::judge::{self, Around};
use super::{Exists, PostgresStore, numbers};
use crate::domain::delivery::InstanceId;
use crate::domain::sink::Sinks;
use crate::store::{Confirms, Inserted, Intake, NewEvent, Seq, StoreError};

/// An answer for each of `$1`, in order. No join: the planner might make one of whole tables.
const WAITING: &str = "
    SELECT (SELECT true FROM outbox WHERE outbox.seq = i.seq LIMIT 1) IS NOT NULL AS exists
    FROM unnest($1) WITH ORDINALITY AS i (seq, place)
    ORDER BY place";

impl Intake for PostgresStore {
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
            sinks,
            last_known: &self.last_known,
            renew: &|connection| self.renew(connection),
        };
        let seqs = confirms.map_or(Vec::new(), |confirms| numbers(confirms.rows));
        let confirmed = ConfirmedRows {
            sink: confirms.map_or("", |confirms| confirms.sink.as_str()),
            seqs: &seqs,
        };
        let limit = self.statement_timeout;
        judge::insert(&mut *self.get()?, &around, batch, confirmed, limit)
    }

    fn waiting(&self, rows: &[Seq]) -> Result<Vec<bool>, StoreError> {
        let rows: Vec<Exists> = self.run(|connection| {
            sql_query(WAITING)
                .bind::<Array<BigInt>, _>(numbers(rows))
                .load(connection)
        })?;
        Ok(rows.into_iter().map(|row| row.exists).collect())
    }
}
