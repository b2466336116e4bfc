//! Keys that come later: fetched because a delivery named them, or handed over by the provider.

pub(crate) mod key_api;
pub(crate) mod learning;
pub(crate) mod pinned_url;
pub(crate) mod ring;
