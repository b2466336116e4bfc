//! X.509 certificates: one that a provider keeps at a URL of its own, and the chain that a token
//! brings along.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::Oid;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use crate::UnixMillis;
use crate::crypto::public_key::{KeyKind, OID_EC, PublicKey};

/// The certificate of a signer. That it is the provider's is known from where it was fetched.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) key: PublicKey,
    not_before: i64,
    not_after: i64,
}

impl Certificate {
    /// The first certificate of a PEM file, with a key of RSA.
    pub(crate) fn parse(pem: &[u8]) -> Result<Self, String> {
        let (_, pem) = parse_x509_pem(pem).map_err(|_| "not a certificate in PEM")?;
        let certificate = parse(&pem.contents).ok_or("not a certificate")?;
        let validity = certificate.validity();
        Ok(Self {
            key: PublicKey::from_der(KeyKind::Rsa, certificate.public_key().raw)?,
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
        })
    }

    pub(crate) fn is_valid_at(&self, now: UnixMillis) -> bool {
        (self.not_before..=self.not_after).contains(&now.0.div_euclid(1000))
    }
}

/// Shape of accepted chains: the signer's certificate, the one between, a pinned root.
#[derive(Debug)]
pub(crate) struct ChainRule {
    root: Vec<u8>,
    leaf: Oid<'static>,
    intermediate: Oid<'static>,
}

impl ChainRule {
    /// Reads the root (PEM) and the extensions (object identifiers) that the two others must have.
    pub(crate) fn new(
        root_pem: &str,
        leaf_oid: &str,
        intermediate_oid: &str,
    ) -> Result<Self, String> {
        let (_, pem) = parse_x509_pem(root_pem.as_bytes())
            .map_err(|_| "root_pem is not a certificate in PEM")?;
        parse(&pem.contents).ok_or("root_pem is not a certificate")?;
        let oid = |text: &str| {
            text.parse::<Oid<'static>>()
                .map_err(|_| format!("\"{text}\" is not an object identifier"))
        };
        Ok(Self {
            leaf: oid(leaf_oid)?,
            intermediate: oid(intermediate_oid)?,
            root: pem.contents,
        })
    }

    /// The signer's key on P-256, if its chain is right and all of it valid `now`.
    pub(crate) fn signer(
        &self,
        chain: &[Vec<u8>],
        now: UnixMillis,
    ) -> Result<Vec<u8>, &'static str> {
        let [leaf, between, _] = chain else {
            return Err("the token does not bring a chain of three certificates");
        };
        let (Some(leaf), Some(between), Some(root)) =
            (parse(leaf), parse(between), parse(&self.root))
        else {
            return Err("a certificate of the token cannot be read");
        };
        // The third is the root itself; ours is taken, whatever the token brings.
        if !(issued(&between, &root) && issued(&leaf, &between)) {
            return Err("the token's certificates do not lead to the provider's root");
        }
        if ![&leaf, &between, &root]
            .into_iter()
            .all(|certificate| is_valid(certificate, now))
        {
            return Err("a certificate of the token is not valid at this time");
        }
        if !(may_issue(&between) && understood(&leaf) && understood(&between)) {
            return Err("a certificate of the token lacks what a signer's chain needs");
        }
        if !(has(&leaf, &self.leaf) && has(&between, &self.intermediate)) {
            return Err(
                "the token's certificates are not those of the provider's signer for webhooks",
            );
        }
        let key = leaf.public_key();
        let point = &key.subject_public_key.data;
        let is_p256 = key.algorithm.algorithm.as_bytes() == OID_EC && point.len() == 65;
        if is_p256 {
            Ok(point.to_vec())
        } else {
            Err("the signer's key is not on P-256")
        }
    }
}

fn parse(der: &[u8]) -> Option<X509Certificate<'_>> {
    X509Certificate::from_der(der)
        .ok()
        .filter(|(rest, _)| rest.is_empty())
        .map(|(_, certificate)| certificate)
}

fn issued(certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == issuer.subject().as_raw()
        && certificate
            .verify_signature(Some(issuer.public_key()))
            .is_ok()
}

fn is_valid(certificate: &X509Certificate<'_>, now: UnixMillis) -> bool {
    let validity = certificate.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp())
        .contains(&now.0.div_euclid(1000))
}

fn may_issue(certificate: &X509Certificate<'_>) -> bool {
    let signs = certificate
        .key_usage()
        .ok()
        .is_some_and(|usage| usage.is_none_or(|usage| usage.value.key_cert_sign()));
    certificate.is_ca() && signs
}

/// Returns `true` if no critical extension is unknown to us.
fn understood(certificate: &X509Certificate<'_>) -> bool {
    certificate.extensions().iter().all(|extension| {
        !extension.critical
            || !matches!(
                extension.parsed_extension(),
                ParsedExtension::UnsupportedExtension { .. } | ParsedExtension::ParseError { .. }
            )
    })
}

fn has(certificate: &X509Certificate<'_>, oid: &Oid<'_>) -> bool {
    certificate
        .extensions()
        .iter()
        .any(|extension| extension.oid == *oid)
}
