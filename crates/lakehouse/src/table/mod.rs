//! The table: one row for each event, raw and exact.

pub mod files;
pub mod ids;
pub mod replace;
pub(crate) mod rewrite;
mod rows;
pub mod schema;
pub(crate) mod versions;
