//! The role [`Catalog`] in SQLite.

use diesel::prelude::*;

use super::schema::{event, parked};
use super::{SqliteStore, length, load_event};
use crate::domain::delivery::UnixMillis;
use crate::domain::sink::SinkName;
use crate::store::row::message_key;
use crate::store::{Catalog, Parked, Seq, StoreError, StoredEvent};

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

impl Catalog for SqliteStore {
    fn parked(&self, sink: &SinkName, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError> {
        self.read(|connection| {
            let rows = parked::table
                .inner_join(event::table.on(event::seq.eq(parked::seq)))
                .filter(parked::seq.gt(after.0))
                .filter(parked::sink.eq(sink.as_str()))
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
                            sink: sink.clone(),
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

    fn parked_event(&self, Seq(seq): Seq) -> Result<Option<StoredEvent>, StoreError> {
        let row = self.read(|connection| {
            let is_parked = diesel::select(diesel::dsl::exists(
                parked::table.filter(parked::seq.eq(seq)),
            ))
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
}
