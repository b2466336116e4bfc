//! Secrets, which no log and no error shows.

use std::fmt;

/// Bytes of a secret. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Box<[u8]>,
    read: bool,
}

impl Secret {
    /// Returns a secret with these bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            read: true,
        }
    }

    /// Returns a placeholder for a secret that could not be read. It has no bytes, and verifies
    /// nothing.
    pub fn unread() -> Self {
        Self {
            bytes: Box::default(),
            read: false,
        }
    }

    /// Returns `true` if the secret is a placeholder for one that could not be read.
    #[inline]
    pub fn is_unread(&self) -> bool {
        !self.read
    }

    /// Returns the bytes of the secret.
    #[inline]
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}
