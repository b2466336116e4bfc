//! Addresses that may send to a source.

use std::net::IpAddr;

use crate::config::model::{self, AllowFromMode};
use crate::domain::network::AllowedAddresses;

/// Rule of a source on the addresses of its senders.
#[derive(Debug)]
pub struct AddressRule {
    /// Empty allows all.
    allowed: Vec<AllowedAddresses>,
    mode: AllowFromMode,
}

/// Verdict on the address of a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressVerdict {
    /// It may send.
    Allowed,
    /// It may not, and is only counted.
    Observed,
    /// It may not.
    Refused,
}

impl AddressRule {
    /// Returns the rule of a source.
    pub fn new(source: &model::Source) -> Self {
        Self {
            allowed: source.allow_from.clone(),
            mode: source.allow_from_mode,
        }
    }

    /// Judges an address. One that is not known may not send, if not all may.
    pub fn judge(&self, client: Option<IpAddr>) -> AddressVerdict {
        let mut allowed = self.allowed.iter();
        let is_allowed = |ip| allowed.any(|of| of.contains(ip));
        if self.allowed.is_empty() || client.is_some_and(is_allowed) {
            return AddressVerdict::Allowed;
        }
        match self.mode {
            AllowFromMode::Observe => AddressVerdict::Observed,
            AllowFromMode::Refuse => AddressVerdict::Refused,
        }
    }
}
