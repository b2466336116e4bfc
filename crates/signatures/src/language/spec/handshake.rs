//! Schema of handshakes and answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::signature::PinnedUrlSpec;

/// What the provider wants to be answered.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// Status.
    pub status: Option<u16>,
    /// `Content-Type` of the body.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Body.
    pub body: Option<String>,
    /// Body, as JSON.
    pub json: Option<toml::Value>,
    /// Status for a refused delivery.
    pub reject: Option<u16>,
    /// Status for "not now".
    pub overload: Option<u16>,
}

/// A request that is no event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// How it is recognised.
    pub when: WhenSpec,
    /// Places in the request, and what they must equal.
    #[serde(default)]
    pub check: BTreeMap<String, String>,
    /// Status where a check fails; refused as a bad signature if left out.
    pub otherwise: Option<u16>,
    /// The request must verify first.
    #[serde(default)]
    pub signed: bool,
    /// The parameter that must be `on` for it; with `off` such a request is no handshake.
    pub switch: Option<String>,
    /// A URL to be visited, once, before it is answered; until then it is "not now".
    pub visit: Option<PinnedUrlSpec>,
    /// Where the provider hands over the source's secret, which is kept where the source says `learn_secret = true`.
    pub learn: Option<String>,
    /// The answer.
    #[serde(default)]
    pub respond: RespondSpec,
}

/// How a handshake is recognised; everything given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenSpec {
    /// Method.
    pub method: Option<String>,
    /// A query parameter that is there.
    pub query: Option<String>,
    /// A header that is there.
    pub header: Option<String>,
    /// A form field that is there.
    pub form: Option<String>,
    /// A JSON value that is there.
    pub json: Option<String>,
    /// What the value of the place named above is.
    pub equals: Option<String>,
}
