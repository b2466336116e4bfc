//! Mistakes in a scheme or in keys.

/// A mistake in a source's scheme or keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {text}")]
pub struct SchemeError {
    /// Key in the source: `provider`, `secrets[0]`, `scheme.signature`.
    pub key: String,
    /// Description of the mistake, and its remedy.
    pub text: String,
}
