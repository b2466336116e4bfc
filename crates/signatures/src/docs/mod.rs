//! Texts about schemes: a page of the reference for each provider.

mod copies;
mod entry;
mod page;
pub mod reference;
mod rows;
