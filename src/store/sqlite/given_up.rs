//! Parked events: listed, put back into the outbox, discarded; in the store and in the spool.

use diesel::prelude::*;

use super::schema::{dedup, event, outbox, parked};
use super::{SqliteStore, load_event, now};
use crate::domain::delivery::{InstanceId, UnixMillis};
use crate::store::row::message_key;
use crate::store::{Parked, Seq, StoreError, StoredEvent};

#[diesel::declare_sql_function]
extern "SQL" {
    fn length(bytes: diesel::sql_types::Binary) -> diesel::sql_types::Integer;
}

type Row = (
    i64,
    String,
    i64,
    Vec<u8>,
    String,
    String,
    Option<String>,
    i32,
);

impl SqliteStore {
    pub(super) fn list_parked(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.read(|connection| {
            let rows = parked::table
                .inner_join(event::table.on(event::seq.eq(parked::seq)))
                .filter(parked::seq.gt(after.0))
                .order(parked::seq)
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .select((
                    parked::seq,
                    parked::reason,
                    parked::at,
                    event::key,
                    event::source,
                    event::event_id,
                    event::event_type,
                    length(event::body),
                ))
                .load::<Row>(connection)?;
            rows.into_iter()
                .map(
                    |(seq, reason, at, bytes_of_key, source, event_id, event_type, bytes)| {
                        Ok(Parked {
                            seq: Seq(seq),
                            message_id: message_key(&bytes_of_key)?.message_id(),
                            source,
                            event_id,
                            event_type,
                            bytes: bytes.unsigned_abs().into(),
                            reason,
                            at: UnixMillis(at),
                        })
                    },
                )
                .collect()
        })
    }

    pub(super) fn show_parked(&self, Seq(seq): Seq) -> Result<Option<StoredEvent>, StoreError> {
        let row = self.read(|connection| {
            let is_parked = diesel::select(diesel::dsl::exists(parked::table.find(seq)))
                .get_result(connection)?;
            if is_parked {
                load_event(connection, seq)
            } else {
                Ok(None)
            }
        })?;
        row.map(|row| row.into_stored(0))
            .transpose()
            .map_err(StoreError::Unavailable)
    }

    /// Back into the outbox of an instance that does not live: the next one to look takes them over. Where their window is counted from the
    /// outbox's time (the spool), that is the time at which they were parked.
    pub(super) fn retry(&self, rows: &[Seq], in_spool: bool) -> Result<u64, StoreError> {
        let (nobody, now) = (InstanceId::random(), now());
        self.write(|connection| {
            let mut moved = 0;
            for Seq(seq) in rows {
                let at = parked::table
                    .find(seq)
                    .select(parked::at)
                    .first::<i64>(connection)
                    .optional()?;
                let found = event::table
                    .find(seq)
                    .select((event::key, length(event::body)))
                    .first::<(Vec<u8>, i32)>(connection)
                    .optional()?;
                let (Some(at), Some((key, bytes))) = (at, found) else {
                    continue;
                };
                diesel::insert_into(outbox::table)
                    .values((
                        outbox::seq.eq(seq),
                        outbox::key.eq(key),
                        outbox::owner.eq(&nobody.as_bytes()[..]),
                        outbox::bytes.eq(bytes),
                        outbox::since.eq(if in_spool { at } else { now }),
                        outbox::due_at.eq(now),
                    ))
                    .on_conflict_do_nothing()
                    .execute(connection)?;
                moved += diesel::delete(parked::table.find(seq)).execute(connection)? as u64;
            }
            Ok(moved)
        })
    }

    /// With the key where nothing else knows it (the spool): a redelivery is an event then.
    pub(super) fn discard(&self, rows: &[Seq], with_key: bool) -> Result<u64, StoreError> {
        self.write(|connection| {
            let mut gone = 0;
            for Seq(seq) in rows {
                if diesel::delete(parked::table.find(seq)).execute(connection)? == 0 {
                    continue;
                }
                diesel::delete(event::table.find(seq)).execute(connection)?;
                if with_key {
                    diesel::delete(dedup::table.find(seq)).execute(connection)?;
                }
                gone += 1;
            }
            Ok(gone)
        })
    }
}
