//! `[limits]`

use std::time::Duration;

use crate::config::define::section;
use crate::config::option::{Bytes, Count, GIB, MIB, Millis, Secs};

section! {
    /// Limits on deliveries. A source can set its own body size and deadline.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Limits {
        /// Deliveries in flight at once. When full, new deliveries get 503 with Retry-After. Higher values
        /// ride out longer stalls of the database, lower values bound the wait.
        pub in_flight_requests: usize = "limits.in_flight_requests", Count(1..=1_000_000), 2048;
        /// Bytes of bodies in flight at once. When full, new deliveries get 503. A quarter is kept for
        /// bodies of up to 64 KB, and half for bodies of the size that their provider usually sends. With
        /// several sources, each gets at most half. Make it at least four times max_body_bytes. For its part
        /// of the memory bound, see `hookweir check --offline`.
        pub in_flight_bytes: usize = "limits.in_flight_bytes", Bytes(1024..=64 * GIB), 134217728;
        /// Largest body; a larger one gets 413. GitHub sends up to 25 MB. With RabbitMQ, also no larger than
        /// publisher.max_message_bytes.
        pub max_body_bytes: usize = "limits.max_body_bytes", Bytes(1..=GIB), 26214400;
        /// Largest sum of header names and values; a larger one gets 431.
        pub max_header_bytes: usize = "limits.max_header_bytes", Bytes(1024..=MIB), 16384;
        /// Most events in one POST that a source splits. A POST of more events stays whole, as one message.
        pub max_events_per_request: usize = "limits.max_events_per_request", Count(1..=100_000), 10000;
        /// Time to answer, from the end of the body; a later answer is 503. Slack gives up after 3 s.
        pub deadline: Duration = "limits.deadline_ms", Millis(100..=60_000), 2500;
        /// Time to receive a body; a slower one gets 408. If the provider is known to give up sooner, the
        /// limit is three times the provider's own. Higher values tolerate worse links, lower values free
        /// room sooner.
        pub body_timeout: Duration = "limits.body_timeout_ms", Millis(1000..=600_000), 30000;
        /// Lowest rate of a body; a slower one, or a pause of 3 s, gets 408. A large body must be faster, so
        /// that it ends within body_timeout_ms: at the defaults, 350 KB a second for 10 MB.
        pub min_body_bytes_per_sec: u64 = "limits.min_body_bytes_per_sec", Count(1..=GIB), 1024;
        /// Largest Retry-After of a 503 or a 429. The value is drawn between 1 and this, so that refused senders come
        /// back spread out.
        pub retry_after_max_secs: u64 = "limits.retry_after_max_secs", Secs(1..=3600), 10;
    }
}
