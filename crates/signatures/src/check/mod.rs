//! Checks: each proves one thing of a request, by a rule that was compiled before.

pub(crate) mod basic;
pub(crate) mod by;
pub(crate) mod claims;
pub(crate) mod equal;
pub(crate) mod event;
pub(crate) mod handshake;
pub(crate) mod hashes;
pub(crate) mod jwt;
pub(crate) mod message;
pub(crate) mod signature_list;
pub(crate) mod timestamp;
pub(crate) mod token_keys;
