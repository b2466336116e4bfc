//! Rows of the table `quarantine`, and what both databases read alike. Placeholders stand in the order of
//! their numbers.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};

use super::quarantine::{RefusedDelivery, RefusedSummary, RefusedUsage};
use crate::domain::delivery::UnixMillis;

macro_rules! refused {
    ($rest:literal) => {
        concat!(
            "
    SELECT number, source, received_at, request_id, reason, detail, method, target, peer, cut, bytes
    FROM quarantine WHERE ",
            $rest
        )
    };
}

/// Refused deliveries below a number, the newest first.
pub(super) const BELOW: &str = refused!(
    "number < $1 AND received_at >= $2 AND received_at < $3 ORDER BY number DESC LIMIT $4"
);
/// The same, of one source.
pub(super) const BELOW_OF_SOURCE: &str = refused!(
    "number < $1 AND received_at >= $2 AND received_at < $3 AND source = $4 ORDER BY number DESC LIMIT $5"
);
/// Refused deliveries above a number, the oldest first.
pub(super) const ABOVE: &str =
    refused!("number > $1 AND received_at >= $2 AND received_at < $3 ORDER BY number LIMIT $4");
/// The same, of one source.
pub(super) const ABOVE_OF_SOURCE: &str = refused!(
    "number > $1 AND received_at >= $2 AND received_at < $3 AND source = $4 ORDER BY number LIMIT $5"
);
/// One of them.
pub(super) const ONE: &str = refused!("number = $1");

/// Headers and body of one of them.
pub(super) const CONTENT: &str = "SELECT headers, body FROM quarantine WHERE number = $1";

/// Refused deliveries of each source.
pub(super) const USAGE: &str = "
    SELECT source, count(*) AS kept, CAST(sum(size) AS bigint) AS size
    FROM quarantine GROUP BY source ORDER BY source";

/// The highest number of a source that is beyond its bounds, counted from the newest one.
pub(super) const BEYOND: &str = "
    SELECT max(number) AS number FROM (
        SELECT number, row_number() OVER newest AS place, sum(size) OVER newest AS total
        FROM quarantine WHERE source = $1
        WINDOW newest AS (ORDER BY number DESC ROWS UNBOUNDED PRECEDING)
    ) AS counted WHERE place > $2 OR total > $3";

#[derive(QueryableByName)]
pub(super) struct RefusedRow {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = Text)]
    request_id: String,
    #[diesel(sql_type = Text)]
    reason: String,
    #[diesel(sql_type = Text)]
    detail: String,
    #[diesel(sql_type = Text)]
    method: String,
    #[diesel(sql_type = Text)]
    target: String,
    #[diesel(sql_type = Nullable<Text>)]
    peer: Option<String>,
    #[diesel(sql_type = Bool)]
    cut: bool,
    #[diesel(sql_type = BigInt)]
    bytes: i64,
}

impl RefusedRow {
    pub(super) fn into_summary(self) -> RefusedSummary {
        RefusedSummary {
            number: self.number,
            source: self.source,
            received_at: UnixMillis(self.received_at),
            request_id: self.request_id,
            reason: self.reason,
            detail: self.detail,
            method: self.method,
            target: self.target,
            peer: self.peer,
            is_cut: self.cut,
            bytes: self.bytes.unsigned_abs(),
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct ContentRow {
    #[diesel(sql_type = Binary)]
    headers: Vec<u8>,
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
}

impl ContentRow {
    pub(super) fn with(self, summary: RefusedRow) -> RefusedDelivery {
        RefusedDelivery {
            summary: summary.into_summary(),
            headers: self.headers,
            body: self.body,
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct UsageRow {
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = BigInt)]
    kept: i64,
    #[diesel(sql_type = BigInt)]
    size: i64,
}

impl UsageRow {
    pub(super) fn into_usage(self) -> RefusedUsage {
        RefusedUsage {
            source: self.source,
            rows: self.kept.unsigned_abs(),
            bytes: self.size.unsigned_abs(),
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct BeyondRow {
    #[diesel(sql_type = Nullable<BigInt>)]
    pub(super) number: Option<i64>,
}

/// Returns a number as SQL has it.
pub(super) fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Defines what both databases read alike, by `$connection`.
macro_rules! quarantine_reads {
    ($connection:ty) => {
        fn read_page(
            connection: &mut $connection,
            query: &RefusedQuery,
            place: RefusedPlace,
            limit: usize,
        ) -> QueryResult<Vec<RefusedSummary>> {
            let (all, of_source, number) = match place {
                RefusedPlace::Below(number) => (rows::BELOW, rows::BELOW_OF_SOURCE, number),
                RefusedPlace::Above(number) => (rows::ABOVE, rows::ABOVE_OF_SOURCE, number),
            };
            let limit = i64::try_from(limit.min(PAGE)).unwrap_or(i64::MAX);
            let from = query.from.map_or(i64::MIN, |from| from.0);
            let until = query.until.map_or(i64::MAX, |until| until.0);
            let found: Vec<rows::RefusedRow> = match &query.source {
                None => sql_query(all)
                    .bind::<BigInt, _>(number)
                    .bind::<BigInt, _>(from)
                    .bind::<BigInt, _>(until)
                    .bind::<BigInt, _>(limit)
                    .load(connection)?,
                Some(source) => sql_query(of_source)
                    .bind::<BigInt, _>(number)
                    .bind::<BigInt, _>(from)
                    .bind::<BigInt, _>(until)
                    .bind::<Text, _>(source.as_str())
                    .bind::<BigInt, _>(limit)
                    .load(connection)?,
            };
            Ok(found.into_iter().map(|row| row.into_summary()).collect())
        }

        fn read_one(
            connection: &mut $connection,
            number: i64,
        ) -> QueryResult<Option<RefusedDelivery>> {
            let summary = sql_query(rows::ONE)
                .bind::<BigInt, _>(number)
                .get_result::<rows::RefusedRow>(connection)
                .optional()?;
            let Some(summary) = summary else {
                return Ok(None);
            };
            let content = sql_query(rows::CONTENT)
                .bind::<BigInt, _>(number)
                .get_result::<rows::ContentRow>(connection)
                .optional()?;
            Ok(content.map(|content| content.with(summary)))
        }

        fn read_usage(connection: &mut $connection) -> QueryResult<Vec<RefusedUsage>> {
            let found: Vec<rows::UsageRow> = sql_query(rows::USAGE).load(connection)?;
            Ok(found.into_iter().map(|row| row.into_usage()).collect())
        }

        fn read_beyond(
            connection: &mut $connection,
            source: &str,
            bounds: RefusedBounds,
        ) -> QueryResult<Option<i64>> {
            let row: rows::BeyondRow = sql_query(rows::BEYOND)
                .bind::<Text, _>(source)
                .bind::<BigInt, _>(rows::sql_number(bounds.rows))
                .bind::<BigInt, _>(rows::sql_number(bounds.bytes))
                .get_result(connection)?;
            Ok(row.number)
        }
    };
}

pub(super) use quarantine_reads;
