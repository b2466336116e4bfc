//! Store in PostgreSQL, for any number of instances. Each call is one statement, or a few, each a
//! transaction of its own. None is held open between two round trips, except behind a transaction
//! pooler ([`session`]).

mod audit;
mod catalog;
mod claims;
mod connection;
mod cursor;
mod decisions;
mod finder;
mod housekeeping;
mod insert;
mod insert_statement;
mod intake;
mod judge;
mod known;
mod migrate;
mod order;
mod outbox;
mod pause;
mod prune;
mod quarantine;
mod relocation;
mod republish;
mod rights;
mod secrets;
mod session;
mod size;
mod standby;
mod transfer;
mod upkeep;

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use diesel::connection::Connection as _;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::{BigInt, Binary, Bool, Nullable, Text};

use self::connection::{Connection, unavailable, was_rolled_back};
use self::cursor::SharedHorizon;
use self::insert::LastKnown;
use self::session::Session;
use super::clock::DeletionClock;
use super::row::{EventRow, marks, message_key};
use super::{Seq, StoreError};
use crate::config::model;
use crate::config::secret::Secret;

/// The store in PostgreSQL.
pub(super) struct PostgresStore {
    url: String,
    /// The URL as configured: knows the parts that no error may show.
    configured: model::StoreUrl,
    session: Session,
    migrate: model::Migrate,
    statement_timeout: Duration,
    pool: Pool<ConnectionManager<PgConnection>>,
    prepared: AtomicBool,
    last_known: LastKnown,
    horizon: SharedHorizon,
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
            horizon: SharedHorizon::default(),
            lease: config.lease,
            longest_retry: config.longest_retry,
            deletion_clock: DeletionClock::default(),
        })
    }

    /// Returns a connection outside the pool. The error says at once, and precisely, why there is
    /// none.
    fn connect(&self) -> Result<PgConnection, StoreError> {
        self.session
            .look_for_pooler(&self.url)
            .map_err(|error| self.unreachable(error))?;
        let mut connection = PgConnection::establish(&self.url)
            .map_err(|error| self.unreachable(unavailable(&error)))?;
        self.session.set_up(&mut connection)?;
        Ok(connection)
    }

    /// Looks for a pooler before the server, for a store that is not prepared.
    pub(super) fn behind_what(self) -> Result<Self, StoreError> {
        match self.session.look_for_pooler(&self.url) {
            Ok(()) => Ok(self),
            Err(error) => Err(self.unreachable(error)),
        }
    }

    fn get(&self) -> Result<Connection, StoreError> {
        self.pool
            .get()
            .map_err(|error| self.unreachable(unavailable(&error)))
    }

    /// Returns the reason why there is no connection, without user and password, and by its kind if
    /// waiting mends it.
    fn unreachable(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Unavailable(why) => rights::of_connection(self.configured.hide(&why)),
            StoreError::Unfit(why) => StoreError::Unfit(self.configured.hide(&why)),
            StoreError::Ambiguous(why) => StoreError::Ambiguous(self.configured.hide(&why)),
        }
    }

    /// Replaces a connection whose statements fail: it would keep lacking what a pooler or an
    /// administrator has taken from its session. Returns `false` if there is no other.
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
            // It is published without.
            verified_by: None,
        })
    }
}
