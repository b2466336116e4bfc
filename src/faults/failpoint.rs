//! Named points on the way of a delivery at which a test makes the process die (`FAILPOINTS=name=return`) or an actor panic
//! (`name=panic`), as the crate `fail` has it: also `name=2*off->return` for the third time. Nothing without the feature `failpoints`.

/// All of them, in the order in which a delivery passes them; a test tries each.
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

/// Those that an event passes on its way out of the spool.
pub const SPOOL_POINTS: &[&str] = &["drain_before_commit", "drain_after_commit", "drain_removed"];

/// Marks a point of [`POINTS`] or [`SPOOL_POINTS`].
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        fail::eval($name, |_: Option<String>| -> () { std::process::abort() });
    };
}
pub(crate) use failpoint;

/// Reads `FAILPOINTS`; once, at start.
pub fn arm() {
    #[cfg(feature = "failpoints")]
    std::mem::forget(fail::FailScenario::setup());
}
