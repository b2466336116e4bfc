//! Failpoints: named steps of a delivery at which a test ends the process
//! (`FAILPOINTS=name=return`), holds it (`name=return(PIPE)`, until the named pipe has had a writer), or
//! panics an actor (`name=panic`). The syntax is that of the crate `fail`: `name=2*off->return` fires the
//! third time.

/// All points on the way of a delivery, in order. A test tries each.
pub const POINTS: &[&str] = &[
    "http_admitted",
    "http_handed_over",
    "verifier_received",
    "verifier_verified",
    "dedup_offered",
    "writer_before_commit",
    "writer_after_commit",
    "dedup_committed",
    "dedup_answered",
    "publisher_pending",
    "publish_task_before",
    "publish_task_after",
    "publisher_reported",
    "confirm_writer_before",
    "confirm_writer_after",
];

/// Points on the way out of the spool.
pub const SPOOL_POINTS: &[&str] = &["drain_before_commit", "drain_after_commit", "drain_removed"];

/// Point on the way out of the quarantine: the events are durable, and their deliveries are still kept.
pub const QUARANTINE_POINT: &str = "quarantine_stored";

/// Points on the way of `hookweir move`.
pub const MOVE_POINTS: &[&str] = &[
    "move_claimed",
    "move_copying",
    "move_closed",
    "move_alone",
    "move_copied",
    "move_marked",
];

/// Marks a point of one of the lists above.
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::eval($name, $crate::faults::points::reached);
    };
}
pub(crate) use failpoint;

/// Ends the process, or waits for a named pipe.
#[cfg(feature = "failpoints")]
pub(crate) fn reached(pipe: Option<String>) {
    match pipe {
        None => std::process::abort(),
        Some(pipe) => drop(std::fs::read(pipe)),
    }
}

/// Reads `FAILPOINTS`; once, at start.
pub fn arm() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
