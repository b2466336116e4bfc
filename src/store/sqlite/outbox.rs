//! The role [`Outbox`] in SQLite.

use std::time::Duration;

use diesel::prelude::*;

use super::claims::{self, confirm};
use super::schema::{dedup, event, outbox, parked};
use super::{SqliteStore, length, load_event, now, upkeep};
use crate::domain::delivery::{InstanceId, MessageKey};
use crate::store::claim::Choice;
use crate::store::row::millis;
use crate::store::{Outbox, Room, Seq, StoreError, StoredEvent};

impl Outbox for SqliteStore {
    fn claim(
        &self,
        owner: InstanceId,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let now = now();
        let look = upkeep::Look {
            owner,
            now,
            lease: self.lease,
        };
        if self.read(|connection| upkeep::has_lost_rows(connection, look))? {
            self.write(|connection| upkeep::take_over(connection, look, room.events))?;
        }
        self.read(|connection| {
            let mut choice = Choice::new(room, skip);
            claims::offer(connection, owner, now, self.longest_retry, &mut choice)?;
            let mut rows = Vec::new();
            for seq in choice.seqs() {
                // It may have been confirmed in between.
                rows.extend(load_event(connection, seq)?);
            }
            Ok(choice.stored(rows))
        })
    }

    fn confirmed(&self, rows: &[Seq]) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| confirm(connection, rows, now))
    }

    fn postpone(&self, rows: &[Seq], delay: Duration) -> Result<(), StoreError> {
        let due_at = now().saturating_add(millis(delay));
        self.write(|connection| {
            for Seq(seq) in rows {
                diesel::update(outbox::table.find(seq))
                    .set((
                        outbox::attempts.eq(outbox::attempts + 1),
                        outbox::due_at.eq(due_at),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn park(&self, row: Seq, reason: &str) -> Result<(), StoreError> {
        let now = now();
        self.write(|connection| {
            if diesel::delete(outbox::table.find(row.0)).execute(connection)? == 1 {
                diesel::insert_into(parked::table)
                    .values((
                        parked::seq.eq(row.0),
                        parked::reason.eq(reason),
                        parked::at.eq(now),
                    ))
                    .execute(connection)?;
            }
            Ok(())
        })
    }

    fn retry_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.retry(rows, false)
    }

    fn discard_parked(&self, rows: &[Seq]) -> Result<u64, StoreError> {
        self.discard(rows, false)
    }
}

impl SqliteStore {
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
