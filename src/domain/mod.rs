//! Words of the service: deliveries, events and outcomes. Knows nothing of the rest.

pub mod delivery;
pub mod event_order;
pub mod network;
pub mod outcome;
pub mod pause;
pub mod request;
pub mod request_id;
pub mod sink;
pub mod text;
pub mod trace_context;
