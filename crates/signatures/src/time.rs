//! Time of the wall clock. This crate reads no clock: the time is an argument.

use std::time::Duration;

/// Time of the wall clock, in milliseconds since 1970 (UTC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// Returns the time that is `later` after this one.
    #[must_use]
    #[inline]
    pub fn plus(self, later: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(later.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}
