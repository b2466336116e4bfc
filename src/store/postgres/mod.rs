//! The store in PostgreSQL, for any number of instances. Each call is one statement, or a few, each a transaction of its own: none is
//! held open between two round trips, but behind a transaction pooler ([`session`]).

mod claims;
mod connection;
mod fetched;
mod insert;
mod judge;
mod learned;
mod migrate;
mod parked;
mod prune;
mod rights;
mod session;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use diesel::connection::Connection as _;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_query;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};

use self::connection::{Connection, unavailable, was_rolled_back};
use self::insert::LastKnown;
use self::judge::Around;
use self::session::Session;
use super::claim::Choice;
use super::clock::DeletionClock;
use super::row::{EventRow, marks, message_key, millis};
use super::{
    Backlog, FetchedKey, Inserted, Learned, LearnedSecret, NewEvent, Parked, Retention, Room, Seq,
    Store, StoreError, StoredEvent, migrations,
};
use crate::config::model;
use crate::config::secret::Secret;
use crate::domain::delivery::{InstanceId, MessageKey, SourceName};

/// The store in PostgreSQL.
pub(super) struct PostgresStore {
    url: String,
    /// The same as configured: knows what of an error must not be shown.
    configured: model::StoreUrl,
    session: Session,
    migrate: model::Migrate,
    statement_timeout: Duration,
    pool: Pool<ConnectionManager<PgConnection>>,
    prepared: AtomicBool,
    last_known: LastKnown,
    lease: Duration,
    longest_retry: Duration,
    deletion_clock: DeletionClock,
}

impl PostgresStore {
    pub(super) fn new(
        url: &Secret,
        config: &model::Store,
        connections: usize,
    ) -> Result<Self, StoreError> {
        let url = connection::url(url, config)?;
        let session = Session::new(config);
        Ok(Self {
            migrate: config.migrate,
            statement_timeout: config.statement_timeout,
            pool: connection::pool(&url, config, &session, connections),
            session,
            url,
            configured: config.url.clone(),
            prepared: AtomicBool::new(false),
            last_known: LastKnown::default(),
            lease: config.lease,
            longest_retry: config.longest_retry,
            deletion_clock: DeletionClock::default(),
        })
    }

    /// A connection outside the pool: says at once, and precisely, why there is none.
    fn connect(&self) -> Result<PgConnection, StoreError> {
        self.session
            .look_for_pooler(&self.url)
            .map_err(|error| self.unreachable(error))?;
        let mut connection = PgConnection::establish(&self.url)
            .map_err(|error| self.unreachable(unavailable(&error)))?;
        self.session.set_up(&mut connection)?;
        Ok(connection)
    }

    fn get(&self) -> Result<Connection, StoreError> {
        self.pool
            .get()
            .map_err(|error| self.unreachable(unavailable(&error)))
    }

    /// Why there is no connection, without user and password, and whether waiting mends it.
    fn unreachable(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Unavailable(why) => rights::of_connection(self.configured.hide(&why)),
            StoreError::Unfit(why) => StoreError::Unfit(self.configured.hide(&why)),
            StoreError::Ambiguous(why) => StoreError::Ambiguous(self.configured.hide(&why)),
        }
    }

    /// Puts a new connection in the place of one whose statements fail: what a pooler or an administrator has taken from its session would
    /// be missing for ever. False if there is none.
    fn renew(&self, connection: &mut PgConnection) -> bool {
        self.connect().map(|new| *connection = new).is_ok()
    }

    /// Runs one statement that can be repeated without harm.
    fn run<T>(
        &self,
        statement: impl FnOnce(&mut PgConnection) -> QueryResult<T>,
    ) -> Result<T, StoreError> {
        let mut connection = self.get()?;
        self.session
            .run(&mut connection, statement)
            .map_err(|error| {
                if !was_rolled_back(&mut connection, &error) {
                    return StoreError::Ambiguous(format!(
                        "PostgreSQL: {}",
                        error.to_string().trim_end()
                    ));
                }
                self.renew(&mut connection);
                unavailable(&error)
            })
    }
}

