//! `[verifier]`

use crate::config::define::section;
use crate::config::option::Count;

section! {
    /// Verification of signatures. Each HTTP thread has a verifier of its own.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Verifier {
        /// Verifiers on threads of their own, which relieve the HTTP threads under load. 0 is one per core;
        /// with two cores, one.
        pub actors: usize = "verifier.actors", Count(0..=256), 0;
        /// Deliveries that wait for one verifier. When full, new deliveries get 503. Keep it at least at
        /// limits.in_flight_requests; otherwise deliveries that were already read get 503.
        pub mailbox_capacity: usize = "verifier.mailbox_capacity", Count(1..=1_000_000), 2048;
    }
}

impl Verifier {
    /// Returns the number of verifiers on threads of their own. On one or two cores the default is one: two would take the core from
    /// the HTTP threads.
    pub fn threads(&self) -> usize {
        match (
            self.actors,
            std::thread::available_parallelism().map_or(1, usize::from),
        ) {
            (0, 1 | 2) => 1,
            (0, cores) => cores,
            (actors, _) => actors,
        }
    }
}
