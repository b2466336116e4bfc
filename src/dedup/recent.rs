//! Keys of stored events, in memory. Filled only after commit, and only with events that were new: so what it knows is in the database (or
//! in the spool, on its way there), and it forgets before the database does. It changes latency and nothing else.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::delivery::{BodyDigest, DedupKey};
use crate::store::NewEvent;

/// The recent keys, each with the digest of its event's body.
#[derive(Debug)]
pub struct Recent(Option<Cache<DedupKey, BodyDigest>>);

impl Recent {
    /// Room for `entries` keys for `ttl` each, which must not be longer than any source's dedup window; 0 entries remembers nothing.
    pub fn new(entries: u64, ttl: Duration) -> Self {
        // moka's default policy (TinyLFU) keeps what is asked for often; a redelivery is asked for once. It found 10 % of them, LRU all.
        let cache = || Cache::builder().max_capacity(entries).time_to_live(ttl).eviction_policy(EvictionPolicy::lru()).build();
        Self((entries > 0).then(cache))
    }

    /// `event` is stored, with this very body.
    pub fn knows(&self, event: &NewEvent) -> bool {
        #[cfg(feature = "failpoints")]
        if crate::control::forgets() {
            self.0.iter().for_each(Cache::invalidate_all);
        }
        self.0.as_ref().and_then(|cache| cache.get(&event.key)).is_some_and(|digest| digest == event.digest)
    }

    /// `event` was stored, and was new.
    pub fn remember(&self, event: &NewEvent) {
        if let Some(cache) = &self.0 {
            cache.insert(event.key, event.digest);
        }
    }

    /// How many keys are in memory, about.
    pub fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, Cache::entry_count)
    }

    /// No key is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
