//! Further questions of an operator: a text in bodies, and the instances with their leases.

use diesel::sql_types::{BigInt, Binary, Bool};

use super::{Seq, StoreError};
use crate::domain::delivery::{InstanceId, UnixMillis};

/// Search in bodies, and leases. The admin API uses it. Each call reads a bounded number of rows.
pub trait Finder: Send + Sync + 'static {
    /// Returns the numbers of those of these events whose bodies have a text. Each body is read by the
    /// database: bound the sum of their sizes.
    fn with_text(&self, numbers: &[Seq], text: &[u8]) -> Result<Vec<Seq>, StoreError>;

    /// Returns leases, the one that lasts longest first, at most `limit`.
    fn leases(&self, limit: usize) -> Result<Vec<InstanceLease>, StoreError>;
}

/// Lease of an instance on its rows of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLease {
    /// Id of the instance.
    pub owner: InstanceId,
    /// Its end.
    pub until: UnixMillis,
    /// True while it lasts, by the clock of the store.
    pub alive: bool,
}

#[derive(diesel::QueryableByName)]
pub(super) struct NumberRow {
    #[diesel(sql_type = BigInt)]
    pub(super) seq: i64,
}

#[derive(diesel::QueryableByName)]
pub(super) struct LeaseRow {
    #[diesel(sql_type = Binary)]
    id: Vec<u8>,
    #[diesel(sql_type = BigInt)]
    until: i64,
    #[diesel(sql_type = Bool)]
    alive: bool,
}

impl LeaseRow {
    /// Returns the lease. None if its id is none of ours.
    pub(super) fn lease(self) -> Option<InstanceLease> {
        Some(InstanceLease {
            owner: InstanceId::from_bytes(self.id.try_into().ok()?),
            until: UnixMillis(self.until),
            alive: self.alive,
        })
    }
}
