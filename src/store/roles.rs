//! Roles of the store. A caller asks for the role that it uses.
//!
//! All times are the database's own clock.

use std::sync::Arc;
use std::time::Duration;

use super::audit::{AuditEntry, AuditRow};
use super::catalog::{
    ConflictPlace, ConflictSummary, EventName, EventPage, EventQuery, EventSummary,
};
use super::cursor::{EventPosition, Followed};
use super::finder::Finder;
use super::quarantine::{
    NewRefused, RefusedBounds, RefusedDelivery, RefusedPlace, RefusedQuery, RefusedSummary,
    RefusedUsage,
};
use super::republish::{Choice, Job, JobId, NewJob, NextEvents, Stepped};
use super::trace::{EventTrace, Traced};
use super::{
    Backlog, Confirms, FetchedKey, FromKey, InMemory, Inserted, Learned, LearnedSecret, NewEvent,
    OrderedRows, Parked, Retention, Room, Seq, StoreError, StoreSize, StoredEvent, Surplus,
};
use crate::config::secret::Secret;
use crate::domain::delivery::{DedupKey, InstanceId, MessageKey, SourceName};
use crate::domain::pause::{Pause, PauseKind};
use crate::domain::sink::{SinkName, Sinks};

/// Storage of new events. Dedup's writers and the spool's drain use it.
pub trait Intake: Send + Sync + 'static {
    /// Returns the number of writer threads this store can use, at most `configured`.
    fn writers(&self, configured: usize) -> usize {
        configured
    }

    /// Stores `batch` in one transaction: for each new key, the key, the event and an outbox row for
    /// each of the `sinks` that want it, owned by `owner`. An event that none wants is kept as if it
    /// had been published now. `Ok` means that the batch is on disk.
    ///
    /// The batch holds no key twice and is sorted by key. Returns an entry for each event, in order.
    /// If a key is past its window and its next event is another message, the key is new. Any other
    /// key is known until it was deleted.
    fn insert(
        &self,
        owner: InstanceId,
        sinks: &Sinks,
        batch: &[Arc<NewEvent>],
    ) -> Result<Vec<Inserted>, StoreError>;

    /// Inserts `batch` and removes confirmed rows of a sink from the outbox in one transaction.
    /// Returns `false` if the rows were not removed; confirm them again then, and after an error.
    fn insert_and_confirm(
        &self,
        owner: InstanceId,
        sinks: &Sinks,
        batch: &[Arc<NewEvent>],
        confirms: Option<Confirms<'_>>,
    ) -> Result<(Vec<Inserted>, bool), StoreError>;

    /// Returns `true` for each of `rows` whose event waits for a sink, in order.
    fn waiting(&self, rows: &[Seq]) -> Result<Vec<bool>, StoreError>;
}

