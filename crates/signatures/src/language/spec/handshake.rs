//! Schema of handshakes and answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::signature::PinnedUrlSpec;
use crate::language::syntax::{Expected, Field, FieldRef, JsonText, ParamText, TemplateText};

/// Responses that the provider requires.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// Status.
    pub status: Option<u16>,
    /// `Content-Type` of the body.
    pub content_type: Option<String>,
    /// Headers.
    #[serde(default)]
    pub headers: BTreeMap<String, TemplateText>,
    /// Body.
    pub body: Option<TemplateText>,
    /// Body, as JSON.
    pub json: Option<JsonText>,
    /// Status for a refused delivery.
    pub reject_status: Option<u16>,
    /// Status for "not now".
    pub overload_status: Option<u16>,
}

/// A request that is no event.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// Conditions by which it is recognised.
    pub when: WhenSpec,
    /// Places in the request, and what they must equal.
    #[serde(default)]
    pub check: BTreeMap<FieldRef, Expected>,
    /// Status where a check fails; refused as a bad signature if left out.
    pub otherwise_status: Option<u16>,
    /// The request must verify first.
    #[serde(default)]
    pub signed: bool,
    /// The parameter that must be `on` for it; with `off` such a request is no handshake.
    pub switch_param: Option<String>,
    /// A URL to be visited, once, before it is answered; until then it is "not now".
    pub visit: Option<PinnedUrlSpec>,
    /// Place of the secret that the provider hands over. It is kept if the source says `learn_secret = true`.
    pub secret_from: Option<FieldRef>,
    /// The answer.
    #[serde(default)]
    pub respond: RespondSpec,
}

/// Conditions by which a handshake is recognised; everything given must hold.
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
    /// Expected value of the place named above.
    pub equals: Option<String>,
}

impl WhenSpec {
    /// Returns the places of which each must hold something.
    pub(crate) fn fields(&self) -> Vec<FieldRef> {
        let name = |name: &Option<String>| name.as_deref().map(ParamText::literal);
        let fields = [
            name(&self.query).map(Field::Query),
            name(&self.header).map(Field::Header),
            name(&self.form).map(Field::Form),
            name(&self.json).map(Field::Json),
        ];
        fields.into_iter().flatten().map(FieldRef).collect()
    }
}
