//! Erasure in the spool's file.

use std::sync::Arc;
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel::prelude::*;

use super::schema::{conflict, dedup, event, outbox, parked};
use super::spool::{ConflictColumns, KnownKeys, SpoolFile};
use super::{checkpoint, load_event};
use crate::domain::delivery::wall_clock;
use crate::store::{NewEvent, Seq, StoreError, StoredEvent};

/// Other bodies that are looked at, at most.
const MOST_OTHERS: usize = 1000;
/// Live bytes of a file that is written anew to overwrite its free space, at most: deliveries wait meanwhile.
const REWRITTEN_BYTES: u64 = 64 * 1024 * 1024;

impl SpoolFile {
    /// Returns the numbers of events above `after`, waiting or parked, in order, at most `limit`.
    pub fn numbers(&self, after: Seq, limit: usize) -> Result<Vec<Seq>, StoreError> {
        self.0.read(|connection| {
            let numbers = event::table
                .filter(event::seq.gt(after.0))
                .order(event::seq)
                .limit(i64::try_from(limit).unwrap_or(i64::MAX))
                .select(event::seq)
                .load::<i64>(connection)?;
            Ok(numbers.into_iter().map(Seq).collect())
        })
    }

    /// Returns an event with everything that an insert into the store needs. None if it is gone.
    pub fn event(&self, Seq(number): Seq) -> Result<Option<StoredEvent>, StoreError> {
        let now = wall_clock().0;
        self.0.read(|connection| {
            let known = dedup::table
                .filter(dedup::seq.eq(number))
                .select(KnownKeys::as_select())
                .first(connection)
                .optional()?;
            let row = load_event(connection, number)?.map(|row| row.into_stored(0));
            let (Some(known), Some(Ok(mut stored))) = (known, row) else {
                return Ok(None);
            };
            known.tell(Arc::make_mut(&mut stored.event), now)?;
            Ok(Some(stored))
        })
    }

    /// Returns other bodies that came under known keys and are chosen.
    pub fn others(
        &self,
        chooses: &dyn Fn(&NewEvent) -> bool,
    ) -> Result<Vec<Arc<NewEvent>>, StoreError> {
        let keys = self.0.read(|connection| {
            conflict::table
                .select((conflict::key, conflict::digest))
                .limit(MOST_OTHERS as i64 + 1)
                .load::<(Vec<u8>, Vec<u8>)>(connection)
        })?;
        if keys.len() > MOST_OTHERS {
            return Err(StoreError::Unavailable(format!(
                "more than {MOST_OTHERS} other bodies wait in the spool: erase again once the store has taken them"
            )));
        }
        let mut chosen = Vec::new();
        for (key, digest) in keys {
            let found = self.0.read(|connection| {
                conflict::table
                    .find((key, digest))
                    .select(ConflictColumns::as_select())
                    .first(connection)
                    .optional()
            })?;
            if let Some(Ok(event)) = found.map(|columns| columns.into_event(Duration::ZERO))
                && chooses(&event)
            {
                chosen.push(Arc::new(event));
            }
        }
        Ok(chosen)
    }

    /// Deletes events with their keys, and other bodies.
    pub fn erase(
        &self,
        events: &[(Seq, Arc<NewEvent>)],
        others: &[Arc<NewEvent>],
    ) -> Result<(), StoreError> {
        self.0.write(|connection| {
            connection.batch_execute("PRAGMA secure_delete = ON")?;
            let erased = delete(connection, events, others);
            // The drain deletes on this connection, too, and would pay for it.
            connection.batch_execute("PRAGMA secure_delete = OFF")?;
            erased
        })
    }

