//! Input of the compiler: what an operator configures for one source.

use std::collections::BTreeMap;
use std::fmt;

use crate::Secret;

/// Configuration of one source: its scheme and its keys.
#[derive(Clone, Default)]
pub struct SourceSpec {
    /// Name of a preset; see [`presets`](crate::presets).
    pub provider: Option<String>,
    /// Table of a scheme, or of changes to the preset; [`SchemeSpec`](crate::spec::SchemeSpec) is
    /// its schema.
    pub scheme: Option<toml::Table>,
    /// Active secrets, the newest first. Each of them is accepted.
    pub secrets: Vec<Secret>,
    /// The secret is learned from the provider's handshake.
    pub learn_secret: bool,
    /// Public keys, as the provider shows them.
    pub public_keys: Vec<Secret>,
    /// Key set (RFC 7517), or the `https://` URL of one.
    pub jwks: Option<String>,
    /// Public URL of the source, exactly as entered at the provider.
    pub public_url: Option<String>,
    /// Values for the parameters of the preset.
    pub params: BTreeMap<String, String>,
    /// Batches are split into their events, or kept whole. None: as in the preset.
    pub split: Option<bool>,
    /// Events are routed by their type. If the type is not signed, the scheme has a warning.
    pub routes_by_type: bool,
    /// Maximum size of a decompressed body, in bytes.
    pub max_body_bytes: Option<usize>,
}

impl SourceSpec {
    /// Returns a source of a provider, without keys.
    pub fn of(provider: &str) -> Self {
        Self {
            provider: Some(provider.into()),
            ..Self::default()
        }
    }
}

/// Shows only the provider's name, since `params`, `scheme` and URLs may hold secrets.
impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceSpec")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
