//! Certificates of the listeners: read at the start, checked with the configuration, replaced by a reload.

use std::sync::Arc;

use crate::config::model::TlsListener;
use crate::config::{Config, ConfigError, Report};
use crate::runtime::certificate::{Certificate, CertificateFault, CertificateInForce};
use crate::telemetry::Metrics;

/// Remedy of a certificate that no client takes at this time.
const UNTIMELY: &str = "senders refuse the connection: put another one in its place, and reload";

/// Certificates in force, of the listeners with TLS.
#[derive(Clone, Default)]
pub(super) struct Certificates(Vec<(TlsListener, Arc<CertificateInForce>)>);

/// Certificates that were read, and are not yet in force.
pub(super) struct NewCertificates(Vec<(TlsListener, Certificate)>);

impl NewCertificates {
    /// Reads the certificates of a configuration. With a mistake, returns the option that it is in.
    pub(super) fn read(config: &Config) -> Result<Self, Vec<ConfigError>> {
        let read = TlsListener::ALL
            .into_iter()
            .filter_map(|listener| Some((listener, of(config, listener)?)));
        let mut certificates = Vec::new();
        let mut mistakes = Vec::new();
        for (listener, certificate) in read {
            match certificate {
                Ok(certificate) => certificates.push((listener, certificate)),
                Err((key, why)) => mistakes.push(config.option_error(key, why)),
            }
        }
        match mistakes.is_empty() {
            true => Ok(Self(certificates)),
            false => Err(mistakes),
        }
    }

    /// Refuses new certificates that no client takes at this time. The one in force may be such a one: other changes are taken over.
    pub(super) fn refuse_untimely(
        &self,
        before: &Config,
        config: &Config,
    ) -> Result<(), Vec<ConfigError>> {
        let mut mistakes = Vec::new();
        for (listener, certificate) in &self.0 {
            let Some(pair) = config.tls.pair(*listener) else {
                continue;
            };
            let in_force = before.tls.pair(*listener);
            let is_new = in_force.is_none_or(|of| of.certificate != pair.certificate);
            if let (true, Some(why)) = (is_new, certificate.untimely()) {
                let text = format!("{}: {why}; {UNTIMELY}", pair.certificate.reference);
                mistakes.push(config.option_error(listener.options().0, text));
            }
        }
        match mistakes.is_empty() {
            true => Ok(()),
            false => Err(mistakes),
        }
    }

    /// Puts the certificates of a start in force.
    pub(super) fn start(self, metrics: &Metrics) -> Certificates {
        let started = self.0.into_iter().map(|(listener, certificate)| {
            show_expiry(metrics, listener, &certificate);
            (listener, CertificateInForce::new(certificate))
        });
        Certificates(started.collect())
    }
}

impl Certificates {
    /// Returns the certificate of a listener, if it has TLS.
    pub(super) fn of(&self, listener: TlsListener) -> Option<Arc<CertificateInForce>> {
        let mut all = self.0.iter();
        let found = all.find(|(of, _)| *of == listener);
        found.map(|(_, certificate)| certificate.clone())
    }

    /// Puts new certificates in force. A listener without TLS stays without it.
    pub(super) fn replace(&self, new: NewCertificates, metrics: &Metrics) {
        for (listener, certificate) in new.0 {
            if let Some(in_force) = self.of(listener) {
                show_expiry(metrics, listener, &certificate);
                in_force.replace(certificate);
            }
        }
    }
}

fn show_expiry(metrics: &Metrics, listener: TlsListener, certificate: &Certificate) {
    let expiry = metrics
        .certificate_expiry
        .with_label_values(&[listener.label()]);
    expiry.set(certificate.expires_at);
}

/// Returns the certificate of a listener that has one here, or the option with a mistake, and the mistake.
fn of(
    config: &Config,
    listener: TlsListener,
) -> Option<Result<Certificate, (&'static str, String)>> {
    let pair = config.tls.pair(listener)?;
    if pair.certificate.pem.is_unread() || pair.key.pem.is_unread() {
        return None;
    }
    let (certificate, key) = listener.options();
    let parsed = Certificate::parse(pair.certificate.pem.expose(), pair.key.pem.expose());
    Some(parsed.map_err(|fault| match fault {
        CertificateFault::Certificate(why) => (
            certificate,
            format!("{}: {why}", pair.certificate.reference),
        ),
        CertificateFault::Key(why) => (key, format!("{}: {why}", pair.key.reference)),
    }))
}

/// Checks the certificates of a configuration.
pub(super) fn check(config: &Config, report: &mut Report) {
    for listener in TlsListener::ALL {
        match of(config, listener) {
            Some(Err((key, why))) => report.blame(key, why),
            Some(Ok(certificate)) => {
                let warning = certificate
                    .untimely()
                    .map(|why| format!("{}: {why}; {UNTIMELY}", listener.options().0));
                warning.into_iter().for_each(|warning| report.warn(warning));
            }
            None => {}
        }
    }
}
