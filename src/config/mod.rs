//! Configuration.

pub mod model;
pub mod secret;
