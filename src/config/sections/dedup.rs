//! `[dedup]`

use std::time::Duration;

use crate::config::define::section;
use crate::config::option::{Bytes, Count, DAY_SECS, Days, GIB, Secs};

section! {
    /// Deduplication, and the commits to the database.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Dedup {
        /// Deliveries that wait for one dedup actor; each verifier has one. When full, new deliveries get 503.
        pub mailbox_capacity: usize = "dedup.mailbox_capacity", Count(1..=1_000_000), 4096;
        /// Keys of stored events in memory, about 400 bytes each; 0 is none. A redelivery that is found here
        /// needs no database call. The cache changes latency, never an answer.
        pub cache_entries: u64 = "dedup.cache_entries", Count(0..=1_000_000_000), 100000;
        /// Time that a key stays in memory.
        pub cache_ttl: Duration = "dedup.cache_ttl_secs", Secs(1..=366 * DAY_SECS), 86400;
        /// Threads that commit, each with a database connection. More threads hide the latency of a remote
        /// database; two fill a local one. SQLite uses one.
        pub writers: usize = "dedup.writers", Count(1..=256), 2;
        /// Most events in one commit. Larger batches raise throughput, and the wait for the batch before.
        /// With one delivery at a time, each commit holds one event.
        pub batch_events: usize = "dedup.batch_events", Count(1..=5000), 512;
        /// Most bytes in one commit. A single larger event has a commit of its own.
        pub batch_bytes: usize = "dedup.batch_bytes", Bytes(1024..=GIB), 8388608;
        /// Time in which a redelivery is recognised. If a provider retries for longer, the provider's time
        /// holds. A source can set its own.
        pub window: Duration = "dedup.window_days", Days(1..=366), 7;
    }
}
