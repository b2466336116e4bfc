//! Keys, MACs, signatures and certificates.

pub(crate) mod certificate;
pub(crate) mod jwk;
pub(crate) mod mac;
pub(crate) mod pasted;
pub(crate) mod public_key;
pub(crate) mod secret_key;
