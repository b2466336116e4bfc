//! A database of a move: its fence, its leases and its numbers, beside its rows.

use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;
use diesel::sql_query;

use crate::domain::delivery::wall_clock;
use crate::store::StoreError;
use crate::store::transfer::{TableReader, TableWriter, postgres, sqlite};

/// Tables that take no row in a closed store. Confirms of messages in flight are still recorded
/// (`published`, `parked`): they come before the rest is copied.
const FENCED: [&str; 8] = [
    // In the order in which an insert locks them.
    "outbox",
    "dedup",
    "conflict",
    "learned_secret",
    "pause",
    "republish_job",
    "audit",
    "quarantine",
];

/// Events that no row of another table names. Their confirm was deleted while they were copied.
const ORPHANS: &str = "SELECT seq FROM event EXCEPT SELECT seq FROM published EXCEPT SELECT seq FROM outbox EXCEPT SELECT seq FROM parked";

/// A database of a move, in a transaction.
pub(in crate::store) trait StoreEnd: TableReader + TableWriter {
    /// Runs a statement. Returns the number of rows.
    fn execute(&mut self, statement: &str) -> Result<u64, StoreError>;

    /// Returns the number that a statement returns.
    fn number(&mut self, statement: &str) -> Result<i64, StoreError>;

    /// Returns a number below which no event appears any more.
    fn horizon(&mut self) -> Result<i64, StoreError>;

    /// Returns the number of instances that have a lease. One that ends later than twice its length was
    /// taken by a clock that was ahead, and is none.
    fn alive(&mut self, lease: Duration) -> Result<i64, StoreError>;

    /// Keeps new rows out of the store, for all who use it.
    fn close(&mut self) -> Result<(), StoreError>;

    /// Undoes [`Self::close`].
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Returns the expression for the time.
    fn now(&self) -> String;

    /// Returns the expression for bytes.
    fn octets(&self, bytes: &[u8]) -> String;

    /// Fails if an instance has a lease.
    fn refuse_instances(&mut self, lease: Duration) -> Result<(), StoreError> {
        match self.alive(lease)? {
            0 => Ok(()),
            _ => Err(StoreError::Unfit(
                "an instance serves from the store that is moved to, or ended within the last store.lease_secs: stop it, and try again".into(),
            )),
        }
    }

    /// Keeps events that nothing names like those that were published now: they are deleted in their time.
    fn keep_orphans(&mut self) -> Result<(), StoreError> {
        let now = self.now();
        self.execute(&format!(
            "INSERT INTO published (seq, at) SELECT seq, {now} FROM ({ORPHANS}) AS orphan"
        ))
        .map(drop)
    }
}

impl StoreEnd for SqliteConnection {
    fn execute(&mut self, statement: &str) -> Result<u64, StoreError> {
        let rows = sql_query(statement).execute(self);
        Ok(rows.map_err(|error| sqlite::failed(&error))? as u64)
    }

    fn number(&mut self, statement: &str) -> Result<i64, StoreError> {
        sqlite::number(self, statement)
    }

    fn horizon(&mut self) -> Result<i64, StoreError> {
        // One transaction writes at a time, and this one does.
        self.last_number()
    }

    fn alive(&mut self, lease: Duration) -> Result<i64, StoreError> {
        let (now, lease) = (self.now(), lease.as_millis());
        StoreEnd::number(
            self,
            &format!(
                "SELECT count(*) AS n0 FROM instance WHERE alive_until > {now}
                 AND alive_until <= {now} + 2 * coalesce(lease_ms, {lease})"
            ),
        )
    }

    fn close(&mut self) -> Result<(), StoreError> {
        for table in FENCED {
            StoreEnd::execute(
                self,
                &format!(
                    "CREATE TRIGGER closed_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'the store is closed for a move'); END"
                ),
            )?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        for table in FENCED {
            StoreEnd::execute(self, &format!("DROP TRIGGER IF EXISTS closed_{table}"))?;
        }
        Ok(())
    }

    fn now(&self) -> String {
        wall_clock().0.to_string()
    }

    fn octets(&self, bytes: &[u8]) -> String {
        format!("x'{}'", hex::encode(bytes))
    }
}

impl StoreEnd for PgConnection {
    fn execute(&mut self, statement: &str) -> Result<u64, StoreError> {
        let rows = sql_query(statement).execute(self);
        Ok(rows.map_err(|error| postgres::failed(&error))? as u64)
    }

    fn number(&mut self, statement: &str) -> Result<i64, StoreError> {
        postgres::number(self, statement)
    }

    /// A transaction that stores events locks the table before it takes a number (`postgres/cursor.rs`).
    fn horizon(&mut self) -> Result<i64, StoreError> {
        StoreEnd::execute(self, "LOCK TABLE event IN SHARE MODE")?;
        self.last_number()
    }

    fn alive(&mut self, lease: Duration) -> Result<i64, StoreError> {
        let lease = lease.as_millis();
        StoreEnd::number(
            self,
            &format!(
                "SELECT count(*) AS n0 FROM instance WHERE alive_until > now()
                 AND alive_until <= now() + 2 * coalesce(lease_ms, {lease}) * interval '1 millisecond'"
            ),
        )
    }

    /// A trigger waits for all who store at this moment.
    fn close(&mut self) -> Result<(), StoreError> {
        StoreEnd::execute(
            self,
            "CREATE FUNCTION closed_for_a_move() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'the store is closed for a move' USING ERRCODE = 'read_only_sql_transaction'; END $$",
        )?;
        for table in FENCED {
            StoreEnd::execute(
                self,
                &format!(
                    "CREATE TRIGGER closed BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION closed_for_a_move()"
                ),
            )?;
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let mut statements = String::new();
        for table in FENCED {
            statements += &format!("DROP TRIGGER IF EXISTS closed ON {table};");
        }
        statements += "DROP FUNCTION IF EXISTS closed_for_a_move();";
        self.batch_execute(&statements)
            .map_err(|error| postgres::failed(&error))
    }

    fn now(&self) -> String {
        "now()".to_owned()
    }

    fn octets(&self, bytes: &[u8]) -> String {
        format!("decode('{}', 'hex')", hex::encode(bytes))
    }
}
