//! File behind the spool: a second SQLite database with the store's schema. Its outbox holds events
//! that wait for the store. Its rows belong to the default sink: the drain names the sinks.
//!
//! An event that has reached the store leaves the file with its keys, because the store knows the
//! keys from then on. So the file needs no pruning, and its keys are those that wait.

use std::sync::Arc;
use std::time::Duration;

use diesel::dsl::{count_star, exists, not, sql, sum};
use diesel::prelude::*;
use diesel::sql_types::BigInt;

use super::claims::runs;
use super::insert::class_of;
use super::schema::{conflict, dedup, event, outbox, parked};
use super::{SqliteStore, load_event};
use crate::domain::delivery::{
    BodyDigest, DedupKey, EventId, IdClass, InstanceId, Marks, MessageId, MessageKey, SourceName,
    UnixMillis, wall_clock,
};
use crate::domain::sink::{SinkName, Sinks};
use crate::store::row::{digest, key};
use crate::store::{
    Catalog, Inserted, Intake, Mark, NewEvent, Outbox, Parked, Room, Seq, StoreError, StoredEvent,
};

/// The owner of every row: whichever process runs on this disk.
const OWNER: [u8; 16] = [0; 16];

/// Events on one local disk, on their way into the store.
#[derive(Debug)]
pub struct SpoolFile(pub(super) SqliteStore);

/// Columns that dedup needs of an event.
#[derive(Queryable, Selectable)]
#[diesel(table_name = dedup)]
pub(super) struct KnownKeys {
    key: Vec<u8>,
    guard: Option<Vec<u8>>,
    digest: Vec<u8>,
    expires_at: i64,
    replay: Option<Vec<u8>>,
    id_class: Option<i32>,
    drop_same_bytes: Option<i64>,
}

/// Columns of a conflict.
#[derive(Queryable, Selectable)]
#[diesel(table_name = conflict)]
pub(super) struct ConflictColumns {
    key: Vec<u8>,
    digest: Vec<u8>,
    source: String,
    event_id: String,
    content_type: Option<String>,
    headers: String,
    received_at: i64,
    body: Vec<u8>,
}

impl ConflictColumns {
    /// Returns the conflict as an event, or the fault of the row.
    pub(super) fn into_event(self, window: Duration) -> Result<NewEvent, String> {
        let in_words = |error: diesel::result::Error| error.to_string();
        let key_of_event = key(&self.key).map_err(in_words)?;
        let digest = digest(&self.digest).map_err(in_words)?;
        Ok(NewEvent {
            key: key_of_event,
            message: MessageKey::of(&key_of_event),
            // Of another class none is kept.
            class: IdClass::Signed,
            bytes_key: None,
            drop_same_bytes: None,
            replay: None,
            marks: Marks::default(),
            digest: BodyDigest::from_bytes(digest),
            source: SourceName::parse(&self.source)?,
            event_id: EventId::new(&self.event_id),
            event_type: None,
            content_type: self.content_type.map(Into::into),
            headers: serde_json::from_str(&self.headers).map_err(|error| error.to_string())?,
            body: self.body.into(),
            received_at: UnixMillis(self.received_at),
            verified_by: None,
            window,
            sinks: None,
        })
    }
}

impl KnownKeys {
    /// Completes an event that was read. Its window is what is left of it at `now`.
    pub(super) fn tell(self, event: &mut NewEvent, now: i64) -> QueryResult<()> {
        event.key = key(&self.key)?;
        event.bytes_key = self.guard.as_deref().map(key).transpose()?;
        event.replay = self.replay.as_deref().map(key).transpose()?;
        event.digest = BodyDigest::from_bytes(*key(&self.digest)?.as_bytes());
        event.class = class_of(self.id_class);
        event.drop_same_bytes = self
            .drop_same_bytes
            .map(|span| Duration::from_millis(span.unsigned_abs()));
        event.window =
            Duration::from_millis(u64::try_from(self.expires_at.saturating_sub(now)).unwrap_or(0));
        Ok(())
    }
}

