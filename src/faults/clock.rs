//! Shift of this process's wall clock, set through the admin listener of a test build.

#[cfg(feature = "failpoints")]
static SHIFT_MS: std::sync::atomic::AtomicI64 = std::sync::atomic::AtomicI64::new(0);

/// Sets the wall clock of this process `ms` ahead.
#[cfg(feature = "failpoints")]
pub(crate) fn shift(ms: i64) {
    SHIFT_MS.store(ms, std::sync::atomic::Ordering::Relaxed);
}

/// Returns the milliseconds by which the wall clock is ahead; 0 without the feature `failpoints`.
pub(crate) fn shift_ms() -> i64 {
    #[cfg(feature = "failpoints")]
    return SHIFT_MS.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(feature = "failpoints"))]
    return 0;
}