#[derive(QueryableByName)]
struct Exists {
    #[diesel(sql_type = Bool)]
    exists: bool,
}

impl Store for PostgresStore {
    fn prepare(&self) -> Result<(), StoreError> {
        match self.migrate {
            model::Migrate::Auto => drop(self.migrate()?),
            model::Migrate::Check => migrations::check::<Pg>(
                migrations::POSTGRES,
                &self.applied_migrations(&mut self.connect()?)?,
            )?,
        }
        self.still_fit()?;
        self.prepared.store(true, Ordering::Release);
        Ok(())
    }

    fn still_fit(&self) -> Result<(), StoreError> {
        let fit = self.check_rights(&mut *self.get()?);
        // The names in it are for an operator's eyes; this text goes to /readyz.
        fit.map_err(|error| match error {
            StoreError::Unfit(why) => StoreError::Unfit(self.configured.hide(&why)),
            other => other,
        })
    }

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

    fn claim(
        &self,
        owner: InstanceId,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let me = &owner.as_bytes()[..];
        self.run(|connection| {
            sql_query(upkeep::TAKE_OVER)
                .bind::<Binary, _>(me)
                .bind::<BigInt, _>(sql_limit(room.events))
                .bind::<BigInt, _>(millis(self.lease))
                .execute(connection)
        })?;
        self.run(|connection| {
            let mut choice = Choice::new(room, skip);
            claims::offer_due(connection, owner, &mut choice)?;
            claims::offer_stranded(connection, owner, self.longest_retry, &mut choice)?;
            // A row that was confirmed in between finds its event all the same; the caller knows which it had in memory.
            let rows = sql_query("SELECT * FROM event WHERE seq = ANY ($1)")
                .bind::<Array<BigInt>, _>(choice.seqs())
                .load::<EventColumns>(connection)?
                .into_iter()
                .map(EventColumns::into_row)
                .collect::<QueryResult<Vec<_>>>()?;
            Ok(choice.stored(rows))
        })
    }

