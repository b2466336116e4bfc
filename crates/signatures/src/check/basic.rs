//! HTTP basic authentication.

use crate::crypto::mac::{Encoding, Tag, token_digest};
use crate::refusal::{Reason, Refusal};
use crate::request::view::View;

/// Checks the login of a request against the digests of `user:password`. Returns the position of the
/// right one.
pub(crate) fn check(secrets: &[Tag], view: &View<'_>) -> Result<usize, Refusal> {
    let header = view
        .header(&http::header::AUTHORIZATION)?
        .filter(|value| !value.is_empty());
    let Some(header) = header else {
        return Err(Refusal::new(
            Reason::SignatureMissing,
            "authorization is missing or empty",
        ));
    };
    let (scheme, credentials) = header.split_at_checked(6).unwrap_or_default();
    let decoded = Encoding::Base64
        .decode(credentials)
        .filter(|_| scheme.eq_ignore_ascii_case(b"basic "));
    let Some(decoded) = decoded else {
        return Err(Refusal::new(
            Reason::SignatureMalformed,
            "authorization is not HTTP basic authentication",
        ));
    };
    let digest = token_digest(&decoded);
    let right = |secret: &Tag| secret.matches(digest.as_bytes());
    secrets.iter().position(right).ok_or_else(|| {
        Refusal::new(
            Reason::SignatureMismatch,
            "user and password are not those of this source",
        )
    })
}
