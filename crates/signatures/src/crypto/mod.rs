//! Keys, MACs, signatures and certificates.

pub(crate) mod certificate;
pub(crate) mod jwk;
pub(crate) mod jws;
pub(crate) mod mac;
pub(crate) mod public_key;
