//! Points at which a test ends the process, and mistakes that a campaign must catch. Nothing without the
//! feature `failpoints`.

/// Points on the way of a batch, in their order: `FAILPOINTS=lake_after_files=return`.
pub const POINTS: &[&str] = &[
    "lake_before_files",
    "lake_after_files",
    "lake_after_commit",
    "lake_after_ack",
];

/// Mistakes, each in one place: `HOOKWEIR_CONTROL=lake_no_fence`.
pub const MISTAKES: &[&str] = &[
    // A commit is rebased onto whatever version the table has.
    "lake_no_fence",
    // The feed is acked before the commit.
    "lake_ack_first",
    // After a lost race the ids of the other append are not read.
    "lake_ids_not_read_again",
    // Statistics are cut, as parquet does by default.
    "lake_statistics_cut",
];

/// Returns `true` if the process was started with this mistake of [`MISTAKES`].
#[cfg(feature = "table")]
pub(crate) fn makes(mistake: &'static str) -> bool {
    debug_assert!(MISTAKES.contains(&mistake), "{mistake} is not in the list");
    #[cfg(feature = "failpoints")]
    return hooks::mistake().is_some_and(|made| made == mistake);
    #[cfg(not(feature = "failpoints"))]
    return false;
}

/// Ends the process at a point of [`POINTS`] if a test asked for it.
#[cfg(feature = "table")]
pub(crate) fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    fail::fail_point!(name, |_| std::process::abort());
}

/// Prepares the points from the environment.
#[cfg(feature = "failpoints")]
pub fn prepare() -> fail::FailScenario<'static> {
    fail::FailScenario::setup()
}

#[cfg(all(feature = "failpoints", feature = "table"))]
mod hooks {
    use std::sync::LazyLock;

    pub(super) fn mistake() -> Option<&'static str> {
        static MISTAKE: LazyLock<Option<String>> =
            LazyLock::new(|| std::env::var("HOOKWEIR_CONTROL").ok());
        MISTAKE.as_deref()
    }
}
