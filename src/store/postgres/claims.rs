//! The rows that an instance takes from the outbox.

use std::time::Duration;

use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Integer, Timestamptz};

use super::sql_limit;
use crate::domain::delivery::InstanceId;
use crate::faults::mutants::Mutant;
use crate::store::claim::{Choice, Due, PAGE};
use crate::store::row::{message_key, millis};

/// Offers the rows of `owner` that are due, those first that are due for longest.
pub(super) fn offer_due(
    connection: &mut PgConnection,
    owner: InstanceId,
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    let mut last = (PgTimestamp(i64::MIN), i64::MIN);
    while !choice.is_full() {
        let page: Vec<DueRow> = sql_query(
            "SELECT due_at, seq, key, bytes, attempts FROM outbox
             WHERE owner = $1 AND (due_at, seq) > ($2, $3) AND due_at <= now() ORDER BY due_at, seq LIMIT $4",
        )
        .bind::<Binary, _>(&owner.as_bytes()[..])
        .bind::<Timestamptz, _>(last.0)
        .bind::<BigInt, _>(last.1)
        .bind::<BigInt, _>(sql_limit(PAGE))
        .load(connection)?;
        let Some(end) = page.last() else { break };
        last = (end.due_at, end.seq);
        page.iter().try_for_each(|row| row.offer(choice))?;
    }
    Ok(())
}

/// Offers the rows of `owner` that are due later than any retry is: they were written while the clock was ahead.
pub(super) fn offer_stranded(
    connection: &mut PgConnection,
    owner: InstanceId,
    longest: Duration,
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    if Mutant::ClockBelieved.is_on() {
        return Ok(());
    }
    let mut last = (PgTimestamp(i64::MIN), i64::MIN);
    while !choice.is_full() {
        let page: Vec<DueRow> = sql_query(
            "SELECT due_at, seq, key, bytes, attempts FROM outbox
             WHERE owner = $1 AND (due_at, seq) > ($2, $3) AND due_at > now() + $5 * interval '1 millisecond'
             ORDER BY due_at, seq LIMIT $4",
        )
        .bind::<Binary, _>(&owner.as_bytes()[..])
        .bind::<Timestamptz, _>(last.0)
        .bind::<BigInt, _>(last.1)
        .bind::<BigInt, _>(sql_limit(PAGE))
        .bind::<BigInt, _>(millis(longest))
        .load(connection)?;
        let Some(end) = page.last() else { break };
        last = (end.due_at, end.seq);
        page.iter().try_for_each(|row| row.offer(choice))?;
    }
    Ok(())
}

#[derive(QueryableByName)]
struct DueRow {
    #[diesel(sql_type = Timestamptz)]
    due_at: PgTimestamp,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Integer)]
    bytes: i32,
    #[diesel(sql_type = Integer)]
    attempts: i32,
}

impl DueRow {
    fn offer(&self, choice: &mut Choice<'_>) -> QueryResult<()> {
        choice.offer(Due {
            seq: self.seq,
            key: message_key(&self.key)?,
            bytes: self.bytes,
            attempts: self.attempts,
        });
        Ok(())
    }
}
