//! Schema of handshakes and answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::signature::PinnedUrlSpec;
use crate::language::syntax::{
    Expected, Field, FieldRef, JsonPointer, JsonText, ParamText, PointerText, TemplateText,
};

/// Responses that the provider requires.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RespondSpec {
    /// HTTP status.
    pub status: Option<u16>,
    /// `Content-Type` of the body.
    pub content_type: Option<String>,
    /// Response headers.
    #[serde(default)]
    pub headers: BTreeMap<String, TemplateText>,
    /// Text of the body.
    pub body: Option<TemplateText>,
    /// JSON of the body.
    pub json: Option<JsonText>,
    /// HTTP status for a refused delivery.
    pub reject_status: Option<u16>,
    /// HTTP status for a delivery that cannot be accepted at the moment.
    pub overload_status: Option<u16>,
}

/// Request that is answered and not stored: a provider tests whether an endpoint is alive, or is
/// its owner's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeSpec {
    /// Conditions by which the handshake is recognized.
    pub when: WhenSpec,
    /// Places in the request, and their expected values.
    #[serde(default)]
    pub check: BTreeMap<FieldRef, Expected>,
    /// HTTP status if a check fails. If left out, the request is refused like a bad signature.
    pub otherwise_status: Option<u16>,
    /// The handshake must be signed like a delivery.
    #[serde(default)]
    pub signed: bool,
    /// Parameter of the source that turns this handshake `on` or `off`.
    pub switch_param: Option<String>,
    /// URL to visit once before the handshake is answered. Until then it gets the answer "not now".
    pub visit: Option<PinnedUrlSpec>,
    /// Place of the secret that the provider hands over. If the source has `learn_secret = true`,
    /// the secret is kept.
    pub secret_from: Option<FieldRef>,
    /// Answer to the handshake.
    #[serde(default)]
    pub respond: RespondSpec,
}

/// Conditions by which a handshake is recognized. All that are given must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhenSpec {
    /// HTTP method of the request.
    pub method: Option<String>,
    /// Name of a query parameter that must be present.
    pub query: Option<String>,
    /// Name of a header that must be present.
    pub header: Option<String>,
    /// Name of a form field that must be present.
    pub form: Option<String>,
    /// JSON pointer to a value that must be present.
    pub json: Option<JsonPointer>,
    /// Expected value at the places above.
    pub equals: Option<String>,
}

impl WhenSpec {
    /// Returns the places that must hold a value.
    pub(crate) fn fields(&self) -> Vec<FieldRef> {
        let name = |name: &Option<String>| name.as_deref().map(ParamText::literal);
        let fields = [
            name(&self.query).map(Field::Query),
            name(&self.header).map(Field::Header),
            name(&self.form).map(Field::Form),
            self.json
                .clone()
                .map(|pointer| Field::Json(PointerText::Pointer(pointer))),
        ];
        fields.into_iter().flatten().map(FieldRef).collect()
    }
}
