//! Options of the RabbitMQ sink: `publisher.url = "amqp://…"`, its exchange and its queues.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};

use crate::config::amqp_url::AmqpUrl;
use crate::config::model::{Publisher, QueueType};
use crate::runtime::certificate::{CertificateFault, check_client_pair};

/// Options of the RabbitMQ sink.
#[derive(Clone, Debug)]
pub struct RabbitmqConfig {
    /// Broker, or nodes of a cluster.
    pub url: AmqpUrl,
    /// Files for TLS.
    pub tls: TlsFiles,
    /// Topic exchange that messages are published to.
    pub exchange: String,
    /// Declare exchange and queues at each connection.
    pub declare: bool,
    /// First queue, bound to all routing keys. None: consumers declare their own.
    pub queue: Option<String>,
    /// Type of the first queue.
    pub queue_type: QueueType,
    /// Queue for messages that no queue is bound for.
    pub unrouted_queue: String,
    /// Longest time to connect, and to open a channel.
    pub connect_timeout: Duration,
    /// Longest time for the confirms of a batch. Then its messages are in doubt.
    pub confirm_timeout: Duration,
    /// Interval of heartbeats, unless the URL has one.
    pub heartbeat: Duration,
}

impl RabbitmqConfig {
    /// Returns the options of `[publisher]` for the broker at `url`.
    pub fn from_publisher(url: &AmqpUrl, publisher: &Publisher) -> Self {
        let options = &publisher.rabbitmq;
        Self {
            url: url.clone(),
            tls: TlsFiles {
                authorities: publisher.kafka.ca_file.clone(),
                certificate: options.certificate_file.clone(),
                key: options.key_file.clone(),
            },
            exchange: options.exchange.clone(),
            declare: options.declare,
            queue: options.queue.clone(),
            queue_type: options.queue_type,
            unrouted_queue: options.unrouted_queue.clone(),
            connect_timeout: options.connect_timeout,
            confirm_timeout: publisher.confirm_timeout,
            heartbeat: options.heartbeat,
        }
    }
}

/// Files for TLS with the broker.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    /// Certificates of authorities, besides those of the system.
    pub authorities: Option<PathBuf>,
    /// Certificate of this client.
    pub certificate: Option<PathBuf>,
    /// Key of this client.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// Reads the files. The error names the file.
    pub fn read(&self) -> Result<OwnedTLSConfig, String> {
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let authorities = self.authorities.as_deref().map(read).transpose()?;
        let identity = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let (pem, private) = (read(certificate)?, read(key)?);
                check_client_pair(&pem, &private).map_err(|fault| match fault {
                    CertificateFault::Certificate(why) => {
                        format!("{}: {why}", certificate.display())
                    }
                    CertificateFault::Key(why) => format!("{}: {why}", key.display()),
                })?;
                Some(OwnedIdentity::PKCS8 { pem, key: private })
            }
            _ => None,
        };
        Ok(OwnedTLSConfig {
            identity,
            cert_chain: authorities.map(|pem| String::from_utf8_lossy(&pem).into_owned()),
        })
    }
}
