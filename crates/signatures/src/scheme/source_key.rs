//! Keys of a source's configuration, for errors and warnings.

use std::fmt;

use crate::language::key_path::KeyPath;

/// Key of a source's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKey {
    /// `batch`.
    Batch,
    /// `jwks`.
    Jwks,
    /// `learn_secret`.
    LearnSecret,
    /// A parameter in `params`.
    Param(Box<str>),
    /// `provider`.
    Provider,
    /// `public_keys`, or one of them by its position.
    PublicKeys(Option<usize>),
    /// `public_url`.
    PublicUrl,
    /// A key of the scheme's table.
    Scheme(KeyPath),
    /// `secrets`, or one of them by its position.
    Secrets(Option<usize>),
}

impl SourceKey {
    /// Returns the key `inner` of the table at this key. Only keys of the scheme hold others.
    pub(crate) fn below(&self, inner: &str) -> Self {
        match self {
            Self::Scheme(path) => Self::Scheme(path.key(inner)),
            other => other.clone(),
        }
    }

    /// Returns the element at `index` of the list at this key. Only keys of the scheme hold others.
    pub(crate) fn at(&self, index: usize) -> Self {
        match self {
            Self::Scheme(path) => Self::Scheme(path.index(index)),
            other => other.clone(),
        }
    }
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch => f.write_str("batch"),
            Self::Jwks => f.write_str("jwks"),
            Self::LearnSecret => f.write_str("learn_secret"),
            Self::Param(name) => write!(f, "params.{name}"),
            Self::Provider => f.write_str("provider"),
            Self::PublicKeys(None) => f.write_str("public_keys"),
            Self::PublicKeys(Some(at)) => write!(f, "public_keys[{at}]"),
            Self::PublicUrl => f.write_str("public_url"),
            Self::Scheme(path) if path.steps().is_empty() => f.write_str("scheme"),
            Self::Scheme(path) => write!(f, "scheme.{path}"),
            Self::Secrets(None) => f.write_str("secrets"),
            Self::Secrets(Some(at)) => write!(f, "secrets[{at}]"),
        }
    }
}
