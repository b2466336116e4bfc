//! What the tests share: servers of their own, the real program, senders that act as providers do, and an account of what came out.

pub mod app;
pub mod ledger;
pub mod load;
pub mod ports;
pub mod provider;
pub mod proxy;
pub mod servers;
pub mod sink;
