//! Page of the provider reference.

/// Page of the provider reference.
#[derive(Debug)]
pub struct Page {
    /// File name in `docs/reference/providers`.
    pub file: String,
    /// Text in Markdown.
    pub text: String,
}
