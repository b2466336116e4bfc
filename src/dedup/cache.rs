//! Cache of recent keys. It is filled after the commit, with new events only. So every cached key
//! is in the store, or in the spool on its way there, and the cache forgets it before the store
//! does. The cache changes latency, and no answer.

use std::time::{Duration, Instant};

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use crate::domain::delivery::{BodyDigest, DedupKey, MessageId};
use crate::store::NewEvent;

/// Cached facts about an event.
#[derive(Clone, Copy, Debug)]
struct Known {
    digest: BodyDigest,
    message_id: MessageId,
    /// Time from which the store may take the event for a new one.
    until: Instant,
}

/// Recent keys, each with the digest of its event's body.
#[derive(Debug)]
pub struct DedupCache(Option<Cache<DedupKey, Known>>);

impl DedupCache {
    /// Returns a cache of `entries` keys, or none for 0. A key stays for `ttl`, and for less than
    /// the event's own window.
    pub fn new(entries: u64, ttl: Duration) -> Self {
        // moka's default policy (TinyLFU) keeps keys that are asked for often, and a redelivery
        // asks once. It found 10 % of them, LRU all.
        let cache = || {
            Cache::builder()
                .max_capacity(entries)
                .time_to_live(ttl)
                .eviction_policy(EvictionPolicy::lru())
                .build()
        };
        Self((entries > 0).then(cache))
    }

    /// Returns the message id of the stored event with the key and the body of `event`.
    pub fn known(&self, event: &NewEvent, now: Instant) -> Option<MessageId> {
        if crate::faults::cache::is_lost() {
            self.0.iter().for_each(Cache::invalidate_all);
        }
        let known = self.0.as_ref()?.get(&event.key)?;
        (known.digest == event.digest && now < known.until).then_some(known.message_id)
    }

    /// Adds an event that was stored and was new.
    pub fn remember(&self, event: &NewEvent, now: Instant) {
        // The window began with the commit, a moment ago.
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

    /// Returns the approximate number of keys.
    pub fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, Cache::entry_count)
    }

    /// Returns `true` if there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
