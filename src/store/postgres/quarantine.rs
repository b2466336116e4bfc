//! The role [`QuarantineStore`] in PostgreSQL.

use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};

use super::{PostgresStore, audit};
use crate::store::catalog::PAGE;
use crate::store::quarantine::{
    NewRefused, RefusedBounds, RefusedDelivery, RefusedPlace, RefusedQuery, RefusedSummary,
    RefusedUsage,
};
use crate::store::quarantine_rows::{self as rows, quarantine_reads};
use crate::store::{AuditEntry, QuarantineStore, StoreError};

const KEEP: &str = "
    INSERT INTO quarantine (source, received_at, request_id, reason, detail, method, target, peer, cut, bytes, size, headers, body)
    SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

/// Deletes at most `$3` of a source, up to a number. Rows that another instance is deleting are skipped.
const EVICT: &str = "
    DELETE FROM quarantine WHERE number = ANY (ARRAY (
        SELECT number FROM quarantine WHERE source = $1 AND number <= $2 ORDER BY number LIMIT $3 FOR UPDATE SKIP LOCKED))";

const DISCARD: &str = "
    DELETE FROM quarantine WHERE number = ANY (ARRAY (
        SELECT number FROM quarantine WHERE number = ANY ($1) ORDER BY number FOR UPDATE))";

/// Lock of the instance that verifies refused deliveries again, until its transaction ends.
const ALONE: &str =
    "SELECT pg_try_advisory_xact_lock(hashtextextended('hookweir quarantine ' || $1, 0)) AS alone";

#[derive(QueryableByName)]
struct AloneRow {
    #[diesel(sql_type = Bool)]
    alone: bool,
}

quarantine_reads!(PgConnection);

/// Returns a text that PostgreSQL takes: it refuses a NUL.
fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn keep(connection: &mut PgConnection, batch: &[NewRefused]) -> QueryResult<()> {
    let texts = |of: fn(&NewRefused) -> &str| batch.iter().map(of).map(text).collect::<Vec<_>>();
    let numbers = |of: fn(&NewRefused) -> u64| {
        let numbers = batch.iter().map(of).map(rows::sql_number);
        numbers.collect::<Vec<_>>()
    };
    let received: Vec<i64> = batch.iter().map(|of| of.received_at.0).collect();
    let peers: Vec<Option<&str>> = batch.iter().map(|of| of.peer.as_deref()).collect();
    let cut: Vec<bool> = batch.iter().map(|of| of.is_cut).collect();
    let headers: Vec<&[u8]> = batch.iter().map(|of| &of.headers[..]).collect();
    let bodies: Vec<&[u8]> = batch.iter().map(|of| &of.body[..]).collect();
    sql_query(KEEP)
        .bind::<Array<Text>, _>(texts(|of| of.source.as_str()))
        .bind::<Array<BigInt>, _>(received)
        .bind::<Array<Text>, _>(texts(|of| &of.request_id))
        .bind::<Array<Text>, _>(texts(|of| of.reason))
        .bind::<Array<Text>, _>(texts(|of| &of.detail))
        .bind::<Array<Text>, _>(texts(|of| &of.method))
        .bind::<Array<Text>, _>(texts(|of| &of.target))
        .bind::<Array<Nullable<Text>>, _>(peers)
        .bind::<Array<Bool>, _>(cut)
        .bind::<Array<BigInt>, _>(numbers(|of| of.body.len() as u64))
        .bind::<Array<BigInt>, _>(numbers(NewRefused::size))
        .bind::<Array<Binary>, _>(headers)
        .bind::<Array<Binary>, _>(bodies)
        .execute(connection)
        .map(drop)
}

impl QuarantineStore for PostgresStore {
    fn keep_refused(&self, batch: &[NewRefused]) -> Result<(), StoreError> {
        self.run(|connection| keep(connection, batch))
    }

    fn evict_refused(
        &self,
        source: &str,
        bounds: RefusedBounds,
        limit: usize,
    ) -> Result<u64, StoreError> {
        let beyond = self.run(|connection| read_beyond(connection, source, bounds))?;
        let Some(number) = beyond else {
            return Ok(0);
        };
        self.run(|connection| {
            sql_query(EVICT)
                .bind::<Text, _>(source)
                .bind::<BigInt, _>(number)
                .bind::<BigInt, _>(rows::sql_number(limit as u64))
                .execute(connection)
                .map(|gone| gone as u64)
        })
    }

    fn verify_alone(&self, work: &mut dyn FnMut()) -> Result<bool, StoreError> {
        self.transaction(|connection| {
            let row: AloneRow = sql_query(ALONE)
                .bind::<Text, _>(&self.session.schema)
                .get_result(connection)?;
            if row.alone {
                work();
            }
            Ok(row.alone)
        })
    }

    fn refused_usage(&self) -> Result<Vec<RefusedUsage>, StoreError> {
        self.run(read_usage)
    }

    fn refused(
        &self,
        query: &RefusedQuery,
        place: RefusedPlace,
        limit: usize,
    ) -> Result<Vec<RefusedSummary>, StoreError> {
        self.run(|connection| read_page(connection, query, place, limit))
    }

    fn refused_delivery(&self, number: i64) -> Result<Option<RefusedDelivery>, StoreError> {
        self.run(|connection| read_one(connection, number))
    }

    fn discard_refused(&self, numbers: &[i64], entry: &AuditEntry) -> Result<u64, StoreError> {
        self.transaction(|connection| {
            let gone = sql_query(DISCARD)
                .bind::<Array<BigInt>, _>(numbers)
                .execute(connection)?;
            audit::changed(connection, entry, gone as u64)
        })
    }
}