/// Rows that wait for a sink: claimed, confirmed, postponed, parked (dead letters). The relay and
/// the confirm writer of each sink use it. A call for one sink changes no row of another.
pub trait Outbox: Send + Sync + 'static {
    /// Returns due rows of `owner` for `sink`, the longest due first, at most `room`. Takes over the
    /// sink's rows of instances without a live lease first, if `owner` has a live one.
    ///
    /// Rows for which `skip` returns `true` are in memory, and are left out. A first row larger than
    /// `room.bytes` is returned alone. A row that is due later than the longest retry from now is
    /// due, and a lease that ends later than it was taken for is over: the clock was ahead then.
    fn claim(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Returns rows for an ordered `sink`: from the key after `from` on, of each key the first ones that
    /// are not in memory, in order of their numbers, at most `room`. A row that is not due, or that has a
    /// parked one of its key before it, ends its key.
    ///
    /// Rows of all instances are returned, but only to the instance that holds the sink. If no instance
    /// with a live lease holds it, `owner` does from now on, if it has a live one.
    fn claim_in_order(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        from: FromKey,
        in_memory: &dyn Fn(&MessageKey) -> InMemory,
    ) -> Result<OrderedRows, StoreError>;

    /// Does as [`Outbox::claim`] does, for rows of an ordered sink that have no key: they were stored
    /// before the sink was ordered, or moved to it.
    fn claim_without_order(
        &self,
        owner: InstanceId,
        sink: &SinkName,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Removes rows from the outbox after `sink` has confirmed them. Rows that are gone already are
    /// ignored, here and below.
    fn confirmed(&self, sink: &SinkName, rows: &[Seq]) -> Result<(), StoreError>;

    /// Counts one more attempt of `rows`, and makes them due after `delay`.
    fn postpone(&self, sink: &SinkName, rows: &[Seq], delay: Duration) -> Result<(), StoreError>;

    /// Moves a row that can never be published from the outbox to `parked`, with the reason.
    fn park(&self, sink: &SinkName, row: Seq, reason: &str) -> Result<(), StoreError>;

    /// Moves parked rows back to the outbox, due now, under the same message ids. Returns the number
    /// of rows that were parked.
    fn retry_parked(&self, sink: &SinkName, rows: &[Seq]) -> Result<u64, StoreError>;

    /// Deletes parked rows, and their events unless another sink has a row of them. Their keys stay,
    /// so that a redelivery is a duplicate. Returns the number of rows that were parked.
    fn discard_parked(&self, sink: &SinkName, rows: &[Seq]) -> Result<u64, StoreError>;

    /// Moves at most `limit` rows that wait for a sink to another one, due now, under the same
    /// message ids. Returns the number of rows; 0 means that none is left.
    ///
    /// For a sink that no instance publishes to any more: what is in flight there may be published
    /// twice. An event that waits for `to` already is not doubled.
    fn move_waiting(&self, from: &SinkName, to: &SinkName, limit: usize)
    -> Result<u64, StoreError>;

    /// Deletes at most `limit` rows that wait for a sink: the sink never gets them. Their events are
    /// kept like published ones. Returns the number of rows; 0 means that none is left.
    fn discard_waiting(&self, sink: &SinkName, limit: usize) -> Result<u64, StoreError>;
}

/// Preparation and upkeep: schema, lease, retention, backlog. The [keeper](super::keeper) uses it.
pub trait Housekeeping: Send + Sync + 'static {
    /// Applies missing migrations, or checks that none is missing, and checks that commits are
    /// durable. Until it has succeeded once, [`Intake::insert`] fails with
    /// [`StoreError::Unavailable`].
    fn prepare(&self) -> Result<(), StoreError>;

    /// Checks that events can still be stored: rights can be revoked, a server made read-only, a
    /// database file deleted while in use. The error says what to do.
    fn still_fit(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Fails with [`StoreError::Unfit`] if a move has closed the store, or has not filled it yet.
    fn refuse_moved(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Locks the store for this process until it ends, if only one may serve from it (SQLite). Fails
    /// with [`StoreError::Unfit`] if another process holds it.
    fn hold(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Brings committed data into the form in which it is best copied. Last call of an orderly stop:
    /// nothing is stored afterwards.
    fn close(&self) {}

    /// Renews the lease of `owner`, for another `lease`.
    fn renew_lease(&self, owner: InstanceId, lease: Duration) -> Result<(), StoreError>;

    /// Ends the lease of `owner`, so that other instances can take over its rows at once.
    fn release(&self, owner: InstanceId) -> Result<(), StoreError>;

    /// Deletes at most `limit` each of expired keys, of published events, conflicts and refused deliveries
    /// past their retention. Returns the number of deleted rows.
    ///
    /// A key or event stays while a sink has a row of the event, waiting or parked. While the clock is implausible
    /// (`clock.rs`), nothing is deleted; afterwards times that lie too far ahead are cut.
    fn prune(&self, retention: Retention, limit: usize) -> Result<u64, StoreError>;

    /// Measures the store: its bytes, and the age of its oldest published event.
    fn size(&self) -> Result<StoreSize, StoreError>;

    /// Deletes at most `limit` published events before their time, the oldest first. Does nothing if another
    /// instance does it: the one with the lowest id of those with a live lease. Returns the number of events.
    ///
    /// An event stays while a sink has a row of it, waiting or parked. Keys stay, so that a redelivery is a duplicate.
    fn delete_oldest(&self, owner: InstanceId, limit: usize) -> Result<u64, StoreError>;

    /// Deletes the oldest conflicts until `above.bytes` are gone, at most `above.rows`, likewise. Returns those that went.
    fn shrink_conflicts(&self, owner: InstanceId, above: Surplus) -> Result<Surplus, StoreError>;

    /// Measures the rows of each sink that has some, waiting or parked, in order of their names. A
    /// sink that was taken out of the configuration is among them until its rows are gone.
    fn backlog(&self) -> Result<Vec<Backlog>, StoreError>;
}

/// Secrets that providers handed over, and keys that were fetched. The key services use it.
pub trait Secrets: Send + Sync + 'static {
    /// Stores the secret that the provider of `source` has handed over, if `source` has none. After
    /// one was forgotten, none is stored for [`RELEARN_AFTER`](super::RELEARN_AFTER).
    fn learn(&self, source: &SourceName, secret: &Secret) -> Result<Learned, StoreError>;

    /// Returns an entry for every source that has learned a secret, or had it forgotten.
    fn learned(&self) -> Result<Vec<LearnedSecret>, StoreError>;

    /// Forgets the secret of `source`. Returns `false` if there is none.
    fn forget(&self, source: &SourceName) -> Result<bool, StoreError>;

    /// Stores a key that was fetched now, in place of one of the same name. Keeps at most
    /// [`FETCHED_KEYS`](super::FETCHED_KEYS) of a source, for [`KEEP_FETCHED`](super::KEEP_FETCHED).
    fn keep_fetched(&self, key: &FetchedKey) -> Result<(), StoreError>;

    /// Returns the keys that were fetched, by any instance.
    fn fetched(&self) -> Result<Vec<FetchedKey>, StoreError>;
}

/// Read-only view of stored events, for operators. Each call reads a bounded number of rows, by number
/// or by key. Use a store of its own for it, with a short `statement_timeout`: looking must not slow
/// the service down.
pub trait Catalog: Send + Sync + 'static {
    /// Returns events that are parked for `sink`, with a number above `after`, in order of their
    /// numbers, at most `limit`.
    fn parked(&self, sink: &SinkName, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError>;

    /// Returns events that fit the question, the newest first, and the place to go on from.
    fn events(&self, query: &EventQuery) -> Result<EventPage, StoreError>;

    /// Returns the number of the event with this name. None if the store does not know the name; the
    /// event itself may be gone.
    fn number_of(&self, name: EventName) -> Result<Option<Seq>, StoreError>;

    /// Returns an event with its headers and body. None if it is gone.
    fn event(&self, seq: Seq) -> Result<Option<(EventSummary, StoredEvent)>, StoreError>;

    /// Returns the rows of an event at its sinks, and its confirms.
    fn trace(&self, event: Traced) -> Result<EventTrace, StoreError>;

    /// Returns other bodies that came under known keys, the newest first, from `after` on, at most
    /// `limit`.
    fn conflicts(
        &self,
        after: Option<ConflictPlace>,
        limit: usize,
    ) -> Result<Vec<ConflictSummary>, StoreError>;

    /// Returns a conflict as an event of its own: with its body and a message id of its own, marked with
    /// the first one, without a type. None if it is gone.
    fn conflict(&self, place: &ConflictPlace) -> Result<Option<NewEvent>, StoreError>;

    /// Returns the body of a conflict. None if it is gone.
    fn conflict_body(&self, place: &ConflictPlace) -> Result<Option<Vec<u8>>, StoreError>;

    /// Returns an event that is parked for any sink. None if `row` is not parked.
    fn parked_event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError>;
}

/// Reading of events in one order, without gaps. The admin API uses it.
pub trait Cursor: Send + Sync + 'static {
    /// Returns the next events after a position that fit the question, the oldest first, at most
    /// `query.limit` out of [`LOOK`](super::catalog::LOOK). Nothing ever appears behind the place to go
    /// on from.
    fn events_after(
        &self,
        query: &EventQuery,
        after: EventPosition,
    ) -> Result<Followed, StoreError>;
}

/// Record of what operators did. The admin API uses it.
pub trait Audit: Send + Sync + 'static {
    /// Stores an entry, with the time.
    fn record(&self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// Returns entries, the newest first, at most `limit`: those before the entry with an id, or the last
    /// ones.
    fn recorded(&self, before: Option<[u8; 16]>, limit: usize)
    -> Result<Vec<AuditRow>, StoreError>;
}

/// Jobs that put stored events into the outbox again. The admin API begins and cancels them, the job
/// runner of any instance moves them on.
pub trait Republish: Send + Sync + 'static {
    /// Stores a job with its entry in the record. Does nothing if a job has this id.
    fn begin_job(&self, job: &NewJob, entry: &AuditEntry) -> Result<(), StoreError>;

    /// Cancels a job, with an entry in the record. What it has put into the outbox stays there. Returns
    /// `false` if no such job runs.
    fn cancel_job(&self, id: JobId, entry: &AuditEntry) -> Result<bool, StoreError>;

    /// Returns jobs, the newest first, at most `limit`.
    fn jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Returns jobs that run, the oldest first, at most `limit`.
    fn running_jobs(&self, limit: usize) -> Result<Vec<Job>, StoreError>;

    /// Returns a job.
    fn job(&self, id: JobId) -> Result<Option<Job>, StoreError>;

    /// Returns the next events of a choice with a number above `after`, the oldest first, at most
    /// `limit` out of [`LOOK`](super::catalog::LOOK).
    fn next_of(&self, choice: &Choice, after: Seq, limit: usize) -> Result<NextEvents, StoreError>;

    /// Makes the next step of a job if it is due: puts the next events of `choice` into the outbox, due
    /// now, for each of the `sinks` that want them, under the same message ids. An event that waits for a
    /// sink, or is parked there, stays as it is. An event that was deleted meanwhile is left out.
    fn step(&self, id: JobId, choice: &Choice, sinks: &Sinks) -> Result<Stepped, StoreError>;
}

