//! Test kit of Hookweir: private servers, the real program, senders that sign as providers do, and a comparison of
//! what was sent with what came out.
//!
//! The life of a test:
//!
//! 1. [`servers`] starts a private PostgreSQL, RabbitMQ or Kafka, or names the one that `tests/run` has started.
//! 2. [`app`] starts the program as a process of its own, with a folder and ports of its own.
//! 3. [`load`] sends signed deliveries of five [`provider`]s, repeats some of them, forges others, and writes each answer
//!    into a [`ledger`].
//! 4. Meanwhile the test kills processes, fills a [`disk`], or cuts a line with a [`proxy`].
//! 5. [`sink`] reads the messages that came out, and [`oracle`] compares them with the ledger.
//!
//! The integration tests, `tools/campaign` and `tools/bench` are built on it. A failed step panics: a test has no better
//! answer.

pub mod app;
pub mod disk;
mod greeting;
pub mod kafka;
pub mod ledger;
pub mod load;
pub mod log_reader;
pub mod metrics;
pub mod oracle;
pub mod ports;
pub mod processes;
pub mod provider;
pub mod proxy;
pub mod servers;
pub mod sink;
pub mod tls;

use std::path::PathBuf;

/// Number of deliveries in a large test. `HOOKWEIR_TEST_DELIVERIES` overrides it.
pub fn deliveries() -> usize {
    let configured = std::env::var("HOOKWEIR_TEST_DELIVERIES").ok();
    configured.map_or(10_000, |text| {
        text.parse().expect("HOOKWEIR_TEST_DELIVERIES is a number")
    })
}

/// Path of the program under test: `hookweir` in the folder into which cargo has built the running test or tool.
pub fn program() -> PathBuf {
    let running = std::env::current_exe().expect("the path of the running program");
    let mut folder = running.parent().expect("a folder").to_owned();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let program = folder.join("hookweir");
    assert!(
        program.is_file(),
        "{} is missing: build the program with the same profile first",
        program.display()
    );
    program
}
