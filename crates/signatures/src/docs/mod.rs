//! Texts about schemes: a sentence for each, and a page of the reference for each provider.

mod copies;
pub(crate) mod describe;
pub mod reference;
