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
    /// End of its time, in seconds since 1970.
    pub expires_at: i64,
}

impl Certificate {
    /// Parses a chain of certificates and a key, both in PEM.
    pub fn parse(chain: &[u8], key: &[u8]) -> Result<Self, CertificateFault> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| {
                CertificateFault::Certificate(format!("no certificate in PEM: {error}"))
            })?;
        let Some(own) = chain.first() else {
            let text = "holds no certificate: expected -----BEGIN CERTIFICATE-----";
            return Err(CertificateFault::Certificate(text.to_owned()));
        };
        let expires_at = match X509Certificate::from_der(own) {
            Ok((_, own)) => own.validity().not_after.timestamp(),
            Err(error) => {
                let text = format!("the first certificate cannot be read: {error}");
                return Err(CertificateFault::Certificate(text));
            }
        };
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| CertificateFault::Key(format!("no private key in PEM: {error}")))?;
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
            expires_at,
        })
    }

    /// Returns `true` if the time of the certificate is over.
    pub fn is_expired(&self) -> bool {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.expires_at < i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }
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
