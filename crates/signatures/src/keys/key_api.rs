//! An API that gives a provider's public key by its id.

use crate::keys::ring::{Fetch, Fetched, KeyRequest, KeyRing, Unproven, What};
use crate::language::context::{Params, Wrong};
use crate::language::spec::KeyApiSpec;
use crate::language::syntax::KeyApiValue;
use crate::refusal::{Reason, Refusal};
use crate::secret::Secret;

/// Longest id of a key.
const MAX_KID: usize = 128;

/// An API that gives a public key by its id.
#[derive(Debug)]
pub(crate) struct KeyApi {
    /// Text before the id, and text after it.
    url: (Box<str>, Option<Box<str>>),
    body: Vec<(Box<str>, Part)>,
    at: Option<Box<str>>,
    secret: Option<Secret>,
}

#[derive(Debug)]
enum Part {
    Kid,
    Secret,
    Text(Box<str>),
}

impl KeyApi {
    pub(crate) fn compile(
        spec: &KeyApiSpec,
        secret: Option<Secret>,
        params: &Params,
    ) -> Result<Self, Wrong> {
        let after = spec.url.after.as_ref().map(|after| after.fill(params));
        let after = after.transpose()?.map(Into::into);
        let part = |(name, value): (&String, &KeyApiValue)| -> Result<(Box<str>, Part), Wrong> {
            let part = match value {
                KeyApiValue::Kid => Part::Kid,
                KeyApiValue::Secret => Part::Secret,
                KeyApiValue::Text(text) => Part::Text(text.fill(params)?.into()),
            };
            Ok((name.as_str().into(), part))
        };
        let body = spec.body.iter().map(part).collect::<Result<Vec<_>, _>>()?;
        if after.is_none() && !body.iter().any(|(_, part)| matches!(part, Part::Kid)) {
            return Err("neither url nor body says {kid}".into());
        }
        let url = (spec.url.before.fill(params)?.into(), after);
        Ok(Self {
            url,
            body,
            at: spec.key_pointer.as_deref().map(Into::into),
            secret,
        })
    }

    /// Returns the URL up to the id, to be judged by the operator who trusts it.
    pub(crate) fn url(&self) -> &str {
        &self.url.0
    }

    /// Returns the key of this id.
    pub(crate) fn key<'k>(&self, kid: &str, keys: &'k KeyRing) -> Result<&'k Fetched, Unproven> {
        if !is_plain(kid) {
            return Err(Refusal::new(
                Reason::SignatureMalformed,
                "the token does not name its key by a plain id",
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
            (before, Some(after)) => format!("{before}{kid}{after}"),
            (url, None) => url.to_string(),
        };
        let body = self.body.iter().map(|(name, part)| {
            let text = match part {
                Part::Kid => kid.into(),
                Part::Secret => String::from_utf8_lossy(
                    self.secret.as_ref().map(Secret::expose).unwrap_or_default(),
                )
                .trim()
                .to_owned(),
                Part::Text(text) => text.to_string(),
            };
            (name.to_string(), text)
        });
        let body: serde_json::Map<String, serde_json::Value> =
            body.map(|(name, text)| (name, text.into())).collect();
        let body = (!body.is_empty())
            .then(|| Secret::new(serde_json::Value::from(body).to_string().into_bytes()));
        Fetch {
            name: kid.into(),
            url,
            body,
            what: What::Key(self.at.clone()),
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
