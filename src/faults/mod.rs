//! Faults that tests switch on from inside. Does nothing without the feature `failpoints`.

pub mod control;
pub mod failpoint;
