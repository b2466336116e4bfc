//! Roles of the store. A caller asks for the role that it uses.
//!
//! All times are the database's own clock.

use std::sync::Arc;
use std::time::Duration;

use super::{
    Backlog, FetchedKey, Inserted, Learned, LearnedSecret, NewEvent, Parked, Retention, Room, Seq,
    StoreError, StoredEvent,
};
use crate::config::secret::Secret;
use crate::domain::delivery::{InstanceId, MessageKey, SourceName};

/// Storage of new events. Dedup's writers and the spool's drain use it.
pub trait Intake: Send + Sync + 'static {
    /// Returns the number of writer threads this store can use, at most `configured`.
    fn writers(&self, configured: usize) -> usize {
        configured
    }

    /// Stores `batch` in one transaction: for each new key, the key, the event and an outbox row
    /// owned by `owner`. `Ok` means that the batch is on disk.
    ///
    /// The batch holds no key twice and is sorted by key. Returns an entry for each event, in order.
    /// If a key is past its window and its next event is another message, the key is new. Any other
    /// key is known until it was deleted.
    fn insert(
        &self,
        owner: InstanceId,
        batch: &[Arc<NewEvent>],
    ) -> Result<Vec<Inserted>, StoreError>;

    /// Inserts `batch` and removes the confirmed `rows` from the outbox in one transaction. Returns
    /// `false` if the rows were not removed; confirm them again then, and after an error.
    fn insert_and_confirm(
        &self,
        owner: InstanceId,
        batch: &[Arc<NewEvent>],
        _rows: &[Seq],
    ) -> Result<(Vec<Inserted>, bool), StoreError> {
        Ok((self.insert(owner, batch)?, false))
    }

    /// Returns `true` for each of `rows` whose event waits in the outbox, in order.
    fn waiting(&self, rows: &[Seq]) -> Result<Vec<bool>, StoreError>;
}

/// Rows that wait for the sink: claimed, confirmed, postponed, parked (dead letters). The relay and
/// the confirm writer use it.
pub trait Outbox: Send + Sync + 'static {
    /// Returns due rows of `owner`, the longest due first, at most `room`. Takes over rows of
    /// instances without a live lease first, if `owner` has a live one.
    ///
    /// Rows for which `skip` returns `true` are in memory, and are left out. A first row larger than
    /// `room.bytes` is returned alone. A row that is due later than the longest retry from now is
    /// due, and a lease that ends later than it was taken for is over: the clock was ahead then.
    fn claim(
        &self,
        owner: InstanceId,
        room: Room,
        skip: &dyn Fn(&MessageKey) -> bool,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Removes rows from the outbox after the sink has confirmed them. Rows that are gone already are
    /// ignored, here and below.
    fn confirmed(&self, rows: &[Seq]) -> Result<(), StoreError>;

    /// Counts one more attempt of `rows`, and makes them due after `delay`.
    fn postpone(&self, rows: &[Seq], delay: Duration) -> Result<(), StoreError>;

    /// Moves a row that can never be published from the outbox to `parked`, with the reason.
    fn park(&self, row: Seq, reason: &str) -> Result<(), StoreError>;

    /// Moves parked rows back to the outbox, due now, under the same message ids. Returns the number
    /// of rows that were parked.
    fn retry_parked(&self, rows: &[Seq]) -> Result<u64, StoreError>;

    /// Deletes parked rows and their events. Their keys stay, so that a redelivery is a duplicate.
    /// Returns the number of rows that were parked.
    fn discard_parked(&self, rows: &[Seq]) -> Result<u64, StoreError>;
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

    /// Deletes at most `limit` each of expired keys, of published events and of conflicts past their
    /// retention. Returns the number of deleted rows.
    ///
    /// A key whose event waits in the outbox or is parked stays. While the clock is implausible
    /// (`clock.rs`), nothing is deleted; afterwards times that lie too far ahead are cut.
    fn prune(&self, retention: Retention, limit: usize) -> Result<u64, StoreError>;

    /// Measures the rows that wait.
    fn backlog(&self) -> Result<Backlog, StoreError>;
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

/// Read-only view of stored events, for operators.
pub trait Catalog: Send + Sync + 'static {
    /// Returns parked events with a number above `after`, in order of their numbers, at most `limit`.
    fn parked(&self, after: Seq, limit: usize) -> Result<Vec<Parked>, StoreError>;

    /// Returns a parked event. None if `row` is not parked.
    fn parked_event(&self, row: Seq) -> Result<Option<StoredEvent>, StoreError>;
}

/// Every role of one store.
pub trait Store: Intake + Outbox + Housekeeping + Secrets + Catalog {}

impl<T: Intake + Outbox + Housekeeping + Secrets + Catalog> Store for T {}
