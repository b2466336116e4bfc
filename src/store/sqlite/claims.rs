//! The rows that an instance takes from the outbox, and how they leave it.

use std::ops::RangeInclusive;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::schema::{outbox, parked, published};
use crate::domain::delivery::InstanceId;
use crate::faults::mutants::Mutant;
use crate::store::claim::{Choice, Due, PAGE};
use crate::store::row::{message_key, millis};
use crate::store::{Backlog, Seq};

/// Offers the rows of `owner` that are due, those first that are due for longest; then those that are due later than any retry is, which
/// were written while the clock was ahead.
pub(super) fn offer(
    connection: &mut SqliteConnection,
    owner: InstanceId,
    now: i64,
    longest_retry: Duration,
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    offer_between(connection, owner, (i64::MIN, now), choice)?;
    if Mutant::ClockBelieved.is_on() {
        return Ok(());
    }
    offer_between(
        connection,
        owner,
        (
            now.saturating_add(millis(longest_retry)).saturating_add(1),
            i64::MAX,
        ),
        choice,
    )
}

fn offer_between(
    connection: &mut SqliteConnection,
    owner: InstanceId,
    due: (i64, i64),
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    let mut last = (due.0, i64::MIN);
    while !choice.is_full() {
        let page = outbox::table
            .filter(
                outbox::owner
                    .eq(&owner.as_bytes()[..])
                    .and(outbox::due_at.ge(last.0))
                    .and(outbox::due_at.le(due.1)),
            )
            .filter(outbox::due_at.gt(last.0).or(outbox::seq.gt(last.1)))
            .order((outbox::due_at, outbox::seq))
            .limit(PAGE as i64)
            .select((
                outbox::due_at,
                outbox::seq,
                outbox::key,
                outbox::bytes,
                outbox::attempts,
            ))
            .load::<(i64, i64, Vec<u8>, i32, i32)>(connection)?;
        let Some(end) = page.last() else { break };
        last = (end.0, end.1);
        for (_, seq, bytes_of_key, bytes, attempts) in page {
            choice.offer(Due {
                seq,
                key: message_key(&bytes_of_key)?,
                bytes,
                attempts,
            });
        }
    }
    Ok(())
}

/// These rows were confirmed by the queue, and leave the outbox.
pub(super) fn confirm(
    connection: &mut SqliteConnection,
    rows: &[Seq],
    now: i64,
) -> QueryResult<()> {
    for run in runs(rows) {
        let confirmed = outbox::table.filter(outbox::seq.between(*run.start(), *run.end()));
        confirmed
            .select((now.into_sql::<BigInt>(), outbox::seq))
            .insert_into(published::table)
            .into_columns((published::at, published::seq))
            .execute(connection)?;
        diesel::delete(confirmed).execute(connection)?;
    }
    Ok(())
}

/// Rows whose numbers follow each other without a gap, so that a statement serves many: those of a batch do.
pub(super) fn runs(rows: &[Seq]) -> Vec<RangeInclusive<i64>> {
    let mut seqs: Vec<i64> = rows.iter().map(|seq| seq.0).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs.chunk_by(|a, b| b - a == 1)
        .filter_map(|run| Some(*run.first()?..=*run.last()?))
        .collect()
}

/// What waits.
pub(super) fn backlog(connection: &mut SqliteConnection, now: i64) -> QueryResult<Backlog> {
    let depth: i64 = outbox::table.count().get_result(connection)?;
    let parked: i64 = parked::table.count().get_result(connection)?;
    let first = outbox::table
        .order(outbox::seq)
        .select((outbox::seq, outbox::since))
        .first::<(i64, i64)>(connection)
        .optional()?;
    let oldest = first.map_or(0, |(_, since)| now.saturating_sub(since));
    Ok(Backlog {
        depth: depth.unsigned_abs(),
        oldest: Duration::from_millis(u64::try_from(oldest).unwrap_or(0)),
        parked: parked.unsigned_abs(),
        first: first.map(|(seq, _)| Seq(seq)),
    })
}
