//! A page of the reference.

/// A page of the reference.
#[derive(Debug)]
pub struct Page {
    /// Its name in `docs/reference/providers`.
    pub file: String,
    /// Markdown.
    pub text: String,
}
