//! Keys that verify tokens: a provider's key set, or public keys given one by one.

use p521::ecdsa::signature::Verifier;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::Deserialize;

use crate::crypto::jws::JwtAlg;
use crate::crypto::mac::decode_pasted_base64;
use crate::crypto::public_key::{OID_EC, OID_ED25519, OID_RSA, decode, spki};

/// Most keys of a set that are kept.
const MAX_KEYS: usize = 64;

/// Public keys of a JSON Web Key Set (RFC 7517).
#[derive(Debug, Clone, Default)]
pub struct JwkSet(Vec<Jwk>);

#[derive(Debug, Clone)]
struct Jwk {
    kid: Option<String>,
    key: Key,
}

#[derive(Debug, Clone)]
enum Key {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// PKCS#1, as PEM has it.
    RsaDer(Vec<u8>),
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// A key set as sent.
#[derive(Deserialize)]
struct Document {
    keys: Vec<Entry>,
}

/// A key as sent.
#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Time at which Plaid took the key out of use.
    expired_at: Option<u64>,
}

impl Entry {
    /// Returns the key, if it is of a kind that a scheme uses.
    fn key(&self) -> Option<Key> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Some(Key::Rsa {
                n: bytes(self.n.as_deref())?,
                e: bytes(self.e.as_deref())?,
            }),
            ("EC", Some("P-256")) => self.point(32).map(Key::P256),
            ("EC", Some("P-384")) => self.point(48).map(Key::P384),
            ("EC", Some("P-521")) => self.point(66).map(Key::P521),
            ("OKP", Some("Ed25519")) => bytes(self.x.as_deref()).map(Key::Ed25519),
            _ => None,
        }
    }

    /// Returns the uncompressed point. Some sets strip leading zeros from coordinates.
    fn point(&self, size: usize) -> Option<Vec<u8>> {
        let mut point = vec![4];
        for coordinate in [bytes(self.x.as_deref())?, bytes(self.y.as_deref())?] {
            point.extend(std::iter::repeat_n(0, size.checked_sub(coordinate.len())?));
            point.extend(coordinate);
        }
        Some(point)
    }
}

fn bytes(text: Option<&str>) -> Option<Vec<u8>> {
    decode_pasted_base64(text?.as_bytes())
}

impl JwkSet {
    /// Parses a key set. Keys of unsupported kinds are left out. Fails if no key remains.
    pub fn parse(document: &str) -> Result<Self, String> {
        let document: Document = serde_json::from_str(document)
            .map_err(|error| format!("not a JSON Web Key Set: {error}"))?;
        let in_use = document
            .keys
            .iter()
            .filter(|entry| entry.expired_at.is_none());
        let keys = in_use.filter_map(|entry| {
            Some(Jwk {
                kid: entry.kid.clone(),
                key: entry.key()?,
            })
        });
        let keys: Vec<_> = keys.take(MAX_KEYS).collect();
        if keys.is_empty() {
            Err("the key set holds no RSA, P-256, P-384, P-521 or Ed25519 key".into())
        } else {
            Ok(Self(keys))
        }
    }

    /// The one key of a certificate.
    pub(crate) fn p256(point: Vec<u8>) -> Self {
        Self(vec![Jwk {
            kid: None,
            key: Key::P256(point),
        }])
    }

    /// Adds a public key as the operator pastes it.
    pub(crate) fn add_pasted(&mut self, pasted: &[u8]) -> Result<(), String> {
        let der = decode(pasted)?;
        let (oid, bare) = spki(&der).ok_or("not a public key in PEM")?;
        let key = match (oid, bare.len()) {
            (oid, _) if oid == OID_RSA => Key::RsaDer(bare.to_vec()),
            (oid, 65) if oid == OID_EC => Key::P256(bare.to_vec()),
            (oid, 97) if oid == OID_EC => Key::P384(bare.to_vec()),
            (oid, 133) if oid == OID_EC => Key::P521(bare.to_vec()),
            (oid, 32) if oid == OID_ED25519 => Key::Ed25519(bare.to_vec()),
            _ => return Err("a public key of a kind that signs no token here; give an RSA, P-256, P-384, P-521 or Ed25519 key".into()),
        };
        self.0.push(Jwk { kid: None, key });
        Ok(())
    }

    /// Returns `true` if there is a key that a token of this `kid` may mean.
    pub(crate) fn knows(&self, kid: Option<&str>) -> bool {
        self.0
            .iter()
            .any(|jwk| kid.is_none() || jwk.kid.is_none() || jwk.kid.as_deref() == kid)
    }

    /// Returns `true` if a key that the token may mean made this signature.
    pub(crate) fn verifies(
        &self,
        alg: JwtAlg,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let meant = |jwk: &&Jwk| kid.is_none() || jwk.kid.is_none() || jwk.kid.as_deref() == kid;
        self.0
            .iter()
            .filter(meant)
            .any(|jwk| jwk.key.verifies(alg, message, signature))
    }
}

impl Key {
    fn verifies(&self, alg: JwtAlg, message: &[u8], signature: &[u8]) -> bool {
        let rsa = match alg {
            JwtAlg::RS256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            JwtAlg::RS384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            JwtAlg::RS512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        };
        let by = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok()
        };
        match (self, alg, rsa) {
            (Self::Rsa { n, e }, _, Some(rsa)) => RsaPublicKeyComponents { n, e }
                .verify(rsa, message, signature)
                .is_ok(),
            (Self::RsaDer(key), _, Some(rsa)) => by(rsa, key),
            (Self::P256(key), JwtAlg::ES256, _) => by(&ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), JwtAlg::ES384, _) => by(&ECDSA_P384_SHA384_FIXED, key),
            (Self::P521(key), JwtAlg::ES512, _) => es512(key, message, signature),
            (Self::Ed25519(key), JwtAlg::EdDSA, _) => by(&ED25519, key),
            _ => false,
        }
    }
}

/// ECDSA on P-521 with SHA-512.
fn es512(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(key) = p521::ecdsa::VerifyingKey::from_sec1_bytes(key) else {
        return false;
    };
    p521::ecdsa::Signature::from_slice(signature)
        .is_ok_and(|signature| key.verify(message, &signature).is_ok())
}