/// Pauses of sources and sinks, for all instances. The keeper reads them, the admin API changes them.
pub trait PauseStore: Send + Sync + 'static {
    /// Returns everything that is paused.
    fn paused(&self) -> Result<Vec<Pause>, StoreError>;

    /// Pauses a source or sink, with an entry in the record. Returns `false` if it is paused already.
    fn pause(&self, pause: &Pause, entry: &AuditEntry) -> Result<bool, StoreError>;

    /// Ends a pause, with an entry in the record. Returns `false` if there is none.
    fn resume(&self, kind: PauseKind, name: &str, entry: &AuditEntry) -> Result<bool, StoreError>;
}

/// Decisions of an operator. Each has its entry in the record, in the same transaction, with the number of
/// rows that were changed. Without a change there is no entry.
pub trait Decisions: Send + Sync + 'static {
    /// Does as [`Outbox::retry_parked`] does.
    fn put_back(
        &self,
        sink: &SinkName,
        rows: &[Seq],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError>;

    /// Does as [`Outbox::discard_parked`] does.
    fn give_up(&self, sink: &SinkName, rows: &[Seq], entry: &AuditEntry)
    -> Result<u64, StoreError>;

    /// Deletes events with their bodies and headers, what waits or is parked of them, and other bodies that
    /// came under `keys`. Their keys stay: a redelivery is a duplicate. Returns the number of events
    /// that were there.
    fn erase(&self, rows: &[Seq], keys: &[DedupKey], entry: &AuditEntry)
    -> Result<u64, StoreError>;

    /// Deletes conflicts. Returns the number of those that were there.
    fn discard_conflicts(
        &self,
        places: &[ConflictPlace],
        entry: &AuditEntry,
    ) -> Result<u64, StoreError>;
}

