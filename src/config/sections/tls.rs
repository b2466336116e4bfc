//! `[tls]`

use crate::config::define::section;
use crate::config::option::Pem;
use crate::config::secret::Secret;

section! {
    /// TLS of the listeners, 1.2 and 1.3. A listener without a certificate speaks plain HTTP. A reload reads
    /// the files again: new connections get the new certificate, open ones stay. If a certificate has expired,
    /// or its key is another one's, the reload fails, and the one before stays in force.
    #[derive(Debug)]
    #[derive(Clone)]
    pub struct Tls {
        /// Certificate of server.listen, followed by its intermediates.
        pub certificate: Option<PemFile> = "tls.certificate", Pem { secret: false }, "";
        /// Private key of tls.certificate.
        pub key: Option<PemFile> = "tls.key", Pem { secret: true }, "";
        /// Certificate of server.admin_listen, followed by its intermediates.
        pub admin_certificate: Option<PemFile> = "tls.admin_certificate", Pem { secret: false }, "";
        /// Private key of tls.admin_certificate.
        pub admin_key: Option<PemFile> = "tls.admin_key", Pem { secret: true }, "";
    }
}

/// PEM, and the reference that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    /// Reference: `file:/etc/hookweir/tls.pem`. Holds no secret.
    pub reference: String,
    /// Certificates or a key.
    pub pem: Secret,
}

/// Listener that TLS can be turned on for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsListener {
    /// `server.listen`
    Ingest,
    /// `server.admin_listen`
    Admin,
}

/// References to certificate and key of a listener, with the names of their options.
#[derive(Clone, Copy, Debug)]
pub struct TlsPair<'c> {
    /// Certificate chain.
    pub certificate: &'c PemFile,
    /// Private key.
    pub key: &'c PemFile,
}

impl TlsListener {
    /// All listeners.
    pub const ALL: [Self; 2] = [Self::Ingest, Self::Admin];

    /// Returns the name of the listener in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Admin => "admin",
        }
    }

    /// Returns the names of the options for its certificate and its key.
    pub fn options(self) -> (&'static str, &'static str) {
        match self {
            Self::Ingest => ("tls.certificate", "tls.key"),
            Self::Admin => ("tls.admin_certificate", "tls.admin_key"),
        }
    }
}

impl Tls {
    /// Returns `true` if the listener speaks TLS.
    pub fn is_on(&self, listener: TlsListener) -> bool {
        self.pair(listener).is_some()
    }

    /// Returns certificate and key of a listener, if it has both.
    pub fn pair(&self, listener: TlsListener) -> Option<TlsPair<'_>> {
        let (certificate, key) = self.parts(listener);
        certificate
            .as_ref()
            .zip(key.as_ref())
            .map(|(certificate, key)| TlsPair { certificate, key })
    }

    /// Returns certificate and key of a listener, each as it was given.
    pub(in crate::config) fn parts(
        &self,
        listener: TlsListener,
    ) -> (&Option<PemFile>, &Option<PemFile>) {
        match listener {
            TlsListener::Ingest => (&self.certificate, &self.key),
            TlsListener::Admin => (&self.admin_certificate, &self.admin_key),
        }
    }

    /// Returns these pairs, each as in `new` if both have one: TLS goes on or off at a restart only.
    pub(in crate::config) fn with(&self, new: &Self) -> Self {
        let of = |listener: TlsListener| {
            let takes_over = self.is_on(listener) && new.is_on(listener);
            let (certificate, key) = if takes_over { new } else { self }.parts(listener);
            (certificate.clone(), key.clone())
        };
        let (certificate, key) = of(TlsListener::Ingest);
        let (admin_certificate, admin_key) = of(TlsListener::Admin);
        Self {
            certificate,
            key,
            admin_certificate,
            admin_key,
        }
    }
}
