//! What the tests do to the program from inside, to see whether they would notice: mistakes, each in one place
//! (`HOOKWEIR_CONTROL=name`), and, by the admin listener, a wall clock that is off and a cache that forgets. Nothing without the feature
//! `failpoints`.

/// The mistakes. Each breaks the promise, and a campaign that does not catch every one of them proves nothing.
pub const MISTAKES: &[&str] = &[
    // The sender is answered before PostgreSQL has the commit on disk. (Wants `store.allow_unsafe_durability`.)
    "synchronous_commit_off",
    // SQLite does not sync a commit.
    "synchronous_normal",
    // A returned message is taken for that of the confirm it came with.
    "ack_per_confirm",
    // A key is remembered when its event goes to the store.
    "cache_before_commit",
    // The relay leaves this instance's own rows alone.
    "no_own_row_sweep",
    // Keys go into the database in any order.
    "unsorted_batches",
    // Rows are due, leases run, and what the spool holds ages, by whatever the clock said when they were written.
    "clock_believed",
    // A log line is written by the thread that has something to tell, by a macro that panics if that fails.
    "log_at_once",
    // PostgreSQL is told its settings once for each connection, whatever stands before it, and not asked what was in force.
    "settings_of_the_session",
    // A row that fails alone is to blame for it.
    "rows_to_blame",
    // The drain takes another body under an id that the store knows for a copy.
    "other_bodies_dropped",
    // A broken spool is not set aside.
    "broken_spool_stays",
    // Any body may have the last of the room, whatever its source and its size.
    "no_shares",
    // No idle connection is closed for one that comes.
    "idle_for_ever",
];

/// Whether the process was started with this mistake of [`MISTAKES`].
pub(crate) fn makes(mistake: &'static str) -> bool {
    debug_assert!(
        MISTAKES.contains(&mistake),
        "\"{mistake}\" is not in the list"
    );
    #[cfg(feature = "failpoints")]
    return hooks::mistake().is_some_and(|made| made == mistake);
    #[cfg(not(feature = "failpoints"))]
    return false;
}

/// Writes a line of the log as the mistake `log_at_once` does, if it is made.
pub(crate) fn writes_log_at_once<'a>(line: impl FnOnce() -> &'a [u8]) -> bool {
    let makes = makes("log_at_once");
    #[cfg(feature = "failpoints")]
    if makes {
        hooks::write_at_once(line());
    }
    #[cfg(not(feature = "failpoints"))]
    let _ = line;
    makes
}

#[cfg(feature = "failpoints")]
pub(crate) use hooks::{forget, forgets, shift_clock};

#[cfg(feature = "failpoints")]
mod hooks {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    use crate::domain::delivery::CLOCK_SHIFT_MS;

    static FORGETS: AtomicBool = AtomicBool::new(false);

    pub(super) fn mistake() -> Option<&'static str> {
        static MISTAKE: LazyLock<Option<String>> =
            LazyLock::new(|| std::env::var("HOOKWEIR_CONTROL").ok());
        MISTAKE.as_deref()
    }

    #[expect(clippy::print_stderr, reason = "the mistake")]
    pub(super) fn write_at_once(line: &[u8]) {
        eprint!("{}", String::from_utf8_lossy(line));
    }

    /// The wall clock of this process is `ms` ahead from now on.
    pub(crate) fn shift_clock(ms: i64) {
        CLOCK_SHIFT_MS.store(ms, Ordering::Relaxed);
    }

    /// The cache forgets everything, now.
    pub(crate) fn forget() {
        FORGETS.store(true, Ordering::Release);
    }

    /// Whether the cache is to forget; asked by it before each look.
    pub(crate) fn forgets() -> bool {
        FORGETS.swap(false, Ordering::AcqRel)
    }
}
