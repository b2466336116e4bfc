//! Instances that share the store, each with its lease.

use serde::{Deserialize, Serialize};

use super::views::shown;
use super::{ApiProblem, Operator};
use crate::store::finder::InstanceLease;

/// Instances in a list, at most.
const LISTED: usize = 100;

/// Instances that share the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceList {
    /// The instances, the latest lease first, 100 at most.
    pub instances: Vec<InstanceView>,
}

/// An instance with its lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceView {
    /// Its id.
    pub instance: String,
    /// True for the instance that answers.
    pub here: bool,
    /// True while its lease lasts, by the clock of the store.
    pub alive: bool,
    /// End of its lease. Other instances take over its rows of the outbox then.
    pub lease_until: String,
}

impl Operator {
    /// Returns the instances that have a lease, or had one and did not end it.
    pub fn instances(&self) -> Result<InstanceList, ApiProblem> {
        let leases = self.archive.store()?.leases(LISTED)?;
        let view = |lease: InstanceLease| InstanceView {
            instance: lease.owner.to_string(),
            here: lease.owner == self.instance,
            alive: lease.alive,
            lease_until: shown(lease.until),
        };
        Ok(InstanceList {
            instances: leases.into_iter().map(view).collect(),
        })
    }
}
