//! Faults that tests switch on from inside. Does nothing without the feature `failpoints`.

pub mod cache;
pub mod clock;
pub mod mutants;
pub mod points;