    /// Overwrites the free space of the file, which has bodies of events that have left. A large file is left
    /// as it is.
    pub fn wipe_free_space(&self) -> Result<(), StoreError> {
        let live = self.usage()?.bytes;
        let mut connection = self.0.writer.get()?;
        if live <= REWRITTEN_BYTES {
            let written = connection.batch_execute("VACUUM");
            written.map_err(|error| self.0.failed(&error))?;
        } else {
            tracing::warn!(
                "the spool has {live} bytes, too many to write the file anew: its free space may hold parts of what was erased. Deliveries go on. Erase again once the spool has drained"
            );
        }
        checkpoint::fold(&mut connection);
        Ok(())
    }
}

fn delete(
    connection: &mut SqliteConnection,
    events: &[(Seq, Arc<NewEvent>)],
    others: &[Arc<NewEvent>],
) -> QueryResult<()> {
    for (Seq(number), of) in events {
        diesel::delete(outbox::table.filter(outbox::seq.eq(number))).execute(connection)?;
        diesel::delete(parked::table.filter(parked::seq.eq(number))).execute(connection)?;
        diesel::delete(event::table.filter(event::seq.eq(number))).execute(connection)?;
        diesel::delete(dedup::table.filter(dedup::seq.eq(number))).execute(connection)?;
        let of_key = conflict::table.filter(conflict::key.eq(&of.key.as_bytes()[..]));
        diesel::delete(of_key).execute(connection)?;
    }
    for of in others {
        let row = conflict::table.find((&of.key.as_bytes()[..], &of.digest.as_bytes()[..]));
        diesel::delete(row).execute(connection)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use diesel::sql_types::Integer;

    use super::*;
    use crate::domain::delivery::{
        BodyDigest, DedupKey, EventId, IdClass, Marks, MessageKey, SourceName, UnixMillis,
    };

    #[derive(QueryableByName)]
    struct Setting {
        #[diesel(sql_type = Integer)]
        secure_delete: i32,
    }

    fn event() -> NewEvent {
        let source = SourceName::parse("stripe").expect("a name");
        let (key, body) = (
            DedupKey::new(&source, "id", &[b"evt_1"]),
            Bytes::from_static(b"{}"),
        );
        NewEvent {
            key,
            message: MessageKey::of(&key),
            class: IdClass::Signed,
            bytes_key: None,
            drop_same_bytes: None,
            replay: None,
            digest: BodyDigest::of(&body),
            marks: Marks::default(),
            source,
            event_id: EventId::new("evt_1"),
            event_type: None,
            content_type: None,
            headers: Vec::new(),
            body,
            received_at: UnixMillis(1),
            verified_by: None,
            window: Duration::from_secs(60),
            sinks: None,
        }
    }

    #[test]
    fn deletions_of_the_drain_overwrite_nothing_after_an_erasure_that_worked_or_failed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = SpoolFile::open(&folder.path().join("spool.db"), true).expect("a spool");
        let event = Arc::new(event());
        file.insert(std::slice::from_ref(&event)).expect("stored");
        let number = file.numbers(Seq(0), 1).expect("read")[0];
        let run = |sql: &str| {
            let mut connection = file.0.writer.get().expect("a connection");
            connection.batch_execute(sql).expect("run");
        };
        let overwrites = || {
            let mut connection = file.0.writer.get().expect("a connection");
            let setting: Setting = diesel::sql_query("PRAGMA secure_delete")
                .get_result(&mut *connection)
                .expect("read");
            setting.secure_delete != 0
        };
        assert!(!overwrites());
        run(
            "CREATE TRIGGER refuse BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'refused'); END",
        );
        let failed = file.erase(&[(number, event.clone())], &[]);
        assert!(failed.is_err(), "{failed:?}");
        assert!(!overwrites(), "after an erasure that failed");
        assert_eq!(
            file.numbers(Seq(0), 9).expect("read"),
            [number],
            "it is undone"
        );
        run("DROP TRIGGER refuse");
        file.erase(&[(number, event)], &[]).expect("erased");
        assert!(!overwrites(), "after an erasure");
        assert_eq!(file.numbers(Seq(0), 9).expect("read"), []);
    }
}
