//! `[shutdown]`

use std::time::Duration;

use crate::config::define::section;
use crate::config::option::Secs;

section! {
    /// Stop of the service.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Shutdown {
        /// Time in which a stop finishes the deliveries and events in flight. Events that are not published
        /// by then stay in the outbox. Keep it below systemd's TimeoutStopSec.
        pub drain: Duration = "shutdown.drain_secs", Secs(1..=3600), 20;
    }
}
