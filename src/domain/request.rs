//! Requests as the verifier sees them.

pub use hookweir_signatures::{Headers, Request};
