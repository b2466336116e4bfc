//! All integration tests, in one binary.

mod protocol_model;
