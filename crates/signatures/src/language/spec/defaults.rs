//! Values of keys that are left out.

use crate::crypto::mac::HashName;

pub(super) fn sha256() -> HashName {
    HashName::Sha256
}

pub(super) fn post() -> Vec<String> {
    vec!["POST".into()]
}

pub(super) fn yes() -> bool {
    true
}
