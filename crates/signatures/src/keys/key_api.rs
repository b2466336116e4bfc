//! An API that gives a provider's public key by its id.

use crate::json_pointers::JsonPointer;
use crate::keys::ring::{Fetch, Fetched, KeyRequest, KeyRing, Unproven, What};
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;

/// Longest id of a key.
const MAX_KID: usize = 128;

/// An API that gives a public key by its id.
#[derive(Debug)]
pub(crate) struct KeyApi {
    pub(crate) url: KeyUrl,
    pub(crate) body: Vec<(Box<str>, BodyPart)>,
    /// Place of the key in the response; None for a response in PEM.
    pub(crate) pointer: Option<JsonPointer>,
}

/// URL of an API, with the id in it or without one.
#[derive(Debug)]
pub(crate) enum KeyUrl {
    Fixed(Box<str>),
    ById { before: Box<str>, after: Box<str> },
}

/// Value in the JSON that is posted to an API.
#[derive(Debug)]
pub(crate) enum BodyPart {
    Kid,
    Secret(SecretText),
    Text(Box<str>),
}

/// Secret that is text, for JSON. `Debug` shows nothing of it.
pub(crate) struct SecretText(Box<str>);

impl SecretText {
    /// Returns the secret without surrounding white space. Fails if it is not text, or is empty.
    pub(crate) fn new(secret: &Secret) -> Result<Self, &'static str> {
        match std::str::from_utf8(secret.expose()).map(str::trim) {
            Ok("") => Err("is empty"),
            Ok(text) => Ok(Self(text.into())),
            Err(_) => Err("is not text"),
        }
    }
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl KeyUrl {
    /// Returns the URL up to the id, to be judged by the operator who trusts it.
    pub(crate) fn start(&self) -> &str {
        match self {
            Self::Fixed(url) => url,
            Self::ById { before, .. } => before,
        }
    }
}

impl KeyApi {
    /// Returns `true` if the request to the API names the key.
    pub(crate) fn names_the_key(&self) -> bool {
        let in_body = |(_, part): &(_, BodyPart)| matches!(part, BodyPart::Kid);
        matches!(self.url, KeyUrl::ById { .. }) || self.body.iter().any(in_body)
    }

    /// Returns the key of this id.
    pub(crate) fn key<'k>(&self, kid: &str, keys: &'k KeyRing) -> Result<&'k Fetched, Unproven> {
        if !is_plain(kid) {
            return Err(Refusal::new(
                Reason::SignatureMalformed,
                "the token's key id is missing, or not of letters, digits, hyphens and underscores only",
            )
            .into());
        }
        keys.fetched(kid)
            .ok_or_else(|| Unproven::needs(KeyRequest::Fetch(self.fetch(kid))))
    }

    /// Returns the fetch of the key of this id, if a token can name it.
    pub(crate) fn recall(&self, kid: &str) -> Option<Fetch> {
        is_plain(kid).then(|| self.fetch(kid))
    }

    fn fetch(&self, kid: &str) -> Fetch {
        let url = match &self.url {
            KeyUrl::Fixed(url) => url.to_string(),
            KeyUrl::ById { before, after } => format!("{before}{kid}{after}"),
        };
        let body = self.body.iter().map(|(name, part)| {
            let text = match part {
                BodyPart::Kid => kid,
                BodyPart::Secret(SecretText(text)) | BodyPart::Text(text) => text,
            };
            (name.to_string(), text.into())
        });
        let body: serde_json::Map<String, serde_json::Value> = body.collect();
        let body = (!body.is_empty())
            .then(|| Secret::new(serde_json::Value::from(body).to_string().into_bytes()));
        Fetch {
            name: kid.into(),
            url,
            body,
            what: What::Key(self.pointer.clone()),
        }
    }
}

/// Returns `true` if an id can stand in a URL as it is.
fn is_plain(kid: &str) -> bool {
    let harmless = kid
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    harmless && !kid.is_empty() && kid.len() <= MAX_KID
}
