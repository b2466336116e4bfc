//! Language of schemes: the words, texts with places in them, and the presets that are written in
//! it.

pub(crate) mod canonical;
pub(crate) mod context;
pub(crate) mod describe;
pub(crate) mod http_signature;
pub(crate) mod inherit;
pub(crate) mod key_path;
pub(crate) mod place;
pub mod presets;
pub(crate) mod read;
pub mod spec;
pub mod syntax;
pub(crate) mod template;
pub(crate) mod words;
