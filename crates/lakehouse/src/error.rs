//! Errors of the lakehouse, by the reaction to them.

use thiserror::Error;

/// Error of the lakehouse.
#[derive(Debug, Error)]
pub enum LakeError {
    /// The lakehouse cannot be reached or written to now. Wait, open the table again, and repeat.
    #[error("{0}")]
    Away(String),
    /// The disk has less free space than stays free. Wait until there is more, and repeat.
    #[error("{0}")]
    NoRoom(String),
    /// The feed cannot be read or acked now. Wait, connect again, and repeat.
    #[error("{0}")]
    Feed(String),
    /// The table is not one that this release can write, or another program broke it.
    #[error("{0}")]
    Table(String),
}

#[cfg(feature = "table")]
impl LakeError {
    /// Returns a function that prefixes an error with `what` failed.
    pub(crate) fn away<E: std::fmt::Display>(what: &str) -> impl FnOnce(E) -> Self + '_ {
        move |error| Self::Away(format!("cannot {what}: {error}"))
    }
}

/// Result with a [`LakeError`].
pub type Result<T> = std::result::Result<T, LakeError>;
