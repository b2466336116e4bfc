//! A delivery as a provider would make it.

use bytes::Bytes;
use http::Method;

use crate::config::model::Source;
use crate::domain::delivery::UnixMillis;
use hookweir_signatures::sign::{SignInputs, new_key, sample_body, sign as sign_request};
use hookweir_signatures::spec_of;

/// The type of a test event, where the provider has it outside of the body.
const EVENT_TYPE: &str = "hookweir.test";

/// A signed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) method: Method,
    /// To be appended to the URL.
    pub(super) query: String,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    pub(super) body: Bytes,
}

/// Signs for one source.
pub(super) struct Signer {
    pub(super) source: Source,
    /// PKCS#8, for providers that sign with a key pair.
    pub(super) private_key: Option<Vec<u8>>,
    /// Instead of a body of the provider's form.
    pub(super) body: Option<Bytes>,
}

impl Signer {
    /// Event `id`, signed with the source's first secret at `at`.
    pub(super) fn sign(&self, id: &str, at: UnixMillis) -> Result<Delivery, String> {
        let body = match &self.body {
            Some(body) => body.clone(),
            None => sample_body(
                &spec_of(&self.source.spec()).map_err(|error| error.to_string())?,
                id,
                at,
            ),
        };
        let event_type = EVENT_TYPE.to_owned();
        let inputs = SignInputs {
            body,
            id: id.to_owned(),
            event_type,
            at,
            secret: 0,
            private_key: self.private_key.clone(),
        };
        let signed = sign_request(&self.source.spec(), &inputs)
            .map_err(|error| format!("{error}{}", hint(&error)))?;
        Ok(Delivery {
            method: signed.method,
            query: signed.query,
            headers: signed
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
                .collect(),
            body: signed.body,
        })
    }
}

impl Signer {
    /// A private key that is not the source's.
    pub(super) fn other_key(&self) -> Result<Vec<u8>, String> {
        let spec = spec_of(&self.source.spec()).map_err(|error| error.to_string())?;
        new_key(&spec)
            .map(|(private, _)| private)
            .map_err(|why| format!("--wrong-secret: {why}"))
    }
}

fn hint(error: &hookweir_signatures::sign::SignError) -> &'static str {
    match error {
        hookweir_signatures::sign::SignError::PrivateKey => {
            "; --new-key makes one for a trial, give it with --private-key and its public half to the source"
        }
        _ => "",
    }
}
