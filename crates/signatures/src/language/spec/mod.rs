//! Schema of the scheme language: the tables of presets, and of `[source.scheme]` in a
//! configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::crypto::mac::HashName;
use crate::language::key_path::KeyPath;
use crate::language::read::{self, Fault};
use crate::language::syntax::{
    DocumentRef, Expected, FieldRef, JsonPointer, MessageText, SampleText,
};
use crate::language::words::OldWords;

mod defaults;
mod event;
mod facts;
mod handshake;
mod replay;
mod signature;
mod token;
mod walk;

use self::defaults::{post, sha256};
pub use self::event::{BatchSpec, EmptyBatch, EventSpec, IdKind, Missing};
pub use self::facts::{Evidence, FactsSpec, IdentityEvidence};
pub use self::handshake::{HandshakeSpec, RespondSpec, WhenSpec};
pub use self::replay::ReplaySpec;
pub use self::signature::{
    BindSpec, HashBySpec, KeyDecode, KeySpec, Normalize, PinnedUrlSpec, SigSpec, StripPrefix,
    TimeUnit, TsSpec, UrlPorts,
};
pub use self::token::{JwtAlg, JwtDigestSpec, JwtSpec, KeyApiSpec, X5cSpec};
pub(crate) use self::walk::Text;

/// Signature scheme as written. Only `kind` is required; secrets, public URL and parameters belong
/// to the source.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemeSpec {
    /// Proof that a sender gives: a signature, a token or a login.
    pub kind: Kind,
    /// Hash function of a signature; SHA-256 if left out.
    #[serde(default = "sha256")]
    pub hash: HashName,
    /// Place in which the request names its hash function, and the accepted names.
    pub hash_by: Option<HashBySpec>,
    /// Rule that turns a secret or public key into key bytes.
    #[serde(default)]
    pub key: KeySpec,
    /// Places of the signature or token. If there are several, any of them may match.
    #[serde(default)]
    pub signature: Vec<SigSpec>,
    /// Place of the time of signing.
    pub timestamp: Option<TsSpec>,
    /// Template of the signed message.
    pub message: Option<MessageText>,
    /// Parts of the message by which the same message again is a replay.
    #[serde(default)]
    pub replay: ReplaySpec,
    /// Place of the JSON document: `body`, `form:NAME`, `multipart:NAME`, `encrypted:/pointer`, or
    /// `jwt` for the token's claims.
    #[serde(default)]
    pub document: DocumentRef,
    /// JSON pointer to an array whose elements are signed one by one. `{json:…}` is then relative
    /// to the element.
    pub each: Option<JsonPointer>,
    /// If the body is gzip, the signature covers the decompressed bytes.
    #[serde(default)]
    pub gunzip: bool,
    /// Spellings of the public URL that the verifier tries.
    #[serde(default)]
    pub url_ports: UrlPorts,
    /// Preconditions: places in the request, and their expected values.
    #[serde(default)]
    pub require: BTreeMap<FieldRef, Expected>,
    /// Digests in the request that must match.
    #[serde(default)]
    pub bind: Vec<BindSpec>,
    /// Rule for JSON Web Tokens.
    pub jwt: Option<JwtSpec>,
    /// URL of the signer's certificate, as the request names it. If the source has public keys,
    /// those are used instead.
    pub cert_url: Option<PinnedUrlSpec>,
    /// Default values of the source's parameters.
    #[serde(default)]
    pub params: BTreeMap<String, String>,
    /// HTTP methods of deliveries; POST if left out.
    #[serde(default = "post")]
    pub methods: Vec<String>,
    /// Places of the id and the type of an event.
    #[serde(default)]
    pub event: EventSpec,
    /// Responses that the provider requires.
    #[serde(default)]
    pub respond: RespondSpec,
    /// Handshakes: requests that are answered and not stored.
    #[serde(default)]
    pub handshake: Vec<HandshakeSpec>,
    /// Facts about the provider.
    #[serde(default)]
    pub facts: FactsSpec,
    /// Example body with `{id}`, `{timestamp_secs}`, `{timestamp_ms}` and `{timestamp_rfc3339}`,
    /// for `hookweir send`.
    pub sample: Option<SampleText>,
}

/// Proof that a sender gives: a signature, a token or a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// HMAC over a message.
    Hmac,
    /// Plain hash over a message that contains the secret.
    Hash,
    /// Secret sent as it is, in a header or elsewhere.
    Token,
    /// HTTP basic authentication. The secret is `user:password`.
    Basic,
    /// A JSON Web Token.
    Jwt,
    /// Ed25519 over a message.
    Ed25519,
    /// ECDSA on P-256 over a message, in DER. The hash is SHA-256, or SHA-1 by `hash` or `hash_by`.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// RSA PKCS#1 v1.5 over a message. The hash is SHA-256, or another by `hash` or `hash_by`.
    #[serde(rename = "rsa-sha256", alias = "rsa")]
    Rsa,
    /// No proof: every request is accepted.
    None,
}

impl SchemeSpec {
    /// Returns `true` if requests name keys to fetch. A source with public keys of its own fetches
    /// none.
    pub fn fetches(&self) -> bool {
        self.cert_url.is_some() || self.jwt.as_ref().is_some_and(|jwt| jwt.key_api.is_some())
    }

    /// Reads a scheme from a table without `like`. The error names every key with a mistake.
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

    /// Reads a scheme from a table. Returns the keys without mistakes, if they make a scheme, and
    /// every mistake.
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
                    KeyPath::of("token"),
                    "short for signature = { from = … }, which is given too; remove one of the two",
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