/// Deliveries that were refused for good. The quarantine keeps them, the admin API reads and deletes them.
pub trait QuarantineStore: Send + Sync + 'static {
    /// Stores refused deliveries in one transaction. A repetition after an unknown outcome may store them
    /// twice.
    fn keep_refused(&self, batch: &[NewRefused]) -> Result<(), StoreError>;

    /// Deletes the oldest refused deliveries of a source beyond its bounds, at most `limit`. Returns their
    /// number.
    fn evict_refused(
        &self,
        source: &str,
        bounds: RefusedBounds,
        limit: usize,
    ) -> Result<u64, StoreError>;

    /// Returns the number and bytes of refused deliveries of each source that has some.
    fn refused_usage(&self) -> Result<Vec<RefusedUsage>, StoreError>;

    /// Returns refused deliveries from a place on that fit the question, at most `limit`.
    fn refused(
        &self,
        query: &RefusedQuery,
        place: RefusedPlace,
        limit: usize,
    ) -> Result<Vec<RefusedSummary>, StoreError>;

    /// Returns a refused delivery with its headers and body. None if it is gone.
    fn refused_delivery(&self, number: i64) -> Result<Option<RefusedDelivery>, StoreError>;

    /// Deletes refused deliveries, with an entry in the record. Returns the number of those that were
    /// there.
    fn discard_refused(&self, numbers: &[i64], entry: &AuditEntry) -> Result<u64, StoreError>;

    /// Does work while no other instance verifies refused deliveries. Returns `false` if one does: nothing was done.
    fn verify_alone(&self, work: &mut dyn FnMut()) -> Result<bool, StoreError>;
}

/// Roles that the admin API uses, with connections of its own.
pub trait OperatorStore:
    Catalog + Cursor + Finder + Audit + Republish + Decisions + PauseStore + QuarantineStore
{
}

impl<T: Catalog + Cursor + Finder + Audit + Republish + Decisions + PauseStore + QuarantineStore>
    OperatorStore for T
{
}

/// Every role of one store.
pub trait Store: Intake + Outbox + Housekeeping + Secrets + OperatorStore {}

impl<T: Intake + Outbox + Housekeeping + Secrets + OperatorStore> Store for T {}
