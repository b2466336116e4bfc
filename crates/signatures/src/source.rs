//! Input of the compiler: what an operator configures for one source.

use std::collections::BTreeMap;
use std::fmt;

use crate::Secret;

/// Scheme and keys of one inbound, as an operator writes them.
#[derive(Clone, Default)]
pub struct SourceSpec {
    /// Name of a preset; see [`presets`](crate::presets).
    pub provider: Option<String>,
    /// A scheme of its own, or changes to the preset, in the words of [`SchemeSpec`](crate::spec::SchemeSpec).
    pub scheme: Option<toml::Table>,
    /// Secrets, the newest first; any of them may have signed.
    pub secrets: Vec<Secret>,
    /// The provider hands its secret over in a handshake.
    pub learn_secret: bool,
    /// Public keys, as the provider shows them.
    pub public_keys: Vec<Secret>,
    /// Key set (RFC 7517), or the `https://` URL of one.
    pub jwks: Option<String>,
    /// URL as entered at the provider.
    pub public_url: Option<String>,
    /// Parameters of the preset.
    pub params: BTreeMap<String, String>,
    /// Each event of a batch is an event of its own. None: as the preset says.
    pub split: Option<bool>,
    /// Events are routed by their type: a warning says where nobody signs it.
    pub routes_by_type: bool,
    /// Largest body after decompression, in bytes.
    pub max_body_bytes: Option<usize>,
}

impl SourceSpec {
    /// A source of a known provider.
    pub fn of(provider: &str) -> Self {
        Self {
            provider: Some(provider.into()),
            ..Self::default()
        }
    }
}

/// Shows only the provider's name: `params`, `scheme` and URLs may hold what others must not see.
impl fmt::Debug for SourceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceSpec")
            .field("provider", &self.provider)
            .finish_non_exhaustive()
    }
}
