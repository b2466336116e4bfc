//! The program with the lakehouse, from outside: what is accepted is in the table, as DuckDB and pyiceberg read
//! it. `tests/lakehouse` runs them.

mod away;
mod beside;
mod commands;
mod kafka;
mod memory;
#[path = "../../crates/lakehouse/tests/lakehouse/python.rs"]
mod python;
mod remote;
mod serve;
mod service;
