//! Secrets: computed with, never shown.

use std::fmt;

/// A secret's bytes. Its `Debug` shows nothing of them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Box<[u8]>,
    read: bool,
}

impl Secret {
    /// A secret of these bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
            read: true,
        }
    }

    /// Placeholder for a secret that could not be read. It has no bytes, and no service starts with it.
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

    /// The bytes, for the one place that computes with them.
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
