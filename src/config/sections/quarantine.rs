//! `[quarantine]`

use std::time::Duration;

use crate::config::define::section;
use crate::config::option::{Bytes, Count, Days, Flag, GIB, MIB};

section! {
    /// Deliveries that were refused for their signature, time, form or size, kept in the store. After a mistake is
    /// mended, `hookweir quarantine verify` verifies them again, and stores the good ones as events. When full, the
    /// oldest of the same source goes.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Quarantine {
        /// true keeps refused deliveries. No answer waits for it: what does not fit is dropped and counted.
        pub enabled: bool = "quarantine.enabled", Flag, true;
        /// Most bytes of all sources; each delivery counts as its body, its headers and about 1 KB more. Every source
        /// has an equal part of it, so that a flood of forgeries at one source deletes nothing of another.
        pub max_bytes: u64 = "quarantine.max_bytes", Bytes(MIB..=1024 * GIB), 268435456;
        /// Most bytes of one source. A delivery that would take more than half of its source's part is not kept.
        pub source_bytes: u64 = "quarantine.source_bytes", Bytes(MIB..=1024 * GIB), 67108864;
        /// Most deliveries of all sources. Every source has an equal part of it.
        pub max_rows: u64 = "quarantine.max_rows", Count(100..=10_000_000), 100000;
        /// Most deliveries of one source.
        pub source_rows: u64 = "quarantine.source_rows", Count(1..=10_000_000), 20000;
        /// Most deliveries of one source that are kept in a second, as a mean over a minute. Lower values bound the
        /// work of a flood, higher values keep more of a busy source whose secret is wrong.
        pub source_per_sec: u64 = "quarantine.source_per_sec", Count(1..=100_000), 50;
        /// Time that refused deliveries stay.
        pub keep: Duration = "quarantine.keep_days", Days(1..=3660), 7;
        /// Most bytes in memory of deliveries that wait to be kept. A larger delivery is dropped. Make it at least
        /// max_body_bytes.
        pub queue_bytes: usize = "quarantine.queue_bytes", Bytes(MIB..=GIB), 33554432;
    }
}
