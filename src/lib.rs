//! Hookweir: webhook ingestion.

pub mod config;
pub mod dedup;
pub mod delivery;
pub mod in_flight;
pub mod mailbox;
pub mod messages;
pub mod outcome;
pub mod publish;
pub mod request;
pub mod shutdown;
pub mod source;
pub mod store;
pub mod telemetry;
pub mod verify;
