//! Rows that an instance claims from the outbox.

use std::time::Duration;

use diesel::pg::data_types::PgTimestamp;
use diesel::prelude::*;
use diesel::sql_query;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, Text, Timestamptz};

use super::sql_limit;
use crate::domain::delivery::InstanceId;
use crate::domain::sink::SinkName;
use crate::faults::mutants::Mutant;
use crate::store::claim::{Choice, Due, DueRows, PAGE};
use crate::store::republish::JobId;
use crate::store::row::{message_key, millis};

// Owner and sink are compared in a row, which only outbox_due can serve: by itself, the sink would also be a way into outbox_pkey, which
// looks as good while statistics are of an empty outbox.

const DUE: &str = "
    SELECT due_at, seq, key, bytes, attempts, republished FROM outbox
    WHERE (owner, sink, due_at) >= ($1, $2, $3) AND (owner, sink, due_at) <= ($1, $2, now())
      AND (due_at, seq) > ($3, $4)
    ORDER BY owner, sink, due_at, seq LIMIT $5";

const DUE_WITHOUT_KEY: &str = "
    SELECT due_at, seq, key, bytes, attempts, republished FROM outbox
    WHERE (owner, sink, due_at) >= ($1, $2, $3) AND (owner, sink, due_at) <= ($1, $2, now())
      AND (due_at, seq) > ($3, $4) AND order_key IS NULL
    ORDER BY owner, sink, due_at, seq LIMIT $5";

/// Rows that are due later than any retry is: they were written while the clock was ahead.
const STRANDED: &str = "
    SELECT due_at, seq, key, bytes, attempts, republished FROM outbox
    WHERE (owner, sink, due_at) > ($1, $2, now() + $6 * interval '1 millisecond') AND (owner, sink) <= ($1, $2)
      AND (due_at, seq) > ($3, $4)
    ORDER BY owner, sink, due_at, seq LIMIT $5";

const STRANDED_WITHOUT_KEY: &str = "
    SELECT due_at, seq, key, bytes, attempts, republished FROM outbox
    WHERE (owner, sink, due_at) > ($1, $2, now() + $6 * interval '1 millisecond') AND (owner, sink) <= ($1, $2)
      AND (due_at, seq) > ($3, $4) AND order_key IS NULL
    ORDER BY owner, sink, due_at, seq LIMIT $5";

/// Offers the rows of an owner for a sink that are due, the longest due first, then the stranded ones.
pub(super) fn offer(
    connection: &mut PgConnection,
    of: (InstanceId, &SinkName, DueRows),
    longest_retry: Duration,
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    let (due, stranded) = match of.2 {
        DueRows::All => (DUE, STRANDED),
        DueRows::WithoutKey => (DUE_WITHOUT_KEY, STRANDED_WITHOUT_KEY),
    };
    offer_by(due, None, connection, of, choice)?;
    if Mutant::ClockBelieved.is_on() {
        return Ok(());
    }
    offer_by(stranded, Some(longest_retry), connection, of, choice)
}

fn offer_by(
    statement: &str,
    longest_retry: Option<Duration>,
    connection: &mut PgConnection,
    (owner, sink, _): (InstanceId, &SinkName, DueRows),
    choice: &mut Choice<'_>,
) -> QueryResult<()> {
    let mut last = (PgTimestamp(i64::MIN), i64::MIN);
    while !choice.is_full() {
        let query = sql_query(statement)
            .bind::<Binary, _>(&owner.as_bytes()[..])
            .bind::<Text, _>(sink.as_str())
            .bind::<Timestamptz, _>(last.0)
            .bind::<BigInt, _>(last.1)
            .bind::<BigInt, _>(sql_limit(PAGE));
        let page: Vec<DueRow> = match longest_retry {
            None => query.load(connection)?,
            Some(longest) => query.bind::<BigInt, _>(millis(longest)).load(connection)?,
        };
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
    #[diesel(sql_type = Nullable<Binary>)]
    republished: Option<Vec<u8>>,
}

impl DueRow {
    fn offer(&self, choice: &mut Choice<'_>) -> QueryResult<()> {
        choice.offer(Due {
            seq: self.seq,
            key: message_key(&self.key)?,
            bytes: self.bytes,
            attempts: self.attempts,
            republished: JobId::stored(self.republished.as_deref()),
        });
        Ok(())
    }
}
