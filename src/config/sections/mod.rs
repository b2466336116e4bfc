//! Sections of the configuration, each option defined once. `config.toml` and the reference page are made of them.

mod admin;
mod dedup;
mod file_sink;
mod kafka;
mod lakehouse;
mod limits;
mod log;
mod publisher;
mod quarantine;
mod rabbitmq;
mod server;
mod shutdown;
mod source;
mod spool;
mod store;
mod tls;
mod traces;
mod verifier;

pub use admin::{AdminApi, AdminToken, Right};
pub use dedup::Dedup;
pub use file_sink::FileSinkOptions;
pub use kafka::{Compression, KafkaOptions, SaslMechanism};
pub use lakehouse::{CatalogUrl, InServe, LakeUrl, Lakehouse};
pub use limits::Limits;
pub use log::{Log, LogDeliveries, LogFormat};
pub use publisher::{Publisher, PublisherUrl, SINK};
pub use quarantine::Quarantine;
pub use rabbitmq::{QueueType, RabbitmqOptions};
pub use server::{RespondAfter, Server};
pub use shutdown::Shutdown;
pub use source::{AllowFromMode, Batch, SameBytes, Source};
pub use spool::Spool;
pub use store::{Migrate, Store, StoreUrl};
pub use tls::{PemFile, Tls, TlsListener, TlsPair};
pub use traces::Traces;
pub use verifier::Verifier;

use super::define::Section;

/// All sections but `[[sink]]` and `[[source]]`, in the order in which they are shown.
pub const SECTIONS: &[Section] = &[
    Server::SECTION,
    Tls::SECTION,
    AdminApi::SECTION,
    Limits::SECTION,
    Verifier::SECTION,
    Dedup::SECTION,
    Store::SECTION,
    Spool::SECTION,
    Quarantine::SECTION,
    Publisher::SECTION,
    RabbitmqOptions::SECTION,
    KafkaOptions::SECTION,
    FileSinkOptions::SECTION,
    Lakehouse::SECTION,
    Shutdown::SECTION,
    Log::SECTION,
    Traces::SECTION,
];
