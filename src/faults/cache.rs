//! Loss of the dedup cache, requested through the admin listener of a test build.

#[cfg(feature = "failpoints")]
static IS_LOST: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// Makes the dedup cache drop all entries at its next lookup.
#[cfg(feature = "failpoints")]
pub(crate) fn lose() {
    IS_LOST.store(true, std::sync::atomic::Ordering::Release);
}

/// Returns `true` once after [`lose`]; the dedup cache asks before each lookup.
pub(crate) fn is_lost() -> bool {
    #[cfg(feature = "failpoints")]
    return IS_LOST.swap(false, std::sync::atomic::Ordering::AcqRel);
    #[cfg(not(feature = "failpoints"))]
    return false;
}
