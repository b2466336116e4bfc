//! Rows that a trace reads, the same on both databases.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Text};

use super::trace::{SinkRefusal, SinkWait};
use crate::domain::delivery::UnixMillis;
use crate::domain::sink::SinkName;

#[derive(QueryableByName)]
pub(super) struct WaitingColumns {
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = Integer)]
    attempts: i32,
    #[diesel(sql_type = BigInt)]
    since: i64,
    #[diesel(sql_type = BigInt)]
    due: i64,
}

impl From<WaitingColumns> for SinkWait {
    fn from(row: WaitingColumns) -> Self {
        Self {
            sink: SinkName::stored(row.sink),
            attempts: row.attempts.unsigned_abs(),
            since: UnixMillis(row.since),
            due: UnixMillis(row.due),
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct ParkedColumns {
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = BigInt)]
    at: i64,
}

impl From<ParkedColumns> for SinkRefusal {
    fn from(row: ParkedColumns) -> Self {
        Self {
            sink: SinkName::stored(row.sink),
            reason: row.reason,
            at: UnixMillis(row.at),
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct ConfirmColumns {
    #[diesel(sql_type = BigInt)]
    at: i64,
}

impl From<ConfirmColumns> for UnixMillis {
    fn from(row: ConfirmColumns) -> Self {
        Self(row.at)
    }
}

/// Defines what a connection of this type reads for a trace, with the statements `TRACED_WAITING`,
/// `TRACED_PARKED` and `TRACED_CONFIRMS` of its database.
macro_rules! trace_reads {
    ($connection:ty) => {
        /// Returns the rows of an event.
        fn read_trace(
            connection: &mut $connection,
            traced: trace::Traced,
        ) -> QueryResult<trace::EventTrace> {
            let waiting: Vec<trace_rows::WaitingColumns> = sql_query(TRACED_WAITING)
                .bind::<BigInt, _>(traced.seq.0)
                .load(connection)?;
            let parked: Vec<trace_rows::ParkedColumns> = sql_query(TRACED_PARKED)
                .bind::<BigInt, _>(traced.seq.0)
                .load(connection)?;
            let confirms: Vec<trace_rows::ConfirmColumns> = sql_query(TRACED_CONFIRMS)
                .bind::<BigInt, _>(traced.confirms_from())
                .bind::<BigInt, _>(trace::CONFIRMS_READ)
                .bind::<BigInt, _>(traced.seq.0)
                .bind::<BigInt, _>(trace::CONFIRMS_LISTED)
                .load(connection)?;
            Ok(trace::EventTrace {
                waiting: waiting.into_iter().map(Into::into).collect(),
                parked: parked.into_iter().map(Into::into).collect(),
                confirmed_at: confirms.into_iter().map(Into::into).collect(),
            })
        }
    };
}
pub(super) use trace_reads;
