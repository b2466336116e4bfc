//! `[spool]`

use std::path::PathBuf;
use std::time::Duration;

use crate::config::define::section;
use crate::config::option::{Bytes, DAY_SECS, GIB, MIB, Millis, OrNone, Secs, Text};
use crate::config::rules;

section! {
    /// Local file that takes events while PostgreSQL cannot commit. It is off with SQLite as the store, and
    /// with server.respond_after = "published".
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Spool {
        /// File of the spool. While PostgreSQL is away, events are synced to this file and answered 200; they
        /// move to PostgreSQL when it is back. Until then, an event is durable on this one disk only: choose a
        /// disk that outlives the process and its container. If "", such deliveries get 503, and an event that
        /// its provider does not send again is lost.
        pub path: Option<PathBuf> = "spool.path", OrNone(Text("path of a file", rules::anything)), "data/spool.db";
        /// Most bytes in the spool; each event counts as its body and 2048 more. When full, new deliveries get
        /// 503. The keys in memory take about 1/50 of this.
        pub max_bytes: u64 = "spool.max_bytes", Bytes(MIB..=1024 * GIB), 1073741824;
        /// Age of the oldest event at which the spool takes no more: new deliveries get 503, so that the
        /// providers notice the outage.
        pub max_age: Duration = "spool.max_age_secs", Secs(1..=366 * DAY_SECS), 86400;
        /// Time that a commit in PostgreSQL may take before its events go to the spool, too. Lower values
        /// answer sooner in a stall, higher values spool less. Keep it well below limits.deadline_ms.
        pub after: Duration = "spool.after_ms", Millis(10..=60_000), 1000;
    }
}
