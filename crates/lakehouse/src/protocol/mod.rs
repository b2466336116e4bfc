//! Rules of the exactly-once protocol, pure: no clock, no I/O.

pub mod batch;
pub mod known;
pub mod token;
