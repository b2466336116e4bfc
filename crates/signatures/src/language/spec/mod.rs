//! The words in which a scheme is written: a preset in `presets/*.toml`, or `[source.scheme]` of an operator.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::crypto::mac::HashName;
use crate::language::read::{self, Fault};
use crate::language::syntax::{DocumentRef, Expected, FieldRef, MessageText, SampleText};
use crate::language::words::OldWords;

mod defaults;
mod event;
mod facts;
mod handshake;
mod signature;
mod token;
mod walk;

use self::defaults::{post, sha256};
pub use self::event::{BatchSpec, EmptyBatch, EventSpec, IdKind, Missing};
pub use self::facts::{Evidence, FactsSpec, IdentityEvidence};
pub use self::handshake::{HandshakeSpec, RespondSpec, WhenSpec};
pub use self::signature::{
    BindSpec, HashBySpec, KeyDecode, KeySpec, Normalize, PinnedUrlSpec, SigSpec, TimeUnit, TsSpec,
    UrlPorts,
};
pub use self::token::{JwtAlg, JwtDigestSpec, JwtSpec, KeyApiSpec, X5cSpec};
pub(crate) use self::walk::Text;

/// One scheme, as written. Everything is optional but `kind`; secrets, public URL and parameters belong to the source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeSpec {
    /// Proof that the sender gives.
    pub kind: Kind,
    /// The hash of `hmac` and `hash`.
    #[serde(default = "sha256")]
    pub hash: HashName,
    /// Place where the request names its hash, and the accepted names.
    pub hash_by: Option<HashBySpec>,
    /// Rule by which a secret or public key becomes a key.
    #[serde(default)]
    pub key: KeySpec,
    /// Place of the signature (or token). Several may be given; any of them may match.
    #[serde(default)]
    pub signature: Vec<SigSpec>,
    /// Place of the time of signing.
    pub timestamp: Option<TsSpec>,
    /// Signed message, as a template.
    pub message: Option<MessageText>,
    /// Place of the JSON document: `body`, `form:NAME`, `multipart:NAME`, `encrypted:/pointer`, or `jwt` for the token's claims.
    #[serde(default)]
    pub document: DocumentRef,
    /// JSON pointer to an array of which every element is verified for itself; `{json:…}` is then relative to the element.
    pub each: Option<String>,
    /// Verify over the decompressed bytes where the body is gzip.
    #[serde(default)]
    pub gunzip: bool,
    /// Try the URL with and without its port.
    #[serde(default)]
    pub url_ports: UrlPorts,
    /// Preconditions: a place in the request, and what it must equal.
    #[serde(default)]
    pub require: BTreeMap<FieldRef, Expected>,
    /// Digests that the request carries outside of the signature.
    #[serde(default)]
    pub bind: Vec<BindSpec>,
    /// JSON Web Token.
    pub jwt: Option<JwtSpec>,
    /// Place of the URL of the signer's certificate in the request. Public keys that the source gives take its place.
    pub cert_url: Option<PinnedUrlSpec>,
    /// Default values of the source's `params`.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// Methods of events.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// Places of the id and the type of an event.
    #[serde(default)]
    pub event: EventSpec,
    /// Responses that the provider requires.
    #[serde(default)]
    pub respond: RespondSpec,
    /// Requests that are no events.
    #[serde(default)]
    pub handshake: Vec<HandshakeSpec>,
    /// Facts about the provider.
    #[serde(default)]
    pub facts: FactsSpec,
    /// A body of the provider's shape, with `{id}`, `{timestamp_secs}`, `{timestamp_ms}` and `{timestamp_rfc3339}`, for `hookweir send`.
    pub sample: Option<SampleText>,
}

/// Proof that the sender gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HMAC over a message.
    Hmac,
    /// A plain hash over a message that holds the secret.
    Hash,
    /// The secret itself, in a header or elsewhere.
    Token,
    /// HTTP basic authentication; the secret is `user:password`.
    Basic,
    /// A JSON Web Token.
    Jwt,
    /// Ed25519 over a message.
    Ed25519,
    /// ECDSA on P-256 (DER) over a message; with SHA-256 unless `hash` or `hash_by` says SHA-1.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSA PKCS#1 v1.5 over a message; with SHA-256 unless `hash` or `hash_by` says otherwise.
    #[serde(rename = "rsa-sha256", alias = "rsa")]
    Rsa,
    /// Nothing is verified.
    None,
}

impl SchemeSpec {
    /// Returns `true` if requests name keys that have to be fetched, unless the source gives them.
    pub fn fetches(&self) -> bool {
        self.cert_url.is_some() || self.jwt.as_ref().is_some_and(|jwt| jwt.key_api.is_some())
    }

    /// Reads a table whose `like` has been resolved. The error names every key with a mistake in it.
    pub fn from_table(mut table: toml::Table) -> Result<Self, String> {
        let (_, mut faults) = OldWords::replace(&mut table);
        let (spec, more) = Self::read(table);
        faults.extend(more);
        match spec {
            Some(spec) if faults.is_empty() => Ok(spec),
            _ => Err(faults
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    /// The same; with mistakes in it, also what the rest says.
    pub(crate) fn read(mut table: toml::Table) -> (Option<Self>, Vec<Fault>) {
        // One of these is the usual case, and is written without brackets.
        for key in ["signature", "bind", "handshake"] {
            if let Some(one) = table.get_mut(key).filter(|value| value.is_table()) {
                *one = toml::Value::Array(vec![one.clone()]);
            }
        }
        let mut short = None;
        if let Some(token) = table.remove("token") {
            if table.contains_key("signature") {
                short = Some(Fault::new(
                    "token",
                    "short for signature = { from = … }; give one of the two",
                ));
            } else {
                let sig = toml::Table::from_iter([("from".to_owned(), token)]);
                table.insert(
                    "signature".into(),
                    toml::Value::Array(vec![toml::Value::Table(sig)]),
                );
            }
        }
        if let Some(event) = table.get_mut("event").and_then(toml::Value::as_table_mut) {
            id_as_list(event);
            if let Some(batch) = event.get_mut("batch").and_then(toml::Value::as_table_mut) {
                id_as_list(batch);
            }
        }
        let (spec, mut faults) = read::all(table);
        faults.extend(short);
        (spec, faults)
    }
}

fn id_as_list(event: &mut toml::Table) {
    if let Some(id) = event.get_mut("id").filter(|id| id.is_str()) {
        *id = toml::Value::Array(if id.as_str() == Some("") {
            Vec::new()
        } else {
            vec![id.clone()]
        });
    }
}
