//! Public keys as providers publish them: PEM, base64 of an SPKI, or the bare key.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ED25519,
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, UnparsedPublicKey,
};

use crate::crypto::mac::{HashName, decode_pasted_base64};

/// Kind of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Ed25519,
    P256,
    Rsa,
}

impl std::fmt::Display for KeyKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ed25519 => "Ed25519",
            Self::P256 => "ECDSA on P-256",
            Self::Rsa => "RSA",
        })
    }
}

/// A public key and what it verifies.
#[derive(Clone)]
pub(crate) enum PublicKey {
    /// PKCS#1; under whichever hash.
    Rsa(Vec<u8>),
    /// The point; under SHA-256 or, as eBay still does, SHA-1.
    P256(Vec<u8>),
    Other(UnparsedPublicKey<Vec<u8>>),
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PublicKey")
    }
}

/// Object identifiers, as DER writes their values.
pub(crate) const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
pub(crate) const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
pub(crate) const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];

impl PublicKey {
    /// Reads a key of this kind.
    pub(crate) fn parse(kind: KeyKind, pasted: &[u8]) -> Result<Self, String> {
        Self::from_der(kind, &decode(pasted)?)
    }

    /// Takes an SPKI, or the bare key.
    pub(crate) fn from_der(kind: KeyKind, der: &[u8]) -> Result<Self, String> {
        let bare = spki(der).map_or(Ok(der), |(oid, key)| {
            let expected = match kind {
                KeyKind::Ed25519 => OID_ED25519,
                KeyKind::P256 => OID_EC,
                KeyKind::Rsa => OID_RSA,
            };
            if oid == expected {
                Ok(key)
            } else {
                Err(format!("a public key of another kind; give one for {kind}"))
            }
        })?;
        let fits = match kind {
            KeyKind::Ed25519 => bare.len() == 32,
            KeyKind::P256 => bare.len() == 65 && bare[0] == 4,
            KeyKind::Rsa => bare.len() >= 256 && bare[0] == 0x30,
        };
        if !fits {
            return Err(format!(
                "not a public key for {kind}; paste the key as the provider shows it"
            ));
        }
        let bare = bare.to_vec();
        Ok(match kind {
            KeyKind::Ed25519 => Self::Other(UnparsedPublicKey::new(&ED25519, bare)),
            KeyKind::P256 => Self::P256(bare),
            KeyKind::Rsa => Self::Rsa(bare),
        })
    }

    /// Returns `true` if the key made this signature; the hash is for kinds that leave it open.
    pub(crate) fn verifies(&self, hash: HashName, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => rsa(hash).is_some_and(|rsa| {
                UnparsedPublicKey::new(rsa, key)
                    .verify(message, signature)
                    .is_ok()
            }),
            Self::P256(point) if hash == HashName::Sha1 => {
                p256_sha1(point, message, signature).is_some()
            }
            Self::P256(point) => {
                let verifies = |algorithm| {
                    UnparsedPublicKey::new(algorithm, point)
                        .verify(message, signature)
                        .is_ok()
                };
                // Two bare numbers (JWS, RFC 9421), or the same in DER.
                verifies(&ECDSA_P256_SHA256_ASN1)
                    || signature.len() == 64 && verifies(&ECDSA_P256_SHA256_FIXED)
            }
            Self::Other(key) => key.verify(message, signature).is_ok(),
        }
    }
}

fn p256_sha1(point: &[u8], message: &[u8], signature: &[u8]) -> Option<()> {
    let key = VerifyingKey::from_sec1_bytes(point).ok()?;
    key.verify_prehash(
        HashName::Sha1.of([message]).as_bytes(),
        &Signature::from_der(signature).ok()?,
    )
    .ok()
}

/// RSA PKCS#1 v1.5 with a hash that signatures are still made with.
fn rsa(hash: HashName) -> Option<&'static RsaParameters> {
    match hash {
        HashName::Sha1 => Some(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY),
        HashName::Sha256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        HashName::Sha384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        HashName::Sha512 => Some(&RSA_PKCS1_2048_8192_SHA512),
        HashName::Md5 => None,
    }
}

/// PEM, hexadecimal or base64.
pub(crate) fn decode(pasted: &[u8]) -> Result<Vec<u8>, String> {
    let text = std::str::from_utf8(pasted)
        .map_err(|_| "not text; paste the key as PEM, base64 or hexadecimal".to_owned())?
        .trim();
    let armoured = text.contains("-----BEGIN");
    let inner: String = text
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .collect();
    if !armoured
        && inner.len().is_multiple_of(2)
        && let Ok(bytes) = hex::decode(&inner)
        && !bytes.is_empty()
    {
        return Ok(bytes);
    }
    decode_pasted_base64(inner.as_bytes())
        .filter(|bytes| !bytes.is_empty())
        .ok_or_else(|| {
            "neither PEM, base64 nor hexadecimal; paste the key as the provider shows it".into()
        })
}

/// Algorithm and key of a SubjectPublicKeyInfo.
pub(crate) fn spki(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (outer, rest) = element(der, 0x30)?;
    let (algorithm, key) = element(outer, 0x30)?;
    let (oid, _) = element(algorithm, 0x06)?;
    let (bits, after) = element(key, 0x03)?;
    // The first byte of a bit string counts its unused bits.
    (rest.is_empty() && after.is_empty() && bits.first() == Some(&0)).then(|| (oid, &bits[1..]))
}

/// One DER element of this tag: its value, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (
            usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])),
            &rest[2..],
        ),
        _ => return None,
    };
    (found == tag && len <= rest.len()).then(|| rest.split_at(len))
}
