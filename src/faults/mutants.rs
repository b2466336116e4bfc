//! Mutants: deliberate mistakes, each in one place. `HOOKWEIR_CONTROL=name` switches one on.
//!
//! Each mutant breaks the promise. A fault campaign that misses one of them proves nothing.

macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A deliberate mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant { $($(#[$doc])* $variant,)* }

        impl Mutant {
            /// All mutants, in order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the value of `HOOKWEIR_CONTROL` that switches the mutant on.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

mutants! {
    /// Answer before PostgreSQL has the commit on disk. Needs `store.allow_unsafe_durability`.
    SynchronousCommitOff = "synchronous_commit_off",
    /// Commit in SQLite without a sync.
    SynchronousNormal = "synchronous_normal",
    /// Take a returned message for the one of the confirm that came with it.
    AckPerConfirm = "ack_per_confirm",
    /// Cache a key when its event is sent to the store.
    CacheBeforeCommit = "cache_before_commit",
    /// Skip this instance's own rows in the relay.
    NoOwnRowSweep = "no_own_row_sweep",
    /// Insert keys in any order.
    UnsortedBatches = "unsorted_batches",
    /// Trust the clock that was in force when a row, a lease or a spooled event was written.
    ClockBelieved = "clock_believed",
    /// Write a log line on the caller's thread, with a macro that panics on failure.
    LogAtOnce = "log_at_once",
    /// Set PostgreSQL's settings once per connection, even behind a pooler, without reading them
    /// back.
    SettingsOfTheSession = "settings_of_the_session",
    /// Blame a row that fails alone.
    RowsToBlame = "rows_to_blame",
    /// Take another body under a known id for a copy, in the drain.
    OtherBodiesDropped = "other_bodies_dropped",
    /// Leave a broken spool in place.
    BrokenSpoolStays = "broken_spool_stays",
    /// Give any body the last room, regardless of source and size.
    NoShares = "no_shares",
    /// Close no idle connection to make room.
    IdleForEver = "idle_for_ever",
    /// Let Kafka write a record once more if its confirm was lost.
    NotIdempotent = "not_idempotent",
    /// Take a record that was sent to Kafka for confirmed.
    ZeroAcks = "zero_acks",
    /// Take a record that the leader of its partition alone has for confirmed.
    OneAck = "one_ack",
    /// Send together what has to go alone, as if channels shared a producer of Kafka.
    SharedBatch = "shared_batch",
}

impl Mutant {
    /// Returns `true` if the process was started with this mutant.
    pub(crate) fn is_on(self) -> bool {
        #[cfg(feature = "failpoints")]
        return chosen() == Some(self);
        #[cfg(not(feature = "failpoints"))]
        return false;
    }
}

#[cfg(feature = "failpoints")]
fn chosen() -> Option<Mutant> {
    static CHOSEN: std::sync::LazyLock<Option<Mutant>> = std::sync::LazyLock::new(|| {
        let name = std::env::var("HOOKWEIR_CONTROL").ok()?;
        Mutant::ALL
            .iter()
            .copied()
            .find(|mutant| mutant.name() == name)
    });
    *CHOSEN
}

/// Writes a log line as [`Mutant::LogAtOnce`] does, and returns `true`, if that mutant is on.
pub(crate) fn writes_log_at_once<'a>(line: impl FnOnce() -> &'a [u8]) -> bool {
    let writes = Mutant::LogAtOnce.is_on();
    #[cfg(feature = "failpoints")]
    if writes {
        write_at_once(line());
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = line;
    writes
}

#[cfg(feature = "failpoints")]
#[expect(clippy::print_stderr, reason = "the mistake")]
fn write_at_once(line: &[u8]) {
    eprint!("{}", String::from_utf8_lossy(line));
}
