//! Rows that an instance claims from the outbox, their confirm, and the backlog.

use std::ops::RangeInclusive;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Nullable, Text};

use super::schema::{outbox, published};
use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::faults::mutants::Mutant;
use crate::store::claim::{Choice, Due, DueRows, PAGE};
use crate::store::republish::JobId;
use crate::store::row::{message_key, millis};
use crate::store::{Backlog, Confirms, Seq};

/// Offers the rows of an owner for a sink that are due, the longest due first; then those that are due later than any retry is: they were
/// written while the clock was ahead.
pub(super) fn offer(
    connection: &mut SqliteConnection,
    of: (InstanceId, &SinkName, DueRows),
    now: i64,
    longest_retry: Duration,
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    offer_between(connection, of, (i64::MIN, now), choice)?;
    if Mutant::ClockBelieved.is_on() {
        return Ok(());
    }
    offer_between(
        connection,
        of,
        (
            now.saturating_add(millis(longest_retry)).saturating_add(1),
            i64::MAX,
        ),
        choice,
    )
}

fn offer_between(
    connection: &mut SqliteConnection,
    (owner, sink, rows): (InstanceId, &SinkName, DueRows),
    due: (i64, i64),
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    let mut last = (due.0, i64::MIN);
    while !choice.is_full() {
        let mut page = outbox::table
            .filter(
                outbox::owner
                    .eq(&owner.as_bytes()[..])
                    .and(outbox::sink.eq(sink.as_str()))
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
                outbox::republished,
            ))
            .into_boxed();
        if rows == DueRows::WithoutKey {
            page = page.filter(outbox::order_key.is_null());
        }
        let page = page.load::<(i64, i64, Vec<u8>, i32, i32, Option<Vec<u8>>)>(connection)?;
        let Some(end) = page.last() else { break };
        last = (end.0, end.1);
        for (_, seq, bytes_of_key, bytes, attempts, job) in page {
            choice.offer(Due {
                seq,
                key: message_key(&bytes_of_key)?,
                bytes,
                attempts,
                republished: JobId::stored(job.as_deref()),
            });
        }
    }
    Ok(())
}

/// Removes confirmed rows of a sink from the outbox. The event may have been confirmed by another sink at the same time.
pub(super) fn confirm(
    connection: &mut SqliteConnection,
    confirms: Confirms<'_>,
    now: i64,
) -> QueryResult<()> {
    for run in runs(confirms.rows) {
        let confirmed = outbox::table
            .filter(outbox::seq.between(*run.start(), *run.end()))
            .filter(outbox::sink.eq(confirms.sink.as_str()));
        diesel::insert_or_ignore_into(published::table)
            .values(confirmed.select((now.into_sql::<BigInt>(), outbox::seq, outbox::sink)))
            .into_columns((published::at, published::seq, published::sink))
            .execute(connection)?;
        diesel::delete(confirmed).execute(connection)?;
    }
    Ok(())
}

/// Returns ranges of numbers without a gap. The numbers of a batch are one range, so that one
/// statement serves many rows.
pub(super) fn runs(rows: &[Seq]) -> Vec<RangeInclusive<i64>> {
    let mut seqs: Vec<i64> = rows.iter().map(|seq| seq.0).collect();
    seqs.sort_unstable();
    seqs.dedup();
    seqs.chunk_by(|a, b| b - a == 1)
        .filter_map(|run| Some(*run.first()?..=*run.last()?))
        .collect()
}

/// Rows of each sink. The oldest one is that with the lowest number.
const BACKLOG: &str = "
    SELECT sink, depth, lowest, parked,
           coalesce((SELECT max(?1 - since, 0) FROM outbox WHERE outbox.seq = rows.lowest AND outbox.sink = rows.sink), 0) AS oldest_ms
    FROM (
        SELECT sink, sum(depth) AS depth, min(lowest) AS lowest, sum(parked) AS parked
        FROM (
            SELECT sink, count(*) AS depth, min(seq) AS lowest, 0 AS parked FROM outbox GROUP BY sink
            UNION ALL
            SELECT sink, 0, NULL, count(*) FROM parked GROUP BY sink
        )
        GROUP BY sink
    ) AS rows
    ORDER BY sink";

#[derive(QueryableByName)]
struct BacklogRow {
    #[diesel(sql_type = Text)]
    sink: String,
    #[diesel(sql_type = BigInt)]
    depth: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    lowest: Option<i64>,
    #[diesel(sql_type = BigInt)]
    parked: i64,
    #[diesel(sql_type = BigInt)]
    oldest_ms: i64,
}

/// Measures the rows of each sink that has some.
pub(super) fn backlog(connection: &mut SqliteConnection, now: i64) -> QueryResult<Vec<Backlog>> {
    let rows: Vec<BacklogRow> = sql_query(BACKLOG).bind::<BigInt, _>(now).load(connection)?;
    let backlog = |row: BacklogRow| Backlog {
        sink: SinkName::stored(row.sink),
        depth: row.depth.unsigned_abs(),
        oldest: Duration::from_millis(row.oldest_ms.unsigned_abs()),
        first: row.lowest.map(Seq),
        parked: row.parked.unsigned_abs(),
    };
    Ok(rows.into_iter().map(backlog).collect())
}
