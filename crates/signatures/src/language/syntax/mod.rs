//! Syntax tree of the texts in a scheme: each text is parsed once, when its table is read.
//!
//! The compiler, the signer, the reference and the sentence about a scheme read these nodes.

mod document;
mod expected;
mod field;
mod key_api;
mod node;
mod param_text;
mod parse;
mod pointer_text;
mod sample;
mod template;
mod url_pattern;

pub use self::document::DocumentRef;
pub(crate) use self::document::WORDS as DOCUMENT_WORDS;
pub use self::expected::{ClaimName, Expected, RequiredClaim};
pub(crate) use self::field::Field;
pub use self::field::{FieldRef, HashField, TokenPlace};
pub use self::key_api::{KeyApiUrl, KeyApiValue};
pub(crate) use self::node::{CanonicalName, Filter, Node, Token};
pub use self::param_text::ParamText;
pub(crate) use self::pointer_text::PointerText;
pub(crate) use self::sample::SampleNode;
pub use self::sample::SampleText;
pub use self::template::{JsonText, MessageText, TemplateText};
pub(crate) use self::url_pattern::UrlPart;
pub use self::url_pattern::{HostPattern, PathPattern};
pub use crate::json_pointers::JsonPointer;

#[cfg(test)]
mod tests;
