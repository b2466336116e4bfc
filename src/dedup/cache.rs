//! Keys of stored events, in memory. Filled only after commit, and only with events that were new: so what it knows is in the database (or
//! in the spool, on its way there), and it forgets before the database does. It changes latency and nothing else.

use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::delivery::{BodyDigest, DedupKey, MessageId};
use crate::store::NewEvent;

/// What is remembered of an event.
#[derive(Clone, Copy, Debug)]
struct Known {
    digest: BodyDigest,
    message_id: MessageId,
    /// From then on the store may take it for a new one.
    until: Instant,
}

/// The recent keys, each with the digest of its event's body.
#[derive(Debug)]
pub struct DedupCache(Option<Cache<DedupKey, Known>>);

impl DedupCache {
    /// Room for `entries` keys for `ttl` each, or for less than the event's own window; 0 entries remembers nothing.
    pub fn new(entries: u64, ttl: Duration) -> Self {
        // moka's default policy (TinyLFU) keeps what is asked for often; a redelivery is asked for once. It found 10 % of them, LRU all.
        let cache = || {
            Cache::builder()
                .max_capacity(entries)
                .time_to_live(ttl)
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        Self((entries > 0).then(cache))
    }

    /// The message id of the event that is stored with the key of `event`, if it has this very body.
    pub fn known(&self, event: &NewEvent, now: Instant) -> Option<MessageId> {
        #[cfg(feature = "failpoints")]
        if crate::faults::control::forgets() {
            self.0.iter().for_each(Cache::invalidate_all);
        }
        let known = self.0.as_ref()?.get(&event.key)?;
        (known.digest == event.digest && now < known.until).then_some(known.message_id)
    }

    /// `event` was stored, and was new.
    pub fn remember(&self, event: &NewEvent, now: Instant) {
        // The store's clock began to run with the commit, a moment ago.
        let window = event
            .window
            .saturating_sub((event.window / 10).min(Duration::from_secs(60)));
        if let (Some(cache), Some(until)) = (&self.0, now.checked_add(window)) {
            cache.insert(
                event.key,
                Known {
                    digest: event.digest,
                    message_id: event.message_id(),
                    until,
                },
            );
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
