//! Mistakes in a scheme or in keys.

use crate::language::key_path::KeyPath;
use crate::scheme::SourceKey;

/// Mistake in a source's scheme or keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct SchemeError {
    /// Key in the source.
    pub key: SourceKey,
    /// Description of the mistake and its remedy.
    pub text: String,
}

/// Returns the key of a scheme's table at these keys.
pub(super) fn scheme<const N: usize>(keys: [&str; N]) -> SourceKey {
    let path = keys
        .iter()
        .fold(KeyPath::default(), |path, key| path.key(key));
    SourceKey::Scheme(path)
}