/// Size of what waits in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolUsage {
    /// Events, with those that conflict.
    pub events: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl SpoolFile {
    /// See [`Intake::insert`].
    pub fn insert(&self, batch: &[Arc<NewEvent>]) -> Result<Vec<Inserted>, StoreError> {
        self.0
            .insert(InstanceId::from_bytes(OWNER), &Sinks::default(), batch)
    }

    /// Returns the events that came first, at most `room`, with everything that an insert into the
    /// store needs. A first event larger than `room.bytes` is returned alone.
    pub fn oldest(&self, room: Room) -> Result<Vec<StoredEvent>, StoreError> {
        let now = wall_clock().0;
        self.0.read(|connection| {
            let rows = outbox::table
                .inner_join(dedup::table.on(dedup::seq.eq(outbox::seq)))
                .order(outbox::seq)
                .limit(i64::try_from(room.events).unwrap_or(i64::MAX))
                .select((outbox::seq, outbox::bytes, KnownKeys::as_select()))
                .load::<(i64, i32, KnownKeys)>(connection)?;
            let (mut events, mut bytes) = (Vec::new(), 0);
            for (seq, size, known) in rows {
                bytes += usize::try_from(size).unwrap_or(0);
                if bytes > room.bytes && !events.is_empty() {
                    break;
                }
                match load_event(connection, seq)?.map(|row| row.into_stored(0)) {
                    Some(Ok(mut stored)) => {
                        known.tell(Arc::make_mut(&mut stored.event), now)?;
                        events.push(stored);
                    }
                    Some(Err(error)) => tracing::error!(%error, "a spooled event cannot be read; it stays in the spool"),
                    None => {}
                }
            }
            Ok(events)
        })
    }

    /// Deletes events that have reached the store.
    pub fn drained(&self, events: &[Seq]) -> Result<(), StoreError> {
        self.0.write(|connection| {
            for run in runs(events) {
                let (first, last) = run.into_inner();
                diesel::delete(outbox::table.filter(outbox::seq.between(first, last)))
                    .execute(connection)?;
                diesel::delete(event::table.filter(event::seq.between(first, last)))
                    .execute(connection)?;
                diesel::delete(dedup::table.filter(dedup::seq.between(first, last)))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    /// Changes marks that name one of these messages: they name the message that the store knows as
    /// the first.
    pub fn rename_firsts(&self, firsts: &[(MessageId, Mark)]) -> Result<(), StoreError> {
        self.0.write(|connection| {
            for (spooled, mark) in firsts {
                let spooled = &spooled.as_bytes()[..];
                match mark {
                    Mark::ConflictOf(first) => {
                        diesel::update(event::table.filter(event::conflict_of.eq(spooled)))
                            .set(event::conflict_of.eq(&first.as_bytes()[..]))
                            .execute(connection)?
                    }
                    Mark::SameBytesAs(first) => {
                        diesel::update(event::table.filter(event::same_bytes_as.eq(spooled)))
                            .set(event::same_bytes_as.eq(&first.as_bytes()[..]))
                            .execute(connection)?
                    }
                };
            }
            Ok(())
        })
    }

    /// Parks an event that the store refuses, with the reason. It stays in the file.
    pub fn park(&self, event: Seq, reason: &str) -> Result<(), StoreError> {
        self.0.park(&SinkName::default(), event, reason)
    }

    /// See [`Catalog::parked`].
    pub fn parked(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.0.parked(&SinkName::default(), after, limit)
    }

    /// See [`Catalog::parked_event`].
    pub fn parked_event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError> {
        self.0.parked_event(row)
    }

    /// Puts these parked rows back, to be moved into the store by the drain. Returns the number of rows that were parked.
    pub fn retry_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.0.retry(&SinkName::default(), rows, true)
    }

    /// Deletes these parked rows, with their keys: a redelivery is an event. Returns the number of rows that were parked.
    pub fn discard_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.0.discard_with_keys(rows)
    }

    /// Returns the number of parked rows.
    pub fn parked_rows(&self) -> Result<u64, StoreError> {
        self.0.read(|connection| {
            parked::table
                .count()
                .get_result::<i64>(connection)
                .map(i64::unsigned_abs)
        })
    }

    /// Returns another body that came under a spooled key, once the event with that key has reached
    /// the store. The store has to keep it too. `window` is for a store that does not know the key.
    /// One at a time: they are rare, and may be large.
    pub fn conflict(&self, window: Duration) -> Result<Option<NewEvent>, StoreError> {
        let found = self.0.read(|connection| {
            conflict::table
                .filter(not(exists(
                    dedup::table.filter(dedup::key.eq(conflict::key)),
                )))
                .order(conflict::at)
                .select(ConflictColumns::as_select())
                .first(connection)
                .optional()
        })?;
        found
            .map(|columns| columns.into_event(window))
            .transpose()
            .map_err(|what| {
                StoreError::Unavailable(format!("a spooled conflict cannot be read: {what}"))
            })
    }

    /// Deletes a conflict that has reached the store.
    pub fn conflict_drained(&self, event: &NewEvent) -> Result<(), StoreError> {
        let row = conflict::table.find((&event.key.as_bytes()[..], &event.digest.as_bytes()[..]));
        self.0
            .write(|connection| diesel::delete(row).execute(connection).map(drop))
    }

    /// Measures what waits.
    pub fn usage(&self) -> Result<SpoolUsage, StoreError> {
        self.0.read(|connection| {
            let (rows, bytes) = outbox::table
                .select((count_star(), sum(outbox::bytes)))
                .first::<(i64, Option<i64>)>(connection)?;
            let conflicts = conflict::table
                .select((
                    count_star(),
                    sql::<BigInt>("coalesce(sum(length(body)), 0)"),
                ))
                .first::<(i64, i64)>(connection)?;
            Ok(SpoolUsage {
                events: (rows + conflicts.0).unsigned_abs(),
                bytes: (bytes.unwrap_or_default() + conflicts.1).unsigned_abs(),
            })
        })
    }

    /// Returns all keys of all events in the file.
    pub fn keys(&self) -> Result<Vec<DedupKey>, StoreError> {
        self.0.read(|connection| {
            let columns = (dedup::key, dedup::guard, dedup::replay);
            let rows = dedup::table
                .select(columns)
                .load::<(Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>)>(connection)?;
            let keys = rows
                .iter()
                .flat_map(|(first, guard, replay)| [Some(first), guard.as_ref(), replay.as_ref()]);
            keys.flatten().map(|bytes| key(bytes)).collect()
        })
    }
}
