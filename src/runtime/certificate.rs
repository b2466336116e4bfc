//! Certificate and key of a listener, which a reload replaces, and the handshake of a client.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, version};
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Most bytes of a response that wait in a session for their client, for each of its two buffers.
const SEND_BUFFER: usize = 16 * 1024;

/// Most memory of a session: a handshake message of 64 KB or, after the handshake, a record as read, a record in
/// plain text, and what waits for the client.
pub const SESSION_BYTES: usize = 96 * 1024;

/// Mistake of a certificate or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// The certificate is none.
    Certificate(String),
    /// The key is none, or another certificate's.
    Key(String),
}

/// Certificate and key, ready for handshakes.
#[derive(Debug)]
pub struct Certificate {
    config: Arc<ServerConfig>,
    /// Begin of its time, in seconds since 1970: the latest of the chain.
    valid_from: i64,
    /// End of its time, in seconds since 1970: the earliest of the chain.
    pub expires_at: i64,
}

impl Certificate {
    /// Parses a chain of certificates and a key, both in PEM.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, CertificateFault> {
        let (chain, key) = (certificates(chain)?, private_key(key)?);
        let (mut valid_from, mut expires_at) = (i64::MIN, i64::MAX);
        for certificate in &chain {
            let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
                let text = "a certificate of the chain cannot be read";
                return Err(CertificateFault::Certificate(text.to_owned()));
            };
            let validity = certificate.validity();
            valid_from = valid_from.max(validity.not_before.timestamp());
            expires_at = expires_at.min(validity.not_after.timestamp());
        }
        let mut config =
            ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_protocol_versions(&[&version::TLS13, &version::TLS12])
                .map_err(|error| CertificateFault::Key(error.to_string()))?
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .map_err(refusal)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            valid_from,
            expires_at,
        })
    }

    /// Returns the reason for which no client takes the certificate at this time, if there is one.
    pub fn untimely(&self) -> Option<&'static str> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if self.expires_at < now {
            return Some("the certificate, or an intermediate of it, has expired");
        }
        (now < self.valid_from).then_some("the certificate is not valid yet")
    }
}

/// Returns the certificates in a text. The error shows no part of it: it may hold a key, too.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => {
            let text = "holds no certificate in PEM: expected lines from -----BEGIN CERTIFICATE----- to its END line";
            Err(CertificateFault::Certificate(text.to_owned()))
        }
    }
}

/// Returns the private key in a text. The error shows no part of it.
fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateFault> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        let text = "holds no private key in PEM: expected lines from -----BEGIN PRIVATE KEY----- to its END line, without a passphrase";
        CertificateFault::Key(text.to_owned())
    })
}

/// Checks that a client's certificate and key are PEM. A library's error may show a key.
pub(crate) fn check_client_pair(certificate: &[u8], key: &[u8]) -> Result<(), CertificateFault> {
    certificates(certificate)?;
    private_key(key).map(drop)
}

/// Returns the mistake for which rustls refuses a pair.
fn refusal(error: rustls::Error) -> CertificateFault {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateFault::Key("the key of another certificate".to_owned())
        }
        rustls::Error::InvalidCertificate(why) => {
            CertificateFault::Certificate(format!("the certificate cannot be used: {why}"))
        }
        other => CertificateFault::Key(format!("the key cannot be used: {other}")),
    }
}

/// The certificate in force of a listener. New connections get the newest one.
#[derive(Debug)]
pub struct CertificateInForce(ArcSwap<Certificate>);

impl CertificateInForce {
    /// Puts the first certificate in force.
    pub fn new(certificate: Certificate) -> Arc<Self> {
        Arc::new(Self(ArcSwap::from_pointee(certificate)))
    }

    /// Puts another certificate in force. Open connections keep theirs.
    pub fn replace(&self, certificate: Certificate) {
        self.0.store(Arc::new(certificate));
    }

    /// Begins the handshake of a client.
    pub fn accept(&self, socket: TcpStream) -> Accept<TcpStream> {
        let acceptor = TlsAcceptor::from(self.0.load().config.clone());
        acceptor.accept_with(socket, |session| {
            session.set_buffer_limit(Some(SEND_BUFFER))
        })
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn pair(adjust: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let key = KeyPair::generate().expect("randomness");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        adjust(&mut params);
        let certificate = params.self_signed(&key).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_whose_line_breaks_are_lost_is_refused_and_shown_in_no_form() {
        let (certificate, key) = pair(|_| ());
        let body: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let shown = |text: &str| {
            let bytes = format!("{:?}", &body.as_bytes()[8..24]);
            text.contains(&body[8..24]) || text.contains(bytes.trim_matches(['[', ']']))
        };
        for wrong in [
            key.replace('\n', " "),
            key.replace('\n', "\\n"),
            key.replace("-----\n", "---- "),
            key.replace("-----END", "----END"),
            format!("{}{key}", certificate).replace('\n', " "),
        ] {
            for (chain, key) in [(&certificate, &wrong), (&wrong, &key)] {
                let Err(fault) = Certificate::parse(chain.as_bytes(), key.as_bytes()) else {
                    continue;
                };
                assert!(!shown(&format!("{fault:?}")), "{fault:?}");
            }
            assert!(Certificate::parse(certificate.as_bytes(), wrong.as_bytes()).is_err());
            let checked = check_client_pair(certificate.as_bytes(), wrong.as_bytes());
            assert!(!shown(&format!("{checked:?}")) && checked.is_err());
        }
    }

    #[test]
    fn the_time_of_a_chain_is_the_one_that_all_of_it_shares() {
        let (leaf, key) = pair(|_| ());
        let (ended, _) = pair(|params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        });
        let parse =
            |chain: &str| Certificate::parse(chain.as_bytes(), key.as_bytes()).expect("a pair");
        assert_eq!(parse(&leaf).untimely(), None);
        let chain = parse(&format!("{leaf}{ended}"));
        assert_eq!(chain.expires_at, 1_609_459_200);
        assert!(chain.untimely().is_some_and(|why| why.contains("expired")));
        let (early, key) = pair(|params| params.not_before = date_time_ymd(2999, 1, 1));
        let early = Certificate::parse(early.as_bytes(), key.as_bytes()).expect("a pair");
        assert_eq!(early.untimely(), Some("the certificate is not valid yet"));
    }
}
