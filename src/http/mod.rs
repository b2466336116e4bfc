//! Ingest over HTTP: admits a request, reads its raw body, sends it to a verifier, and turns the
//! outcome into a response.
//!
//! Two halves: `server` is the guarded transport, which knows bounds and neither sources nor
//! outcomes; `ingest` and `answer` are the product. Neither knows store or sinks. A request leaves
//! as [`Received`](crate::verify::Received) through a mailbox, and its
//! [`Outcome`](crate::domain::outcome::Outcome) comes back through the oneshot of the delivery's
//! ticket.
//!
//! The transport is built on actix-http, the engine beneath actix-web, which has no place for a
//! socket of our own.

mod answer;
mod client_address;
mod ingest;
mod post_span;
mod purpose;
mod sender;
mod server;
mod service;
mod whole_request;

pub use server::{check_descriptors, connection_bytes};
pub use service::{IngestService, serve};
