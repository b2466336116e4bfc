//! A delivery as a provider would make it.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::model::Source;
use crate::delivery::UnixMillis;

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
}

/// Event `id`, signed with the source's first secret at `now`. `body` instead of one that fits the provider.
pub(super) fn sign(source: &Source, id: &str, body: Option<Bytes>, _now: UnixMillis) -> Result<Delivery, String> {
    if source.provider.as_deref() != Some("github") {
        return Err("only github's signature can be made for now".to_owned());
    }
    let secret = source.secrets.first().ok_or("the source has no secret to sign with")?;
    let body = body.unwrap_or_else(|| serde_json::json!({ "id": id, "hello": "weir" }).to_string().into());
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).map_err(|error| error.to_string())?;
    mac.update(&body);
    let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("x-github-event", "hookweir.test".to_owned()),
        ("x-github-delivery", id.to_owned()),
        ("x-hub-signature-256", signature),
    ];
    Ok(Delivery { headers: headers.map(|(name, value)| (name.to_owned(), value)).into(), body })
}
