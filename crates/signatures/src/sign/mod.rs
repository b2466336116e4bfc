//! Signer of requests, by the compiled scheme that verifies them. For test deliveries.

use crate::SourceSpec;
use crate::compile::spec_of;
use crate::crypto::mac::Encoding;
use crate::scheme::{Check, Scheme};

mod draft;
mod inputs;
mod keys;
mod proof;
pub(crate) mod sample;
mod token;

use self::draft::Draft;
pub use self::inputs::{Sender, SignError, SignInputs, SignedRequest};
pub use self::keys::new_key;
pub use self::sample::sample_body;

/// Signs a request for `source` as its provider does.
pub fn sign(source: &SourceSpec, inputs: &SignInputs) -> Result<SignedRequest, SignError> {
    sign_as(source, inputs, None)
}

/// Signs a request for a sender that decides its method and headers; see [`sign`].
pub fn sign_as(
    source: &SourceSpec,
    inputs: &SignInputs,
    sender: Option<&Sender>,
) -> Result<SignedRequest, SignError> {
    let spec = spec_of(source).map_err(|error| SignError::Scheme(vec![error]))?;
    let scheme = Scheme::compile(source, usize::MAX).map_err(SignError::Scheme)?;
    let mut draft = Draft::new(source, &spec, &scheme, inputs)?;
    match sender {
        Some(sender) => draft.of(sender),
        None => draft.named()?,
    }
    match &scheme.check {
        Check::Unverified => {}
        Check::Basic(_) => {
            let credentials = source
                .secrets
                .get(inputs.secret)
                .map(|secret| Encoding::Base64.encode(secret.expose()));
            draft.header(
                "authorization",
                &format!("Basic {}", credentials.unwrap_or_default()),
            )?;
        }
        Check::Proof(proof) => draft.prove(proof)?,
        Check::Jwt(rule) => draft.token(rule)?,
    }
    draft.wrap()?;
    Ok(SignedRequest {
        method: draft.method,
        query: draft.query,
        headers: draft.headers,
        body: draft.body.into(),
    })
}
