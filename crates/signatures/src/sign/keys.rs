//! Private keys of providers, for tests and for `hookweir send`.

use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p521::ecdsa::signature::Signer as _;
use p521::pkcs8::DecodePrivateKey as _;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaSigningAlgorithm,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
};

use crate::crypto::mac::HashName;
use crate::language::spec::{JwtAlg, Kind, SchemeSpec};
use crate::sign::inputs::SignError;

/// Returns a new private key in PKCS#8 for a scheme, and its public key as a source takes it.
pub fn new_key(spec: &SchemeSpec) -> Result<(Vec<u8>, String), String> {
    use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let failed = |_| "cannot make a key: the system gives no random numbers".to_owned();
    match SigningKey::of_scheme(spec) {
        Some(SigningKey::Ed25519) => {
            let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random)
                .map_err(failed)?
                .as_ref()
                .to_vec();
            let public = Ed25519KeyPair::from_pkcs8(&pkcs8)
                .map(|key| hex::encode(key.public_key()))
                .map_err(|error| error.to_string())?;
            Ok((pkcs8, public))
        }
        Some(kind @ (SigningKey::Ecdsa(_) | SigningKey::P256Sha1)) => {
            let algorithm = match kind {
                SigningKey::Ecdsa(algorithm) => algorithm,
                // A key on P-256 is one, whatever it is to sign.
                _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
            };
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random)
                .map_err(failed)?
                .as_ref()
                .to_vec();
            let key = EcdsaKeyPair::from_pkcs8(algorithm, &pkcs8, &random)
                .map_err(|error| error.to_string())?;
            // What a token is verified with is given as certificates and PEM have it.
            let prefix = if spec.kind == Kind::Jwt {
                "3059301306072a8648ce3d020106082a8648ce3d030107034200"
            } else {
                ""
            };
            Ok((pkcs8, format!("{prefix}{}", hex::encode(key.public_key()))))
        }
        Some(SigningKey::Rsa(_)) => Err(
            "cannot make a key for RSA; make one yourself: openssl genpkey -algorithm RSA -outform DER"
                .to_owned(),
        ),
        Some(SigningKey::P521) => {
            Err("cannot make a key on P-521; make one yourself: openssl genpkey -algorithm EC".to_owned())
        }
        None => Err("this provider signs with a secret".to_owned()),
    }
}

fn unfit<E>(_: E) -> SignError {
    SignError::Body("the private key does not fit the scheme".into())
}

/// Algorithm that a private key signs with.
#[derive(Clone, Copy)]
pub(super) enum SigningKey {
    Ed25519,
    Ecdsa(&'static EcdsaSigningAlgorithm),
    /// A hash that `ring` does not sign with.
    P256Sha1,
    P521,
    Rsa(HashName),
}

impl SigningKey {
    /// Returns the algorithm of a scheme; None if it signs with a secret.
    fn of_scheme(spec: &SchemeSpec) -> Option<Self> {
        match (spec.kind, &spec.jwt) {
            (Kind::Jwt, Some(jwt)) => {
                let mut algorithms = jwt.algorithms.iter();
                algorithms.find_map(|alg| Self::of_token(*alg).ok())
            }
            (Kind::Ed25519 | Kind::EcdsaP256 | Kind::Rsa, _) => {
                Some(Self::of_kind(spec.kind, spec.hash))
            }
            _ => None,
        }
    }

    pub(super) fn of_kind(kind: Kind, hash: HashName) -> Self {
        match kind {
            Kind::Ed25519 => Self::Ed25519,
            Kind::EcdsaP256 if hash == HashName::Sha1 => Self::P256Sha1,
            Kind::EcdsaP256 => Self::Ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            _ => Self::Rsa(hash),
        }
    }

    pub(super) fn of_token(alg: JwtAlg) -> Result<Self, SignError> {
        match alg {
            JwtAlg::RS256 => Ok(Self::Rsa(HashName::Sha256)),
            JwtAlg::ES512 => Ok(Self::P521),
            JwtAlg::ES256 => Ok(Self::Ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            JwtAlg::EdDSA => Ok(Self::Ed25519),
            _ => Err(SignError::PrivateKey),
        }
    }
}

impl SigningKey {
    /// Signs a message with a private key in PKCS#8.
    pub(super) fn sign(self, pkcs8: Option<&[u8]>, message: &[u8]) -> Result<Vec<u8>, SignError> {
        use ring::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
        let pkcs8 = pkcs8.ok_or(SignError::PrivateKey)?;
        let random = ring::rand::SystemRandom::new();
        match self {
            Self::Ed25519 => Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                .map(|key| key.sign(message).as_ref().to_vec())
                .map_err(unfit),
            Self::Ecdsa(algorithm) => {
                let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).map_err(unfit)?;
                key.sign(&random, message)
                    .map(|signature| signature.as_ref().to_vec())
                    .map_err(|_| SignError::PrivateKey)
            }
            Self::P256Sha1 => {
                let key = p256::ecdsa::SigningKey::from_pkcs8_der(pkcs8).map_err(unfit)?;
                let signature = key.sign_prehash(HashName::Sha1.of([message]).as_bytes());
                let signature: p256::ecdsa::Signature =
                    signature.map_err(|_| SignError::PrivateKey)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Self::P521 => {
                let key = p521::ecdsa::SigningKey::from_pkcs8_der(pkcs8).map_err(unfit)?;
                let signature: p521::ecdsa::Signature = key.sign(message);
                Ok(signature.to_bytes().to_vec())
            }
            Self::Rsa(hash) => {
                let padding = match hash {
                    HashName::Sha256 => &RSA_PKCS1_SHA256,
                    HashName::Sha384 => &RSA_PKCS1_SHA384,
                    HashName::Sha512 => &RSA_PKCS1_SHA512,
                    // Old signatures are still verified; new ones are not made.
                    _ => {
                        return Err(SignError::Body(format!(
                            "nothing is signed anew by RSA with {}",
                            hash.name()
                        )));
                    }
                };
                let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(unfit)?;
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut signature)
                    .map_err(|_| SignError::PrivateKey)?;
                Ok(signature)
            }
        }
    }
}
