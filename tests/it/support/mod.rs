//! What the tests share: servers of their own, the real program, senders that act as providers do, and an account of what came out.

#![allow(
    dead_code,
    reason = "shared by the tests and the campaign, each of which uses a part"
)]

pub mod app;
pub mod disk;
pub mod ledger;
pub mod load;
pub mod ports;
pub mod provider;
pub mod proxy;
pub mod servers;
pub mod sink;
pub mod tls;

/// Deliveries of a large test. `HOOKWEIR_TEST_DELIVERIES` makes it smaller or larger.
pub fn deliveries() -> usize {
    let configured = std::env::var("HOOKWEIR_TEST_DELIVERIES").ok();
    configured.map_or(10_000, |text| {
        text.parse().expect("HOOKWEIR_TEST_DELIVERIES is a number")
    })
}