    fn confirmed(&self, rows: &[Seq]) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "WITH gone AS (DELETE FROM outbox WHERE seq = ANY ($1) RETURNING seq) INSERT INTO published (seq) SELECT seq FROM gone",
            )
            .bind::<Array<BigInt>, _>(numbers(rows))
            .execute(connection)
            .map(drop)
        })
    }

    fn postpone(&self, rows: &[Seq], delay: Duration) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query("UPDATE outbox SET attempts = attempts + 1, due_at = now() + $2 * interval '1 millisecond' WHERE seq = ANY ($1)")
                .bind::<Array<BigInt>, _>(numbers(rows))
                .bind::<BigInt, _>(millis(delay))
                .execute(connection)
                .map(drop)
        })
    }

    fn park(&self, row: Seq, reason: &str) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "WITH gone AS (DELETE FROM outbox WHERE seq = $1 RETURNING seq) INSERT INTO parked (seq, reason) SELECT seq, $2 FROM gone",
            )
            .bind::<BigInt, _>(row.0)
            .bind::<Text, _>(reason.replace('\0', "\u{fffd}"))
            .execute(connection)
            .map(drop)
        })
    }

    fn parked(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.list_parked(after, limit)
    }

    fn parked_event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError> {
        self.show_parked(row)
    }

    fn retry_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.retry(rows)
    }

    fn discard_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.discard(rows)
    }

    fn renew_lease(&self, owner: InstanceId, lease: Duration) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query(
                "INSERT INTO instance (id, alive_until, lease_ms) VALUES ($1, now() + $2 * interval '1 millisecond', $2)
                 ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until, lease_ms = excluded.lease_ms",
            )
            .bind::<Binary, _>(&owner.as_bytes()[..])
            .bind::<BigInt, _>(millis(lease))
            .execute(connection)
            .map(drop)
        })
    }

    fn release(&self, owner: InstanceId) -> Result<(), StoreError> {
        self.run(|connection| {
            sql_query("DELETE FROM instance WHERE id = $1")
                .bind::<Binary, _>(&owner.as_bytes()[..])
                .execute(connection)
                .map(drop)
        })
    }

    fn prune(&self, retention: Retention, limit: usize) -> Result<u64, StoreError> {
        self.delete_old(retention, limit)
    }

    fn learn(&self, source: &SourceName, secret: &Secret) -> Result<Learned, StoreError> {
        self.learn_secret(source, secret)
    }

    fn learned(&self) -> Result<Vec<LearnedSecret>, StoreError> {
        self.learned_secrets()
    }

    fn forget(&self, source: &SourceName) -> Result<bool, StoreError> {
        self.forget_secret(source)
    }

    fn keep_fetched(&self, key: &FetchedKey) -> Result<(), StoreError> {
        self.keep_fetched_key(key)
    }

    fn fetched(&self) -> Result<Vec<FetchedKey>, StoreError> {
        self.fetched_keys()
    }

    fn backlog(&self) -> Result<Backlog, StoreError> {
        #[derive(QueryableByName)]
        struct Row {
            #[diesel(sql_type = BigInt)]
            depth: i64,
            #[diesel(sql_type = BigInt)]
            oldest_ms: i64,
            #[diesel(sql_type = BigInt)]
            parked: i64,
            #[diesel(sql_type = Nullable<BigInt>)]
            first: Option<i64>,
        }
        let row: Row = self.run(|connection| {
            sql_query(
                "SELECT (SELECT count(*) FROM outbox) AS depth,
                        coalesce((SELECT (extract(epoch FROM now() - since) * 1000)::bigint FROM outbox ORDER BY seq LIMIT 1), 0) AS oldest_ms,
                        (SELECT count(*) FROM parked) AS parked,
                        (SELECT seq FROM outbox ORDER BY seq LIMIT 1) AS first",
            )
            .get_result(connection)
        })?;
        Ok(Backlog {
            depth: row.depth.unsigned_abs(),
            oldest: Duration::from_millis(u64::try_from(row.oldest_ms).unwrap_or(0)),
            parked: row.parked.unsigned_abs(),
            first: row.first.map(Seq),
        })
    }
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn numbers(rows: &[Seq]) -> Vec<i64> {
    rows.iter().map(|seq| seq.0).collect()
}

#[derive(QueryableByName)]
struct EventColumns {
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Binary)]
    key: Vec<u8>,
    #[diesel(sql_type = Text)]
    source: String,
    #[diesel(sql_type = Text)]
    event_id: String,
    #[diesel(sql_type = Nullable<Text>)]
    event_type: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    content_type: Option<String>,
    #[diesel(sql_type = Text)]
    headers: String,
    #[diesel(sql_type = BigInt)]
    received_at: i64,
    #[diesel(sql_type = Binary)]
    body: Vec<u8>,
    #[diesel(sql_type = Nullable<Binary>)]
    conflict_of: Option<Vec<u8>>,
    #[diesel(sql_type = Nullable<Binary>)]
    same_bytes_as: Option<Vec<u8>>,
}

impl EventColumns {
    fn into_row(self) -> QueryResult<EventRow> {
        let marks = marks(self.conflict_of.as_deref(), self.same_bytes_as.as_deref())?;
        let Self {
            seq,
            key,
            source,
            event_id,
            event_type,
            content_type,
            headers,
            received_at,
            body,
            ..
        } = self;
        Ok(EventRow {
            seq,
            message: message_key(&key)?,
            marks,
            source,
            event_id,
            event_type,
            content_type,
            headers,
            received_at,
            body,
        })
    }
}
