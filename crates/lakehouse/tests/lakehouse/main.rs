//! Tests of the lakehouse with real catalogs, files, processes and readers. `tests/lakehouse` runs them.

mod catalog_contract;
mod feeds;
#[cfg(feature = "kafka")]
mod kafka;
mod kills;
mod places;
mod process;
mod python;
mod races;
mod readers;
mod remote;
mod spark;
mod support;
mod upkeep;
mod versions;
mod writing;
