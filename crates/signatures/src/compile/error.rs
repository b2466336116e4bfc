//! Mistakes in a scheme or in keys.

/// Mistake in a source's scheme or keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct SchemeError {
    /// Key in the source, such as `secrets[0]` or `scheme.signature`.
    pub key: String,
    /// Description of the mistake and its remedy.
    pub text: String,
}
