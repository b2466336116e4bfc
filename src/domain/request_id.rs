//! Id of one request in logs and in its response.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Id of one request, shown in logs and in `X-Request-Id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(pub uuid::Uuid);

impl RequestId {
    /// Returns the next id: unique in this process, and very likely everywhere. It is a counter,
    /// mixed so that successive ids do not look alike. It needs no system call.
    pub fn next() -> Self {
        static PROCESS: LazyLock<(u64, u64)> = LazyLock::new(|| uuid::Uuid::now_v7().as_u64_pair());
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let (process, start) = *PROCESS;
        // The finalizer of splitmix64: a bijection, so that no two counts meet.
        let mut low = start.wrapping_add(
            COUNT
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15),
        );
        low = (low ^ (low >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        low = (low ^ (low >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self(uuid::Uuid::from_u64_pair(process, low ^ (low >> 31)))
    }

    /// Returns a number below `bound`, spread evenly over requests. Use it for jitter, never for
    /// secrets.
    pub fn spread(self, bound: u64) -> u64 {
        self.0.as_u64_pair().1 % bound.max(1)
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.simple().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_do_not_repeat_and_spread_over_a_range() {
        let ids: std::collections::HashSet<_> = (0..10_000).map(|_| RequestId::next()).collect();
        assert_eq!(ids.len(), 10_000);
        let mut hits = [0; 10];
        ids.iter().for_each(|id| hits[id.spread(10) as usize] += 1);
        assert!(hits.iter().all(|n| (700..1300).contains(n)), "{hits:?}");
    }
}
