//! Keys that come later: fetched because a delivery named them, or handed over by the provider.

pub(crate) mod fetch;
pub(crate) mod learned;
pub(crate) mod wishes;
